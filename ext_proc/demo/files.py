"""Finds the files that people edit and the wheel carries: Envoy's configuration and the bundles.

Rules:
- A checkout has them at its top, where people look for them; a wheel has copies beside this file (pyproject.toml,
  `force-include`). The name is the same in both: the path from the top of a checkout.

Not here: reading them.
"""

from __future__ import annotations

from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "shipped"
_IN_CHECKOUT = Path(__file__).parents[2]


def shipped(name: str) -> Path:
    """The file `name`, e.g. "envoy/bootstrap.yaml" or "policies/bundles/default.yaml".

    Raises:
        FileNotFoundError: neither a checkout nor the wheel has it.
    """
    for place in (_IN_WHEEL, _IN_CHECKOUT):
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"{name} is not part of this installation")
