"""The encodings of the package: there without a network, and only if their ranks are what they were."""

from __future__ import annotations

import os
import shutil
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from ext_proc.tokens.encodings import ENCODINGS, FOLDER, EncodingName, RanksError, encoding_of, load


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_is_loaded_from_the_package_and_reads_back_what_it_wrote(name: EncodingName) -> None:
    encoding = load(name)
    assert encoding.name == name
    assert encoding.decode(encoding.encode_ordinary("Grüße, 世界!")) == "Grüße, 世界!"
    assert load(name) is encoding


def test_ranks_that_are_not_what_they_were_are_refused_and_stay_where_they_are(tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        shutil.copy(file, tmp_path)
    ranks = next(path for path in tmp_path.iterdir() if path.name.startswith("fb37"))
    ranks.write_bytes(ranks.read_bytes()[:-1])
    with pytest.raises(RanksError, match="the ranks of o200k_base are not what they were"):
        load("o200k_base", tmp_path)
    assert ranks.exists()


def test_missing_ranks_are_told_by_the_name_of_their_encoding(tmp_path: Path) -> None:
    with pytest.raises(RanksError, match=r"cannot read the ranks of cl100k_base \(No such file"):
        load("cl100k_base", tmp_path)


def test_what_the_environment_says_of_a_cache_is_neither_used_nor_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/nowhere")
    for file in FOLDER.iterdir():
        shutil.copy(file, tmp_path)
    assert load("cl100k_base", tmp_path).name == "cl100k_base"
    assert os.environ["TIKTOKEN_CACHE_DIR"] == "/nowhere"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("text-davinci-003", None),
        ("claude-sonnet-4", None),
        ("", None),
    ],
)
def test_a_model_is_counted_by_its_own_encoding_where_that_is_published_and_here(
    model: str, name: EncodingName | None
) -> None:
    assert encoding_of(model) == name


def test_the_ranks_stand_beside_their_licence_which_every_wheel_carries() -> None:
    licence = FOLDER / "LICENSE"
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert licence.relative_to(root).as_posix() in project["project"]["license-files"]
    assert "ext_proc" in wheel["packages"]  # with all that is in it: nothing is left out
    assert not {"exclude", "only-include"} & {*wheel, *project["tool"]["hatch"]["build"]}
    (its_own,) = (file for file in distribution("tiktoken").files or () if file.name == "LICENSE")
    assert licence.read_bytes() == Path(str(its_own.locate())).read_bytes()
