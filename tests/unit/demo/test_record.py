"""The tour finds the decision of its own step, and knows what passed without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ext_proc.demo.record import Decision, Record
from tests.unit.demo.admin_stub import AdminStub, called, ungoverned

SEARCH = ("tools/call", "search")


def is_any(decision: Decision) -> bool:
    return True


def is_ok(decision: Decision) -> bool:
    return bool(decision["outcome"] == "ok")


@pytest.fixture
def stub() -> Iterator[AdminStub]:
    with AdminStub() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ext_proc.demo.record._LOOKS", 2)


async def test_a_decision_is_found_by_the_id_that_the_client_was_told(stub: AdminStub) -> None:
    stub.ends(called("a"))
    stub.ends(called("b"))
    found = await Record(stub.admin_url).by_id("a")
    assert found is not None
    assert found["id"] == "a"


async def test_a_decision_that_comes_after_the_answer_is_waited_for(stub: AdminStub) -> None:
    record = Record(stub.admin_url)
    mark = record.mark()
    # It ends while it is being looked for: the first look finds nothing.
    looking = asyncio.create_task(record.since(mark, SEARCH, is_any))
    asyncio.get_running_loop().call_soon(stub.ends, called("late"))
    found = await looking
    assert found is not None
    assert found["id"] == "late"


@pytest.mark.usefixtures("impatient")
async def test_what_was_known_before_or_is_about_something_else_is_not_the_step_s(stub: AdminStub) -> None:
    stub.ends(called("before"))
    record = Record(stub.admin_url)
    mark = record.mark()
    stub.ends(called("other", "docs.read"))
    assert await record.since(mark, SEARCH, is_any) is None
    assert await record.by_id("none") is None


@pytest.mark.parametrize("first", ["expected", "other"])
async def test_of_two_exchanges_alike_the_expected_one_is_waited_for_whichever_is_on_record_first(
    stub: AdminStub, first: str
) -> None:
    record = Record(stub.admin_url)
    mark = record.mark()
    exchanges = [called("expected"), called("other", denied=True)]
    if first == "other":
        exchanges.reverse()
    stub.ends(exchanges[0])
    looking = asyncio.create_task(record.since(mark, SEARCH, is_ok))
    asyncio.get_running_loop().call_soon(stub.ends, exchanges[1])
    found = await looking
    assert found is not None
    assert found["id"] == "expected"


@pytest.mark.usefixtures("impatient")
async def test_where_the_expected_one_does_not_come_the_latest_is_shown(stub: AdminStub) -> None:
    record = Record(stub.admin_url)
    mark = record.mark()
    stub.ends(called("a", denied=True))
    stub.ends(called("b", denied=True))
    found = await record.since(mark, SEARCH, is_ok)
    assert found is not None
    assert found["id"] == "b"


@pytest.mark.usefixtures("impatient")
async def test_an_ungoverned_exchange_is_seen_to_have_come_through(stub: AdminStub) -> None:
    stub.ends(ungoverned("before"))
    record = Record(stub.admin_url)
    mark = record.mark()
    stub.ends(called("governed"))
    assert not record.has_passed(mark)
    assert not await record.passed(mark)
    stub.ends(ungoverned("after"))
    assert record.has_passed(mark)
    assert await record.passed(mark)


async def test_the_environment_s_proxy_is_not_asked(stub: AdminStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    stub.ends(called("a"))
    assert await Record(stub.admin_url).by_id("a") is not None
