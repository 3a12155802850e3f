"""Language models' JSON: its members, read with the type that each must have.

Rules:
- A member of another type than its field's is malformed: policies are promised the type.
- A key that equals one of the format's but for case is refused: two readers would differ.
- Null is what is not there.

Not here: which members a format has (each format's own file); Gemini's two spellings (gemini_texts.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ext_proc.codecs.llm_texts import Ambiguous, Malformed
from ext_proc.framing.json_view import colliding_key


def text_of(holder: Mapping[str, Any], name: str) -> str:
    """The text under a name; "" where there is none.

    Raises:
        Malformed: it is something else.
    """
    return as_text(holder.get(name), name)


def as_text(value: Any, name: str) -> str:
    """A text; "" for null.

    Raises:
        Malformed: it is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        reject(f"{name} must be a string")
    return value


def as_object(value: Any, name: str) -> Mapping[str, Any]:
    """An object; {} for null.

    Raises:
        Malformed: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        reject(f"{name} must be an object")
    return value


def objects(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects; () for null.

    Raises:
        Malformed: it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        reject(f"{name} must be a list of objects")
    for item in value:
        if not isinstance(item, dict):
            reject(f"{name} must be a list of objects")
    return value


def check_number(value: Any, name: str) -> None:
    """Looks at a number, which may be null.

    Raises:
        Malformed: it is something else; truth values are no numbers.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        reject(f"{name} must be a number")


def check_flag(value: Any, name: str) -> None:
    """Looks at a truth value, which may be null.

    Raises:
        Malformed: it is something else.
    """
    if not isinstance(value, bool | None):
        reject(f"{name} must be true or false")


def check_keys(value: Mapping[str, Any], names: frozenset[str]) -> None:
    """Looks at the keys of an object.

    Raises:
        Ambiguous: one equals one of the format's but for case.
    """
    if colliding_key(value, names) is not None:
        raise Ambiguous("a key equals one of the format's but for upper and lower case")


def reject(detail: str) -> NoReturn:
    """Ends reading.

    Args:
        detail: words without payload.

    Raises:
        Malformed: always.
    """
    raise Malformed(detail)
