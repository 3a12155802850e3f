"""The errors that cross floors. Each says what is wrong in words for the person who can mend it.

Not here: denials, which are verdicts (policy.py), and malformed payloads, which are messages (messages.Opaque).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class GatehouseError(Exception):
    """The root of all errors of ours."""


class ProtocolError(GatehouseError):
    """Envoy, or its configuration, broke ext_proc's rules; the RPC is aborted with an error status (fail closed)."""


class PolicyError(GatehouseError):
    """A policy raised, returned what is no verdict, or was too late; its `on_error` decides what follows."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a bundle.

    Attributes:
        path: where, as keys and indexes joined by dots, e.g. "policies[0].parameters.rules[2].allow".
        message: what was expected.
        value: what was found, shortened; never a secret.
    """

    path: str
    message: str
    value: str = ""

    def __str__(self) -> str:
        found = f" (found {self.value})" if self.value else ""
        return f"{self.path or 'bundle'}: {self.message}{found}"


class BundleError(GatehouseError):
    """A bundle that cannot be used, with every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))
