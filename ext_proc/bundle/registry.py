"""Policy types: the registered ones by name, anybody's by `module:Class`.

Rules:
- A package registers under the entry point group `gatehouse.policies`; built-in policies come the same way.
- Nothing is imported until a bundle (or the reference) names it.
- What cannot be imported is an `UnusableType` with words for the operator, never a crash.

Not here: setting a policy up (plugins.py).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ext_proc.bundle.problems import near
from ext_proc.errors import GatehouseError
from ext_proc.policy import Policy

GROUP = "gatehouse.policies"
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

PolicyClass = type[Policy[Any, Any]]


class UnusableType(GatehouseError):
    """A policy type that is not known or cannot be used."""


class PolicyTypes:
    """The policy types of this installation.

    Args:
        registered: the entry points; those of the installed packages unless given.
    """

    def __init__(self, registered: Iterable[EntryPoint] | None = None) -> None:
        self._registered: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=GROUP) if registered is None else registered:
            same = self._registered.setdefault(entry.name, [])
            if all(entry.value != other.value for other in same):
                same.append(entry)

    @property
    def names(self) -> tuple[str, ...]:
        """The registered types, sorted."""
        return tuple(sorted(self._registered))

    def find(self, type_name: str) -> PolicyClass:
        """The class behind a bundle's `type`.

        Raises:
            UnusableType: unknown, registered twice, not importable, or no policy.
        """
        if ":" in type_name:
            if not _IMPORT_PATH.fullmatch(type_name):
                raise UnusableType("expected module:Class, such as my_module:MyPolicy")
            return _import(type_name)
        entries = self._registered.get(type_name, [])
        if not entries:
            known = ", ".join(self.names) or "none"
            raise UnusableType(
                f"unknown policy type; known are {known}, and module:Class of your own{near(type_name, self.names)}"
            )
        if len(entries) > 1:
            values = " and ".join(sorted(entry.value for entry in entries))
            raise UnusableType(f"expected one package to register this type, and {values} both do")
        return _import(entries[0].value)


def _import(target: str) -> PolicyClass:
    module_name, _, attributes = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except Exception as error:  # a plug-in's module may raise anything
        raise UnusableType(f"cannot import {target} ({type(error).__name__}: {error})") from error
    if not (isinstance(found, type) and issubclass(found, Policy) and found is not Policy):
        raise UnusableType(f"expected {target} to be a subclass of ext_proc.policy.Policy")
    return found
