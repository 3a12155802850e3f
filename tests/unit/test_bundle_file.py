"""A parameter that names a file arrives with what is in it, and what is wrong with the file is told with its path."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from ext_proc import bundle_file
from ext_proc.bundle.load import examine
from ext_proc.bundle_file import FOLDER_KEY, BundleFile, BundlePath


class Parameters(BaseModel):
    file: BundleFile


def read(folder: Path, name: object) -> BundleFile:
    return Parameters.model_validate({"file": name}, context={FOLDER_KEY: folder}).file


def test_a_path_is_read_relative_to_the_bundles_folder(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_bytes(b"text")
    found = read(tmp_path, "a.lock")
    assert (found.name, found.path, found.data) == ("a.lock", tmp_path / "a.lock", b"text")
    assert read(tmp_path, found) is found
    assert (repr(found), Parameters(file=found).model_dump_json()) == ("BundleFile('a.lock')", '{"file":"a.lock"}')


def test_it_is_equal_to_itself_read_again_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_bytes(b"text")
    before = read(tmp_path, "a.lock")
    assert len({before, read(tmp_path, "a.lock")}) == 1
    (tmp_path / "a.lock").write_bytes(b"other")
    assert read(tmp_path, "a.lock") != before


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "No such file"),
        (".", "expected a regular file"),
        ("empty", "not to be empty"),
        ("large", "to be at most"),
        ("", "expected the path of a file"),
        (7, "expected the path of a file"),
        ("a\0b", "expected the path of a file"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: object, why: str
) -> None:
    monkeypatch.setattr(bundle_file, "MAX_BYTES", 10)
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(ValidationError, match=why) as refused:
        read(tmp_path, name)
    if name in ("missing", "empty", "large"):
        assert str(tmp_path / str(name)) in str(refused.value)


def test_the_reference_calls_it_a_file() -> None:
    assert Parameters.model_json_schema()["properties"]["file"] == {"type": "string", "title": "path of a file"}


BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: pinned}
store: {hosts: one}
routes: [{name: tools, match: {path: /mcp}, protocol: mcp, policies: [pins]}]
policies: [{name: pins, type: tool-pinning, parameters: {trust: lock, lock_file: tools.lock}}]
"""


def test_a_bundle_reads_its_files_beside_it_whenever_it_is_loaded_and_tells_their_faults(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(BUNDLE)
    (problem,) = examine(bundle).problems
    assert problem.path == "policies[0].parameters.lock_file"
    assert f"cannot read {tmp_path / 'tools.lock'} (No such file" in problem.message
    (tmp_path / "tools.lock").write_text("kind: ToolLock")
    (problem,) = examine(bundle).problems
    assert f"{tmp_path / 'tools.lock'} is no lock file: expected apiVersion: gatehouse/v1" in problem.message
    (tmp_path / "tools.lock").write_text("{apiVersion: gatehouse/v1, kind: ToolLock}")
    assert examine(bundle).problems == ()


class Written(BaseModel):
    path: BundlePath


def test_a_path_that_is_written_is_named_and_not_looked_at(tmp_path: Path) -> None:
    found = Written.model_validate({"path": "logs/usage.db"}, context={FOLDER_KEY: tmp_path})
    assert found.path == tmp_path / "logs" / "usage.db"
    assert Written.model_validate({"path": "/var/x.db"}, context={FOLDER_KEY: tmp_path}).path == Path("/var/x.db")
    assert Written.model_validate(found.model_dump()).path == found.path
    assert Written.model_json_schema()["properties"]["path"] == {"type": "string", "title": "path of a file"}


@pytest.mark.parametrize("value", ["", "a\0b", 7, None])
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="expected the path of a file"):
        Written.model_validate({"path": value})
