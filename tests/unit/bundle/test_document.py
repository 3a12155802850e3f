"""YAML to plain values: what is read, what is refused, and where."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.bundle.document import MAX_BYTES, MAX_DEPTH, read_document, read_text
from ext_proc.errors import BundleError, Problem


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(BundleError) as caught:
        read_document(text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("2026-11-20", "2026-11-20"),
        ("1:30", "1:30"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        ("9" * 30, float("9" * 30)),
        ("9" * 5000, "9" * 5000),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ("<<", "<<"),
        ("[1, [a, {b: c}]]", [1, ["a", {"b": "c"}]]),
        ("!!str 7", "7"),
    ],
)
def test_a_plain_value_is_what_the_core_schema_says(written: str, value: Any) -> None:
    found = read_document(f"key: {written}\n").tree["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line() -> None:
    document = read_document("a: 1\nb:\n  - c: 2\n    d: 3\n  - x.y: 4\n")
    assert document.line_of("a") == 1
    assert document.line_of("b") == 2
    assert document.line_of("b[0].d") == 4
    assert document.line_of("b[1]['x.y']") == 5
    assert document.line_of("b[0].missing") == 3
    assert document.line_of("") is None
    assert document.line_of("nowhere") is None


def test_a_key_that_stands_twice_is_a_problem_and_the_first_one_counts() -> None:
    document = read_document("a:\n  - mode: x\n    mode: y\na: 2\n")
    assert document.tree == {"a": [{"mode": "x"}]}
    assert document.problems == [
        Problem("a[0].mode", "expected every key once; line 3 repeats it"),
        Problem("a", "expected every key once; line 4 repeats it"),
    ]


@pytest.mark.parametrize("key", ["7", "true", "~", "[a]", "{a: b}", "1.5"])
def test_a_key_that_is_no_text_is_a_problem(key: str) -> None:
    document = read_document(f"a:\n  ? {key}\n  : 1\n")
    assert document.tree == {"a": {}}
    assert document.problems == [Problem("a", "expected every key to be text (in quotes if need be), in line 2")]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [id]",
        "!!binary aGk=",
        "!mine x",
        "!!int x",
        "!!set {a}",
        "!!timestamp 2026-11-20",
    ],
)
def test_a_tag_is_a_problem_and_makes_nothing(value: str) -> None:
    document = read_document(f"key: {value}\n")
    assert document.problems == [Problem("key", "expected a value without a tag (!), in line 1")]


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x\n", "a: *x\n", "a: &x 1\n", "a: &x {b: *x}\n"])
def test_anchors_and_aliases_are_refused(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.path == "line 1, column 4"
    assert "anchors and aliases (& and *) are not read; write the value out" in problem.message


def test_a_billion_laughs_cost_nothing() -> None:
    laughs = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else 'lol'}]\n" for i in range(12))
    (problem,) = problems_of(laughs)
    assert "anchors and aliases" in problem.message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_without_recursing_into_it(opening: str) -> None:
    (problem,) = problems_of("a: \n " + opening * 100_000)
    assert problem.message == f"expected YAML: nested deeper than {MAX_DEPTH} levels"


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 2  # the mapping and the innermost value are levels too
    assert read_document("a: " + "[" * depth + "1" + "]" * depth).problems == []


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: [1\nb: 2\n", "line 2", "expected ',' or ']'"),
        ("a: 1\n b: 2\n", "line 2, column 3", "mapping values are not allowed here"),
        ("a: '1\n", "line 2, column 1", "found unexpected end of stream"),
        ("a: \t- 1\n", "line 1", "YAML"),
        ("a: 1\n---\nb: 2\n", "line 2", "but found another document"),
        ('a: "\\q"\n', "line 1", "unknown escape character"),
        ("a: !undefined!x 1\n", "line 1", "undefined tag handle"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(text: str, path: str, words: str) -> None:
    (problem,) = problems_of(text)
    assert problem.path.startswith(path)
    assert words in problem.message


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing"), ("# only a comment\n", "nothing"), ("- a\n", "a list"), ("word\n", "a single value")],
)
def test_a_text_that_is_no_mapping_is_a_problem(text: str, found: str) -> None:
    (problem,) = problems_of(text)
    assert problem == Problem("", "expected a mapping with apiVersion, kind, metadata, routes, policies", found)


def test_a_control_character_is_told_with_its_line() -> None:
    assert problems_of("a: 1\nb: \x07\n") == [Problem("line 2", "expected text without control characters")]


@given(st.text(alphabet=st.sampled_from(" \n\t:-?#&*!|>'\"%@`{}[],abc0.~<="), max_size=60))
def test_no_text_raises_anything_but_a_bundle_error(text: str) -> None:
    with contextlib.suppress(BundleError):
        assert isinstance(read_document(text).tree, dict)


def test_a_file_is_read_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_bytes("\ufeffname: Grüße\n".encode())
    assert read_document(read_text(path)).tree == {"name": "Grüße"}


def test_a_file_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    def problem_of(path: Path) -> str:
        with pytest.raises(BundleError) as caught:
            read_text(path)
        (problem,) = caught.value.problems
        return problem.message

    path = tmp_path / "b.yaml"
    assert problem_of(path) == f"cannot read {path} (No such file or directory)"
    assert problem_of(tmp_path) == f"expected {tmp_path} to be a regular file"
    os.mkfifo(tmp_path / "pipe")
    assert problem_of(tmp_path / "pipe") == f"expected {tmp_path / 'pipe'} to be a regular file"
    path.write_bytes(b"name: \xff\n")
    assert problem_of(path) == "expected UTF-8 text; byte 6 is not"
    path.write_bytes("name: x".encode("utf-16"))
    assert problem_of(path) == "expected UTF-8 text; byte 0 is not"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert problem_of(path) == "expected a file of at most 1 MiB"


def test_the_largest_file_of_brackets_is_refused_quickly() -> None:
    began = time.monotonic()
    problems_of("[" * MAX_BYTES)
    assert time.monotonic() - began < 5
