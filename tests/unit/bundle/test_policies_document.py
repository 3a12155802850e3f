"""The newcomer's steps in docs/policies.md, taken as they stand."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ext_proc import policy
from ext_proc.bundle_file import FOLDER_KEY
from ext_proc.cli import app
from ext_proc.headers import Headers
from ext_proc.identity import Identity, Kind
from ext_proc.messages import RequestHead
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.testing import call, in_force, play
from ext_proc.trail import Trail

DOCUMENT = (Path(__file__).parents[3] / "docs" / "policies.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", DOCUMENT, re.DOTALL))
MODULES = ("my_module", "test_my_module")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in EXAMPLES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_example_bundle_is_told_as_the_document_says(folder: Path) -> None:
    assert set(EXAMPLES) == {"my_module.py", "bundle.yaml", "test_my_module.py"}
    good = CliRunner().invoke(app, ["check", "bundle.yaml"])
    assert good.exit_code == 0
    assert f"gatehouse check bundle.yaml\n{good.output}```" in DOCUMENT
    (folder / "bundle.yaml").write_text(EXAMPLES["bundle.yaml"].replace("allow: [", "alow: ["))
    broken = CliRunner().invoke(app, ["check", "bundle.yaml"])
    assert broken.exit_code == 1
    assert f"gatehouse check bundle.yaml\n{broken.output}```" in DOCUMENT


def test_the_examples_own_tests_pass(folder: Path) -> None:
    module = importlib.import_module("test_my_module")
    tests = [function for name, function in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_example_of_texts_does_what_it_says_in_both_directions() -> None:
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "on_text" in text]
    names: dict[str, Any] = {"re": re, **{name: getattr(policy, name) for name in policy.__all__}}
    exec(example, names)
    codename = names["Codename"]("codename", policy.NoParameters())
    value = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "bluebird is late"}]}}
    played = play(codename, call("search", {"q": "where is bluebird?"}), value)
    assert played.upstream is not None
    assert b"where is [project]?" in played.upstream.body
    assert played.client is not None
    assert played.client.json["result"]["content"][0]["text"] == "[project] is late"


def test_the_example_of_what_is_kept_open_writes_while_it_is_open(tmp_path: Path) -> None:
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "BundlePath" in text]
    names: dict[str, Any] = {}
    exec(compile(example, "example", "exec", dont_inherit=True), names)
    parameters = names["Parameters"].model_validate({"path": "diary"}, context={FOLDER_KEY: tmp_path})
    diary = names["Diary"]("diary", parameters)
    with in_force(diary):
        for tool in ("search", "read"):
            play(diary, call(tool))
    assert (tmp_path / "diary").read_text() == "trail-1 search\ntrail-1 read\n"
    assert diary._file.closed
    assert len(diary.weaknesses()) == tmp_path.is_relative_to("/tmp")


async def test_the_example_of_pages_opens_the_way_for_who_has_been_there() -> None:
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "has_pages" in text]
    names: dict[str, Any] = {}
    exec(example, names)
    rules = names["HouseRules"]("rules", policy.NoParameters())
    store = EmbeddedStore.in_memory()
    person = Identity(Kind.HUMAN, "ann<b>", "i")

    async def visit(method: str, identity: Identity = person) -> policy.Page:
        kept = Keyspace(store, "rules")
        page = await rules.page(policy.Visit(method, "/", "/gatehouse/rules", identity, kept, 0.0, "v"))
        assert isinstance(page, policy.Page)
        return page

    async def denied() -> bool:
        exchanged = policy.Exchanged(person, "r", "mcp", RequestHead("POST", "/mcp", "t", Headers()), Trail("t"))
        exchanged.store = store
        return await rules.on_request(None, policy.Context(exchanged, None, "rules")) is not None

    assert (await visit("POST", Identity(Kind.DELEGATED_AGENT, "ann<b>", "i"))).status == 403
    assert await denied()
    assert 'action="/gatehouse/rules"' in (await visit("GET")).body
    assert (await visit("POST")).reason == "read"
    assert not await denied()
    await store.close()
