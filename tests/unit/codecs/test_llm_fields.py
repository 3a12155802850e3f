"""codecs/llm_fields.py: a member has the type that its field has, or the message is malformed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ext_proc.codecs.llm_fields import as_object, as_text, check_flag, check_keys, check_number, objects, text_of
from ext_proc.codecs.llm_texts import Ambiguous, Malformed

NAMES = frozenset({"model", "max_tokens"})


def test_null_and_what_is_not_there_are_empty() -> None:
    assert (text_of({}, "a"), as_text(None, "a"), dict(as_object(None, "a")), objects(None, "a")) == ("", "", {}, ())
    check_number(None, "a")
    check_flag(None, "a")


def test_a_value_of_its_fields_type_is_read() -> None:
    assert text_of({"a": "b"}, "a") == "b"
    assert as_object({"a": 1}, "o") == {"a": 1}
    assert objects([{}, {"a": 1}], "l") == [{}, {"a": 1}]
    check_number(0.5, "n")
    check_flag(False, "f")


@pytest.mark.parametrize(
    ("read", "value", "detail"),
    [
        (as_text, 1, "x must be a string"),
        (as_text, ["a"], "x must be a string"),
        (as_object, [], "x must be an object"),
        (as_object, "", "x must be an object"),
        (objects, {}, "x must be a list of objects"),
        (objects, [{}, 1], "x must be a list of objects"),
        (check_number, "1", "x must be a number"),
        (check_number, True, "x must be a number"),
        (check_flag, 0, "x must be true or false"),
    ],
)
def test_a_value_of_another_type_is_malformed(read: Callable[[Any, str], Any], value: Any, detail: str) -> None:
    with pytest.raises(Malformed, match=f"^{detail}$"):
        read(value, "x")


@pytest.mark.parametrize("key", ["Model", "MAX_TOKENS"])
def test_a_key_that_differs_in_case_only_is_ambiguous(key: str) -> None:
    with pytest.raises(Ambiguous, match="upper and lower case"):
        check_keys({"model": "a", key: "b"}, NAMES)


def test_a_key_that_no_format_knows_is_nobodys() -> None:
    check_keys({"model": "a", "Other": "b"}, NAMES)
