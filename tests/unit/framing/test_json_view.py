"""framing/json_view.py: strict JSON, and nothing that two readers could read in two ways."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.framing import json_view
from ext_proc.framing.json_view import JsonError, colliding_key, parse

SUITE = Path(__file__).parents[2] / "data" / "json" / "jsontestsuite.jsonl"
CASES = [json.loads(line) for line in SUITE.read_text().splitlines()]


def reason(raw: bytes, max_depth: int = 64) -> str:
    with pytest.raises(JsonError) as caught:
        parse(raw, max_depth)
    return caught.value.reason


def reason_or_none(raw: bytes) -> str | None:
    try:
        parse(raw, 64)
    except JsonError as error:
        return error.reason
    return None


@pytest.mark.parametrize("case", [case for case in CASES if case["expect"] == "reject"], ids=lambda case: case["name"])
def test_every_document_that_the_suite_rejects_is_rejected(case: dict[str, Any]) -> None:
    assert reason(base64.b64decode(case["bytes_base64"])).startswith("json-")


@pytest.mark.parametrize("case", [case for case in CASES if case["expect"] == "accept"], ids=lambda case: case["name"])
def test_every_document_that_the_suite_accepts_is_accepted(case: dict[str, Any]) -> None:
    # No exceptions: this selection holds no valid document that repeats a key or nests past the limit.
    raw = base64.b64decode(case["bytes_base64"])
    assert parse(raw, 64) == json.loads(raw)


@pytest.mark.parametrize("case", [case for case in CASES if case["expect"] == "either"], ids=lambda case: case["name"])
def test_what_the_suite_leaves_open_never_raises_anything_else(case: dict[str, Any]) -> None:
    outcome = reason_or_none(base64.b64decode(case["bytes_base64"]))
    assert outcome in (None, "json-malformed", "json-not-utf8", "json-number")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "json-empty"),
        (b" \r\n\t", "json-empty"),
        (b"{", "json-malformed"),
        (b"{} {}", "json-malformed"),
        (b"NaN", "json-malformed"),
        (b"\xef\xbb\xbf{}", "json-malformed"),
        (b'"\\ud800"', "json-malformed"),
        (b'"\xff"', "json-not-utf8"),
        (b'"\xed\xa0\x80"', "json-not-utf8"),
        (b'{"a":1e999}', "json-number"),
        (b"9" * 5000, "json-number"),
        (b"[" * 65 + b"]" * 65, "json-too-deep"),
        (b"[" * 100_000, "json-too-deep"),
        (b'{"a":' * 100_000, "json-too-deep"),
        (b'{"a":1,"a":1}', "json-duplicate-key"),
        (b'[[{"b":[{"a":{}, "a":{}}]}]]', "json-duplicate-key"),
        (b'{"name":1,"n\\u0061me":2}', "json-duplicate-key"),
        (b'{"":1,"":2}', "json-duplicate-key"),
    ],
)
def test_each_fault_has_its_reason(raw: bytes, expected: str) -> None:
    assert reason(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"x:y,{[","b":":"}',
        b'{"a\\":":1,"a":2}',
        b'{"a\\\\":":","b":2}',
        b'[{"a":1},{"a":1}]',
        b'{"a":{"a":{"a":1}}}',
        b'{"\\\\\\"":1}',
    ],
)
def test_colons_and_quotes_in_strings_are_no_keys(raw: bytes) -> None:
    assert parse(raw, 64) == json.loads(raw)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    raw = b"[" * 64 + b"]" * 64
    assert parse(raw, 64) == json.loads(raw)
    assert reason(raw, 63) == "json-too-deep"


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    assert parse(b'["' + b"[" * 1000 + b'\\""]', 2) == ["[" * 1000 + '"']


def test_unbalanced_brackets_are_malformed_not_deep() -> None:
    assert reason(b"]" * 1000) == "json-malformed"
    assert reason(b"[][" * 300) == "json-too-deep"


def test_long_integers_keep_every_digit() -> None:
    assert parse(b"123456789012345678901234567890", 1) == 123456789012345678901234567890


# Both have one XXH3 hash, and differ in their blanks alone: a reader that remembers keys by it takes one for the other.
ALIKE = (
    "aaaa  a aa  a    aaa  aa    aa a    a aaaaa a a     a  aa aaaaa ",
    " a a aa a  aa  a a a a a  aaa a a  a   aa aa aa   aaa a    aa aa",
)


@pytest.mark.parametrize("blank", ["", " "])
def test_keys_that_are_alike_to_a_hash_are_two_keys(blank: str) -> None:
    one, other = ALIKE
    for name, mate in (ALIKE, (other, one)):
        assert parse(f'[{{"{name}":0}},{blank}{{"{mate}":1}}]'.encode(), 64) == [{name: 0}, {mate: 1}]
        # Other keys between them take their place in what a reader remembers.
        for number in range(1500):
            between = f'"e{number}":0'
            raw = f'[{{"{name}":0}},{blank}{{"{mate}":1,{between},"{mate}":2}}]'
            assert reason(raw.encode()) == "json-duplicate-key"


def test_an_error_tells_nothing_of_the_payload() -> None:
    with pytest.raises(JsonError) as caught:
        parse(b'{"secret":"hunter2","secret":', 64)
    assert "secret" not in f"{caught.value}{caught.value.detail}"


# Without lone surrogates, which are refused.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([(", ", ": "), (",", ":")]))
def test_any_value_that_was_written_is_read_again(value: Any, ascii_only: bool, separators: tuple[str, str]) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    # repr tells 1 from 1.0, and 0.0 from -0.0.
    assert repr(parse(raw, 64)) == repr(value)


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "-9223372036854775809", "-0", "-0.0", "1.0", "1e2", "1E400", "0.1", "5e-324"]
)
@pytest.mark.parametrize("padding", [0, 5000])
def test_numbers_are_what_the_standard_library_makes_of_them_or_are_refused(number: str, padding: int) -> None:
    raw = f'{{"pad":"{"x" * padding}","number":{number}}}'.encode()
    if number == "1E400":
        assert reason(raw) == "json-number"
    else:
        assert repr(parse(raw, 64)["number"]) == repr(json.loads(number))


PAIRS = st.recursive(
    st.integers(0, 9) | st.sampled_from(["", ":", '"', "\\", "a", " a", " ", '" "']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(["", "a", "b", 'a":', "\\", "a ", " "]), inner), max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def written(value: Any) -> str:
    """JSON of a tree in which a tuple of pairs is an object, so that it can hold a key twice."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(key)}:{written(child)}" for key, child in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(repeats(child) for _, child in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(PAIRS)
def test_a_repeated_key_is_found_at_any_depth_and_only_then(value: Any) -> None:
    raw = written(value).encode()
    if repeats(value):
        assert reason(raw) == "json-duplicate-key"
    else:
        parse(raw, 64)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\a1 \n', max_size=60).map(str.encode))
def test_nothing_but_a_json_error_is_raised_and_nothing_is_accepted_that_the_standard_library_refuses(
    raw: bytes,
) -> None:
    try:
        value = parse(raw, 64)
    except JsonError:
        return
    assert json.loads(raw) == value


def test_a_key_that_differs_by_case_alone_collides() -> None:
    names = frozenset({"name", "isError", "params"})
    assert colliding_key({"Name": 1}, names) == "Name"
    assert colliding_key({"name": 1, "NAME": 2}, names) == "NAME"
    assert colliding_key({"iserror": 1}, names) == "iserror"
    assert colliding_key({"param\u017f": 1}, names) == "param\u017f"
    assert colliding_key({"name": 1, "isError": 2, "names": 3}, names) is None


def test_what_was_found_of_keys_once_is_said_of_the_same_keys_again() -> None:
    names = frozenset({"stop"})
    for _ in range(3):
        assert colliding_key({"stop": 1, "own": 2}, names) is None
        assert colliding_key({"own": 2, "Stop": 1}, names) == "Stop"
        assert colliding_key({"own": 2, "Stop": 1}, frozenset({"own"})) is None


def test_what_is_kept_of_keys_is_bounded() -> None:
    names = frozenset({"bounded"})
    for number in range(3 * json_view._MOST_KNOWN):
        assert colliding_key({f"own{number}": 1}, names) is None
    assert colliding_key(dict.fromkeys(map(str, range(json_view._MOST_KEYS + 1))), names) is None
    assert colliding_key({"k" * (json_view._LONGEST_KEYS + 1): 1}, names) is None
    kept = json_view._HARMLESS[names]
    assert 0 < len(kept) <= json_view._MOST_KNOWN
    assert all(key.startswith("own") for keys in kept for key in keys)


@given(PAIRS, st.sampled_from([0, 5000]), st.sampled_from(["", " ", "\t", "\r\n"]))
def test_neither_size_nor_layout_changes_what_is_a_repeated_key(value: Any, padding: int, blank: str) -> None:
    text = json.dumps('a "quoted\\": word' + "x" * padding)
    raw = f'{{"pad":{blank}{text},"value"{blank}:{blank}{written(value)}{blank}}}'.encode()
    assert reason_or_none(raw) == ("json-duplicate-key" if repeats(value) else None)


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(VALUES, st.sampled_from(["", "[[{{"]), st.sampled_from([0, 5000]), st.sampled_from(["", " "]))
def test_neither_size_nor_layout_nor_brackets_in_strings_change_how_deep_a_document_is(
    value: Any, brackets: str, padding: int, blank: str
) -> None:
    whole = {"pad": brackets + "x" * padding, "value": value}
    raw = json.dumps(whole, ensure_ascii=False, separators=("," + blank, ":" + blank)).encode()
    deepest = depth(whole)
    assert parse(raw, deepest) == whole
    assert reason(raw, deepest - 1) == "json-too-deep"


def test_a_document_that_cannot_be_written_again_for_its_depth_is_too_deep() -> None:
    assert reason(b"[" * 900 + b"]" * 900) == "json-too-deep"
