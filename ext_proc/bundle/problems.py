"""Problems in words for an operator: where, what was expected, what was found.

Rules:
- Whatever lies under a key that looks like a secret's is not shown, nor is the text of any resolved secret, wherever
  it stands.
- One mistake is one problem: the alternatives of a union are told as one sentence.

Not here: which problems there are (load.py and those it calls).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from ext_proc.errors import Problem
from ext_proc.secret import Secret

Place = tuple[str | int, ...]

MAX_VALUE = 60  # characters of a value shown
MAX_MESSAGE = 400  # characters of a message; a third party's may be of any length
MIN_SCRUBBED = 4  # characters; taking a shorter text out of every sentence would spell it

_SECRET_KEY = re.compile(
    r"secret|passw|passphrase|token|credential|authorization|cookie|api[-_.]?key|private[-_.]?key|signing[-_.]?key|\bpin\b",
    re.IGNORECASE,
)
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)

_WORDS = {
    "missing": "expected this key; it is required",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "set_type": "expected a list",
    "frozen_set_type": "expected a list",
    "dict_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_LENGTHS = {
    "too_short": ("at least", "min_length", "item"),
    "string_too_short": ("at least", "min_length", "character"),
    "too_long": ("at most", "max_length", "item"),
    "string_too_long": ("at most", "max_length", "character"),
}


def path_text(place: Place) -> str:
    """A place as text: ("policies", 0, "type") gives "policies[0].type"."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{_shorten(repr(part))}]"
    return text


def near(word: str, known: Iterable[str]) -> str:
    """ "; did you mean …?" where one of `known` is close to `word`, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Describer:
    """Makes problems that show no secret.

    Args:
        secrets: the resolved secrets, whose text appears nowhere.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        texts: set[str] = set()
        for secret in secrets:
            text = secret.reveal().decode("utf-8", "replace")
            texts.update({text, repr(text)[1:-1], *text.splitlines()})
        self._texts = sorted((text for text in texts if len(text) >= MIN_SCRUBBED), key=len, reverse=True)

    def problem(self, place: Place, message: str, *value: object) -> Problem:
        """A problem at `place`; with `value`, what was found there."""
        # A message about a secret comes of a parameter that was given something else than a key id: perhaps the secret.
        hidden = _SECRET_KEY.search(path_text(place)) is not None or "secret" in message
        found = ""
        if value:
            if hidden:
                message = _without(message, value[0])
            else:
                found = _shorten(self.scrub(_shown(value[0])))
        return Problem(self.scrub(path_text(place)), _shorten(self.scrub(message), MAX_MESSAGE), found)

    def scrub(self, text: str) -> str:
        """`text` without any secret's."""
        for secret in self._texts:
            text = text.replace(secret, "[secret]")
        return text

    def translate(self, error: ValidationError, value: object, model: type[BaseModel], place: Place) -> list[Problem]:
        """The problems that pydantic found in `value`, which stands at `place` and was to be a `model`."""
        schema = _Schema(model)
        findings = _collect([(tuple(detail["loc"]), detail) for detail in error.errors(include_url=False)], value, ())
        problems = []
        for finding in findings:
            message, at = finding.message, finding.place
            if finding.unknown_key:
                known = schema.keys(at[:-1])
                message = "unknown key" + (f"; known keys are {', '.join(known)}" if known else "")
                message += near(str(at[-1]), known)
            shown = () if finding.missing or finding.unknown_key else (finding.value,)
            problems.append(self.problem((*place, *at), message, *shown))
        return problems


@dataclass(frozen=True, slots=True)
class _Finding:
    place: Place
    message: str
    value: object
    mistyped: bool = False  # the value is of another kind than this alternative takes
    missing: bool = False
    unknown_key: bool = False


def _collect(errors: Sequence[tuple[Place, ErrorDetails]], value: object, place: Place) -> list[_Finding]:
    """Walks down `value` with the errors' locations; a part that is no key of the value names a union's alternative."""
    here: list[_Finding] = []
    below: dict[str | int, list[tuple[Place, ErrorDetails]]] = {}
    alternatives: dict[str | int, list[tuple[Place, ErrorDetails]]] = {}
    for location, error in errors:
        if not location:
            here.append(_finding(error, place))
        elif _has(value, location[0]):
            below.setdefault(location[0], []).append((location[1:], error))
        elif error["type"] == "missing" and len(location) == 1:
            here.append(_finding(error, (*place, location[0])))
        else:
            alternatives.setdefault(location[0], []).append((location[1:], error))
    for key, inner in below.items():
        here.extend(_collect(inner, value[key], (*place, key)))  # type: ignore[index]  # _has says that it is there
    if alternatives:
        here.extend(_one_of([_collect(inner, value, place) for inner in alternatives.values()], place))
    return here


def _one_of(alternatives: list[list[_Finding]], place: Place) -> list[_Finding]:
    """One mistake of a union's several failed alternatives: of those that take this kind of value, the nearest."""
    fitting = [findings for findings in alternatives if not any(f.mistyped and f.place == place for f in findings)]
    if fitting:
        return min(fitting, key=len)
    messages = [finding.message for findings in alternatives for finding in findings]
    unique = list(dict.fromkeys(message.removeprefix("expected ") for message in messages))
    return [_Finding(place, "expected " + ", or ".join(unique), alternatives[0][0].value, mistyped=True)]


def _finding(error: ErrorDetails, place: Place) -> _Finding:
    kind, value = error["type"], error["input"]
    validator = kind in ("value_error", "assertion_error")
    return _Finding(
        place,
        _expected(error),
        value,
        # A validator that takes text only says so itself: as an alternative it did not fit.
        mistyped=kind.endswith("_type") or (validator and not isinstance(value, str | Mapping)),
        missing=kind == "missing",
        unknown_key=kind == "extra_forbidden",
    )


def _expected(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {context[key]}"
    if kind == "string_type":
        quoted = isinstance(error["input"], int | float)
        return "expected text; put it in quotes" if quoted else "expected text"
    if kind in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"expected {context['expected']}" + (near(str(error["input"]), known) if len(known) > 1 else "")
    if kind in _LENGTHS:
        words, key, unit = _LENGTHS[kind]
        return f"expected {words} {context[key]} {unit}{'' if context[key] == 1 else 's'}"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", error["msg"]))
    return "expected " + error["msg"].removeprefix("Input should be ").removeprefix("Value should be ")


def _has(value: object, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)


def _shorten(text: str, length: int = MAX_VALUE) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _without(message: str, value: object) -> str:
    return message.replace(repr(value), "…").replace(value, "…") if isinstance(value, str) and value else message


class _Schema:
    """A model's JSON schema, for the keys that are known at a place."""

    def __init__(self, model: type[BaseModel]) -> None:
        try:
            self._root: dict[str, Any] = model.model_json_schema()
        except PydanticUserError:
            self._root = {}  # a third party's type without a schema: its keys are not named

    def keys(self, place: Place) -> list[str]:
        """The keys that an object at `place` can have, over all alternatives; [] where that is not known."""
        schemas = self._alternatives(self._root)
        for part in place:
            schemas = [found for schema in schemas for found in self._below(schema, part)]
        return list(dict.fromkeys(key for schema in schemas for key in schema.get("properties", {})))

    def _below(self, schema: dict[str, Any], part: str | int) -> list[dict[str, Any]]:
        if isinstance(part, int):
            found = schema.get("items")
        else:
            found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
        return self._alternatives(found) if isinstance(found, dict) else []

    def _alternatives(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in schema:
            return self._alternatives(self._root["$defs"][schema["$ref"].rpartition("/")[2]])
        options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        return [found for option in options for found in self._alternatives(option)] if options else [schema]
