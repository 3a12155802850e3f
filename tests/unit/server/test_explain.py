"""`gatehouse explain` against a real endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from ext_proc.engine.route import Rulebook
from ext_proc.server.address import TcpAddress
from ext_proc.server.admin import Admin
from ext_proc.server.explain import explain
from ext_proc.server.http import Handler, HttpRequest, HttpResponse, HttpServer
from ext_proc.telemetry.history import History
from ext_proc.telemetry.metrics import Metrics
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word
from tests.unit.server.fakes import MemoryLog, soon


@contextlib.asynccontextmanager
async def endpoint(handler: Handler) -> AsyncIterator[str]:
    server = HttpServer(handler, MemoryLog())
    address = await server.start(TcpAddress("127.0.0.1", 0))
    try:
        yield str(address)
    finally:
        await server.stop()


def admin(*trails: Trail) -> Admin:
    history = History()
    for trail in trails:
        history.record(trail)
    return Admin(rulebook=lambda: Rulebook("b", "1"), ready=lambda: True, metrics=Metrics(), history=history)


async def explained(trail_id: str, address: str) -> int:
    code: int = await soon(asyncio.to_thread(explain, trail_id, address))
    return code


async def test_the_way_of_a_decision_is_shown_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    trail = Trail("t1", revision="7", route="tools", method="tools/call", target="rm", outcome=Outcome.REFUSED)
    trail.record(Entry("first", Stage.REQUEST_HEADERS, Word.ALLOW, "", 0.0001, enforced=True))
    trail.record(Entry("watcher", Stage.REQUEST, Word.DENY, "looks-odd", 0.0002, enforced=False))
    trail.record(Entry("who-may-call", Stage.REQUEST, Word.DENY, "tool-not-allowed", 0.0015, enforced=True))
    trail.note("something odd")
    async with endpoint(admin(trail).handle) as address:
        assert await explained("t1", address) == 0
    shown = capsys.readouterr().out
    for word in ("t1", "revision", "7", "tools/call", "rm", "refused", "1.500", "note: something odd"):
        assert word in shown
    places = [shown.index(word) for word in ("first", "watcher", "deny (not enforced)", "tool-not-allowed")]
    assert places == sorted(places)


async def test_who_called_is_shown_where_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    agent = Trail("t1", kind="delegated_agent", subject="ann", actor="assistant-1")
    async with endpoint(admin(agent, Trail("t2", kind="unknown")).handle) as address:
        assert await explained("t1", address) == 0
        shown = capsys.readouterr().out
        assert await explained("t2", address) == 0
    assert [word for word in ("delegated_agent", "ann", "assistant-1") if word not in shown] == []
    assert "unknown" not in capsys.readouterr().out


async def test_what_a_client_wrote_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    trail = Trail("t1", target="\x1b[2J[bold]x[/bold]\udcff")
    async with endpoint(admin(trail).handle) as address:
        assert await explained("t1", address) == 0
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\\x1b[2J[bold]x[/bold]\\udcff" in shown
    assert "no policy had a say" in shown


async def test_an_unknown_id_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    async with endpoint(admin().handle) as address:
        assert await explained("t1&limit=1", address) == 1
    assert capsys.readouterr().err.startswith("no decision 't1&limit=1' at 127.0.0.1:")


async def test_an_endpoint_that_does_not_answer_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    assert await explained("t1", f"127.0.0.1:{free}") == 1
    error = capsys.readouterr().err
    assert error == f"no admin endpoint answers at 127.0.0.1:{free}: connection refused\n"


@pytest.mark.parametrize("body", [b"hello", b"[]", b"{}", b'{"decisions":{}}'])
async def test_another_server_is_a_sentence(capsys: pytest.CaptureFixture[str], body: bytes) -> None:
    async def handle(request: HttpRequest) -> HttpResponse:
        return HttpResponse(body)

    async with endpoint(handle) as address:
        assert await explained("t1", address) == 1
    assert "is no admin endpoint of gatehouse" in capsys.readouterr().err


def test_an_address_that_is_none_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("t1", "9901") == 1
    assert "names no host" in capsys.readouterr().err
