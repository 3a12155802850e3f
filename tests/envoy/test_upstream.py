"""The scripted upstream does to the byte what a script says: the tests through Envoy stand on it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.envoy.upstream import Connection, Request, Upstream, cut_after, empty, json_body, keeping, pieces


@pytest.fixture(scope="module")
def running() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def url(upstream: Upstream) -> str:
    return f"http://{upstream.address}/path"


def test_it_keeps_what_it_was_asked(running: Upstream) -> None:
    running.answer_with(json_body({"a": 1}, 201))
    answer = httpx.post(url(running), content=b"asked", headers=[("X-Twice", "1"), ("x-twice", "2")])
    assert (answer.status_code, answer.json()) == (201, {"a": 1})
    (request,) = running.requests
    assert (request.method, request.path, request.body) == ("POST", "/path", b"asked")
    assert [value for name, value in request.headers if name == "x-twice"] == ["1", "2"]
    assert running.failures == []


def test_it_reads_a_chunked_body(running: Upstream) -> None:
    running.answer_with(empty())
    assert httpx.post(url(running), content=iter([b"in ", b"pieces"])).status_code == 204
    assert running.requests[0].body == b"in pieces"


def test_it_keeps_a_connection_open_for_the_next_request_if_told_so(running: Upstream) -> None:
    with httpx.Client() as client:
        for script, same in ((keeping(json_body({})), True), (json_body({}), False)):
            running.answer_with(script)
            client.get(url(running))
            client.get(url(running))
            first, second = running.requests
            assert (first.connection == second.connection) is same
    assert running.failures == []


def test_it_sends_pieces_and_ends(running: Upstream) -> None:
    running.answer_with(pieces([b"data: 1\n", b"\n", b"data: 2\n\n"], trailers=[("x-end", "yes")]))
    assert httpx.get(url(running)).content == b"data: 1\n\ndata: 2\n\n"


def test_it_cuts_a_body_off(running: Upstream) -> None:
    running.answer_with(cut_after([b"data: 1\n\n"]))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url(running))


def test_a_gate_holds_the_rest_until_the_test_opens_it(running: Upstream) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, ("transfer-encoding", "chunked"))
        await connection.chunk(b"first")
        await connection.gate("rest")
        await connection.chunk(b"rest")
        await connection.end()

    running.answer_with(script, gates=["rest"])
    with httpx.stream("GET", url(running)) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        running.open("rest")
        assert next(parts) == b"rest"


def test_what_a_script_raises_is_kept(running: Upstream) -> None:
    async def script(request: Request, connection: Connection) -> None:
        raise ValueError("a script's own mistake")

    running.answer_with(script)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url(running))
    assert [str(failure) for failure in running.failures] == ["a script's own mistake"]
