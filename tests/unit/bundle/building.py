"""A small good bundle for the tests, and ways to change and examine it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import yaml

from ext_proc.bundle.load import Examined, examine_text
from ext_proc.bundle.registry import GROUP, PolicyTypes

PLUGINS = "tests.unit.bundle.plugins"
TYPES = PolicyTypes(
    [
        EntryPoint("tool-access", "gatehouse_policies.tool_access:ToolAccess", GROUP),
        EntryPoint("allowlist", f"{PLUGINS}:ToolAllowlist", GROUP),
        EntryPoint("signed", f"{PLUGINS}:Signed", GROUP),
        EntryPoint("unions", f"{PLUGINS}:Unions", GROUP),
    ]
)


class _Plain(yaml.SafeDumper):
    """Writes out a part that stands twice: a bundle has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def good() -> dict[str, Any]:
    """A bundle with one route and one policy."""
    return {
        "apiVersion": "gatehouse/v1",
        "kind": "Bundle",
        "metadata": {"name": "test"},
        "routes": [{"name": "tools", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["only"]}],
        "policies": [{"name": "only", "type": "allowlist", "parameters": {"allow": ["search"]}}],
    }


def examined(
    bundle: Mapping[str, Any] | str, *, folder: Path = Path("/nowhere"), environ: Mapping[str, str] | None = None
) -> Examined:
    """What is found in a bundle, written as YAML unless it is text already."""
    text = bundle if isinstance(bundle, str) else yaml.dump(bundle, Dumper=_Plain, sort_keys=False)
    return examine_text(text, origin=folder / "bundle.yaml", environ=environ or {}, types=TYPES)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good bundle with the value at a path such as "routes.0.match" set to `value`."""
    bundle: Any = good()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = bundle
    for part in parents:
        inner = inner[part] if isinstance(part, int) else inner.setdefault(part, {})
    inner[last] = value
    return bundle  # type: ignore[no-any-return]  # Any only while walking
