"""Sets policies up: type, parameters, the instance and its hooks; each mistake is a problem at its place.

Rules:
- Every policy is looked at, whatever else is wrong with the bundle, and with the entry itself.
- What a plug-in raises is told by its class and text, with every secret's text taken out.

Not here: mode, condition and routes (compile.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ext_proc.bundle.problems import Describer, Place
from ext_proc.bundle.registry import PolicyClass, PolicyTypes, UnusableType
from ext_proc.bundle_file import FOLDER_KEY
from ext_proc.engine.hooks import hooks_of
from ext_proc.errors import Problem
from ext_proc.policy import Policy
from ext_proc.secret import CONTEXT_KEY, Secret


def set_up(
    written: object, types: PolicyTypes, secrets: Mapping[str, Secret], folder: Path, describer: Describer
) -> tuple[dict[str, Policy[Any, Any]], list[Problem]]:
    """The policies by name, and what is wrong with the others.

    Args:
        written: the bundle's `policies` as read; parts that do not fit the format are left out here (models.py tells).
        types: where a `type` is looked up.
        secrets: for parameters of type `Secret`.
        folder: where the paths of parameters of type `BundleFile` start.
        describer: words the problems.
    """
    found: dict[str, Policy[Any, Any]] = {}
    problems: list[Problem] = []
    for index, entry in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str) or not entry["type"]:
            continue
        place: Place = ("policies", index)
        try:
            cls = types.find(entry["type"])
            model = _parameters_model(cls)
        except UnusableType as error:
            problems.append(describer.problem((*place, "type"), str(error), entry["type"]))
            continue
        values = entry.get("parameters", {})
        if not isinstance(values, Mapping):
            continue
        try:
            parameters = model.model_validate(values, context={CONTEXT_KEY: secrets, FOLDER_KEY: folder})
        except ValidationError as error:
            problems.extend(describer.translate(error, values, model, (*place, "parameters")))
            continue
        except Exception as error:  # a plug-in's validator may raise anything
            problems.append(describer.problem((*place, "parameters"), _raised("its parameters", error)))
            continue
        name = entry.get("name")
        try:
            policy = cls(name if isinstance(name, str) else "", parameters)
            hooks_of(policy)
        except Exception as error:  # a plug-in's constructor may raise anything; hooks_of says what it cannot read
            problems.append(describer.problem((*place, "type"), _raised("it", error), entry["type"]))
            continue
        if isinstance(name, str):
            found[name] = policy
    return found, problems


def _parameters_model(cls: PolicyClass) -> type[BaseModel]:
    try:
        return cls.parameters_model()
    except Exception as error:  # TypeError by its contract; but it reads a plug-in's class
        raise UnusableType(f"expected a usable policy: {error}") from error


def _raised(what: str, error: Exception) -> str:
    return f"expected {what} to be usable: {type(error).__name__}: {error}"
