"""A scorer says yes by a 200 with `allow: true`, in time, from where the bundle says; all else is a no."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from ext_proc.policy import Secret
from gatehouse_policies.confirm_scorer import MAX_ANSWER, ScoreError, Scorer, Scores
from tests.policies.confirming import Gate, policy, word
from tests.policies.town import reason, went_on


class Service:
    """A scorer on the loopback, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], Any]] = []
        self.status, self.body, self.headers = 200, b'{"allow": true}', {"content-type": "application/json"}
        self.holds = threading.Event()
        self.holds.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append((headers, msgspec.json.decode(body)))
                service.holds.wait(10.0)
                self.send_response(service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(service.body)))
                self.end_headers()
                self.wfile.write(service.body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/score"

    def close(self) -> None:
        self.holds.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    with closing(Service()) as service:
        yield service


def gate(service: Service, **more: Any) -> Gate:
    return Gate(policy(by={"scorer": {"url": service.url, **more}}))


def test_a_yes_lets_the_call_go_on_as_it_came_and_each_call_is_asked_about(service: Service) -> None:
    here = gate(service)
    for _ in range(2):
        played = here.call(requestState="of-the-server")
        assert (went_on(played), word(played)) == (True, "score-allowed")
        assert played.upstream is not None
        assert b"of-the-server" in played.upstream.body
    headers, question = service.asked[0]
    assert len(service.asked) == 2
    assert question == {
        "principal": {"subject": "ann", "issuer": "https://id.example"},
        "actor": "",
        "server": "tools",
        "tool": "delete_file",
        "arguments": {"path": "/srv/a"},
    }
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


def test_a_tool_that_needs_no_yes_is_not_scored(service: Service) -> None:
    assert went_on(gate(service).call(tool="search"))
    assert service.asked == []


def test_a_no_is_a_result_that_the_model_reads(service: Service) -> None:
    service.body = b'{"allow": false, "score": 0.2}'
    played = gate(service).call()
    assert (went_on(played), reason(played)) == (False, "score-refused")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"allow": true}'),
        (201, b'{"allow": true}'),
        (302, b'{"allow": true}'),
        (200, b"yes"),
        (200, b"[true]"),
        (200, b""),
        (200, b'{"allow": true, "why": "' + b"x" * MAX_ANSWER + b'"}'),
    ],
)
def test_an_answer_that_is_none_is_a_no(service: Service, status: int, body: bytes) -> None:
    service.status, service.body = status, body
    if status == 302:
        service.headers["location"] = service.url
    played = gate(service).call()
    assert (went_on(played), reason(played)) == (False, "scorer-failed")
    assert len(service.asked) == 1, "no redirect is followed"


@pytest.mark.parametrize("body", [b"{}", b'{"allow": 1}', b'{"allow": "true"}', b'{"allow": null}'])
def test_what_is_not_exactly_true_is_a_no(service: Service, body: bytes) -> None:
    service.body = body
    assert reason(gate(service).call()) == "score-refused"


def test_a_scorer_that_is_not_there_is_a_no() -> None:
    service = Service()
    service.close()
    played = gate(service).call()
    assert (went_on(played), reason(played)) == (False, "scorer-failed")


def test_a_token_is_sent_and_shown_nowhere(service: Service) -> None:
    assert went_on(gate(service, token=Secret("scorer", b"t0ken\n")).call())
    assert service.asked[0][0]["authorization"] == "Bearer t0ken"


def test_how_many_wait_for_it_is_bounded(service: Service) -> None:
    async def all_ask() -> list[object]:
        scores = Scores(Scorer(url=service.url, at_once=2))
        service.holds.clear()
        waiting = [asyncio.ensure_future(scores.allow({}, 10.0)) for _ in range(2)]
        await asyncio.sleep(0)
        try:
            with pytest.raises(ScoreError, match="scorer-busy"):
                await scores.allow({}, 10.0)
        finally:
            service.holds.set()
        first = list(await asyncio.gather(*waiting))
        return [*first, await scores.allow({}, 10.0)]

    assert asyncio.run(all_ask()) == [True, True, True]


def test_one_that_is_too_slow_is_a_no(service: Service) -> None:
    async def asks() -> bool:
        return await Scores(Scorer(url=service.url)).allow({}, 0.05)

    service.holds.clear()
    with pytest.raises(ScoreError, match="scorer-failed"):
        asyncio.run(asks())
