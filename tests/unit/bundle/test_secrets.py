"""Secrets from files and the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.secrets import MAX_BYTES, resolve


def value_of(source: Any, folder: Path, environ: dict[str, str] | None = None) -> bytes:
    found, problems = resolve({"key": source}, folder, environ or {})
    assert problems == []
    assert found["key"].key_id == "key"
    return found["key"].reveal()


def problem_of(source: Any, folder: Path, environ: dict[str, str] | None = None) -> tuple[str, str]:
    found, (problem,) = resolve({"key": source}, folder, environ or {})
    assert found == {}
    assert problem.value == ""
    return problem.path, problem.message


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"s3cret", b"s3cret"),
        (b"s3cret\n", b"s3cret"),
        (b"s3cret\r\n", b"s3cret"),
        (b"s3cret\n\n", b"s3cret\n"),
        (b"s3cret\r", b"s3cret\r"),
        (b"\x00\xff", b"\x00\xff"),
        (b"x" * MAX_BYTES + b"\n", b"x" * MAX_BYTES),
        (b"x" * MAX_BYTES + b"\r\n", b"x" * MAX_BYTES),
    ],
)
def test_a_file_is_the_secret_without_one_newline_at_its_end(tmp_path: Path, content: bytes, value: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert value_of({"file": str(tmp_path / "key")}, Path("/nowhere")) == value


def test_a_relative_path_starts_at_the_bundles_folder(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"s3cret")
    assert value_of({"file": "key"}, tmp_path) == b"s3cret"


def test_an_environment_variable_is_the_secret_as_it_is(tmp_path: Path) -> None:
    assert value_of({"env": "KEY"}, tmp_path, {"KEY": "s3cret\n"}) == b"s3cret\n"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_file_is_a_problem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert problem_of({"file": "key"}, tmp_path) == (
        "secrets.key.file",
        "expected the secret's file not to be empty",
    )


@pytest.mark.parametrize("tail", [b"x", b"xx\n", b"x" * 10, b"\r\n\n"])
def test_a_file_that_is_too_large_is_a_problem(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "key").write_bytes(b"x" * MAX_BYTES + tail)
    assert problem_of({"file": "key"}, tmp_path)[1] == "expected the secret's file to be at most 64 KiB"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    path, message = problem_of({"file": "key"}, tmp_path)
    assert (path, message) == ("secrets.key.file", "cannot read the secret's file (No such file or directory)")
    assert problem_of({"file": "."}, tmp_path)[1] == "cannot read the secret's file (expected a regular file)"
    os.mkfifo(tmp_path / "pipe")
    assert problem_of({"file": "pipe"}, tmp_path)[1] == "cannot read the secret's file (expected a regular file)"
    assert "cannot read the secret's file" in problem_of({"file": "a\0b"}, tmp_path)[1]


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_variable_that_is_unset_or_empty_is_a_problem(tmp_path: Path, environ: dict[str, str]) -> None:
    assert problem_of({"env": "KEY"}, tmp_path, environ) == (
        "secrets.key.env",
        "expected the secret's environment variable to be set and not empty",
    )


@pytest.mark.parametrize("written", [None, [], 7, "x", {"key": 7}, {"key": {}}, {"key": {"file": "a", "env": "b"}}])
def test_what_does_not_fit_the_format_is_left_to_the_format(tmp_path: Path, written: Any) -> None:
    assert resolve(written, tmp_path, {"b": "c"}) == ({}, [])
