"""framing/json_splice: the values at some paths change, and no other byte."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.framing.json_splice import Path, source, splice
from ext_proc.framing.json_view import parse

RAW = b'{ "id" : 1.50, "a":{"b":[1, 2 ,3],"c":"x\\"}]"} ,\n"\\u006dodel":"m", "e":{}, "n":-1e5}'


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, RAW),
        ({("a", "b", 1): b"[]"}, RAW.replace(b"2", b"[]")),
        ({("a", "c"): b'"y"'}, RAW.replace(b'"x\\"}]"', b'"y"')),
        ({("model",): b'"z"'}, RAW.replace(b'"m"', b'"z"')),
        ({("n",): b"0"}, RAW.replace(b"-1e5", b"0")),
        ({("new",): b"1"}, RAW.replace(b"-1e5", b'-1e5,"new":1')),
        ({("e", "new"): b"1"}, RAW.replace(b"{}", b'{"new":1}')),
        ({("a",): b"1", ("id",): b"2"}, RAW.replace(b'{"b":[1, 2 ,3],"c":"x\\"}]"}', b"1").replace(b"1.50", b"2")),
        ({("id",): None}, RAW.replace(b'"id" : 1.50, ', b"")),
        ({("n",): None}, RAW.replace(b', "n":-1e5', b"")),
        ({("a", "b", 0): None, ("a", "b", 2): None}, RAW.replace(b"[1, 2 ,3]", b"[2]")),
        ({("a", "b"): None, ("a", "c"): None}, RAW.replace(b'"b":[1, 2 ,3],"c":"x\\"}]"', b"")),
        ({("absent",): None, ("e", "x", "y"): None, ("id", 0): None}, RAW),
    ],
)
def test_only_the_bytes_of_a_changed_value_change(changes: dict[Path, bytes | None], expected: bytes) -> None:
    assert splice(RAW, changes) == expected


def test_a_removed_last_member_makes_room_for_a_new_one() -> None:
    assert splice(b'{"a":1,"b":2}', {("b",): None, ("c",): b"3"}) == b'{"a":1,"c":3}'
    assert splice(b'{"a":1}', {("a",): None, ("c",): b"3"}) == b'{"c":3}'


def test_a_key_of_any_characters_is_found_and_added() -> None:
    for key in ('"', "\\", "é", "😀", "\ud83d", "", "a\n"):
        raw = json.dumps({key: 1, "z": 2}).encode()
        assert json.loads(splice(raw, {(key,): b"3"})) == {key: 3, "z": 2}
        assert json.loads(splice(b'{"z":2}', {(key,): b"3"})) == {"z": 2, key: 3}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), RAW),
        (("id",), b"1.50"),
        (("a", "b"), b"[1, 2 ,3]"),
        (("a", "b", 2), b"3"),
        (("a", "c"), b'"x\\"}]"'),
        (("model",), b'"m"'),
        (("e",), b"{}"),
        (("n",), b"-1e5"),
    ],
)
def test_the_source_of_a_value_is_found_as_it_stands(path: Path, expected: bytes) -> None:
    assert source(RAW, path) == expected


@pytest.mark.parametrize(
    "path", [("x",), ("id", "y"), ("a", "b", 3), ("a", "b", "c"), (0,), ("e", "x"), ("a", "b", -1)]
)
def test_what_does_not_stand_there_has_no_source(path: Path) -> None:
    with pytest.raises(LookupError):
        source(RAW, path)


@pytest.mark.parametrize("path", [("x", "y"), ("id", "y"), ("a", "b", 3), ("a", "b", "c"), (0,), ("a", "b", -1)])
def test_a_path_to_nothing_is_an_error(path: Path) -> None:
    with pytest.raises(LookupError):
        splice(RAW, {path: b"1"})


@pytest.mark.parametrize("paths", [[()], [("a",), ("a", "b")], [("a", "b"), ("a",)]])
def test_paths_that_contradict_each_other_are_an_error(paths: list[Path]) -> None:
    with pytest.raises(ValueError, match="path"):
        splice(RAW, dict.fromkeys(paths, b"1"))


KEYS = st.sampled_from(["a", "b", "model", "é", 'q"', "\\", "\n"])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=15
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5) | st.lists(VALUES, max_size=5)
REMOVED = object()


def paths_of(value: Any, path: Path = ()) -> list[Path]:
    """Every path in a value, and one to an absent key of each object."""
    found: list[Path] = [path] if path else []
    if isinstance(value, dict):
        found.append((*path, "absent"))
        for key, child in value.items():
            found += paths_of(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += paths_of(child, (*path, index))
    return found


def changed(document: Any, changes: dict[Path, Any]) -> Any:
    """The law's other side: the same changes to the decoded document."""
    result = copy.deepcopy(document)

    def parent(path: Path) -> Any:
        node = result
        for step in path[:-1]:
            node = node[step]
        return node

    for path, value in changes.items():
        if value is not REMOVED:
            parent(path)[path[-1]] = value
        elif isinstance(parent(path), list):
            parent(path)[path[-1]] = REMOVED
        else:
            parent(path).pop(path[-1], None)
    return without_removed(result)


def without_removed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_removed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [without_removed(child) for child in value if child is not REMOVED]
    return value


@given(st.data(), DOCUMENTS, st.booleans(), st.sampled_from([None, 0, 2]))
def test_decoding_what_was_spliced_gives_the_document_with_the_same_changes(
    data: st.DataObject, document: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    chosen = data.draw(st.lists(st.sampled_from(paths_of(document)), max_size=5, unique=True)) if document else []
    apart = [path for path in chosen if not any(path != other and path[: len(other)] == other for other in chosen)]
    changes = {path: data.draw(VALUES | st.just(REMOVED)) for path in apart}
    spliced = splice(
        raw, {path: None if value is REMOVED else json.dumps(value).encode() for path, value in changes.items()}
    )
    assert parse(spliced, 64) == changed(document, changes)


@given(DOCUMENTS)
def test_a_value_put_in_its_own_place_changes_no_byte(document: Any) -> None:
    raw = json.dumps(document).encode()
    for path in paths_of(document):
        value = document
        try:
            for step in path:
                value = value[step]
        except KeyError:
            continue
        assert splice(raw, {path: json.dumps(value).encode()}) == raw


def test_depth_and_length_cost_linear_time() -> None:
    deep = b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"y":1}'
    quotes = b'{"x":"' + b'\\"' * 200_000 + b'","y":1}'
    many = b'{"x":[' + b'"a",' * 100_000 + b'1],"y":1}'
    start = time.perf_counter()
    for raw in (deep, quotes, many):
        assert splice(raw, {("y",): b"2"}) == raw[:-2] + b"2}"
    assert time.perf_counter() - start < 2
