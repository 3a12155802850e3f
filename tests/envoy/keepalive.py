"""Exchanges with keep-alive on both sides of Envoy, and answers written to the byte.

Rules:
- After each exchange comes another, on the same client connection and on the same connection of the upstream's pool: a
  byte too many or too few of the first is in its way.

Not here: connections for one exchange (upstream.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from urllib.request import urlopen

from tests.envoy.exchanges import call
from tests.envoy.harness import Running, wait_for
from tests.envoy.raw import Lines, RawAnswer, RawClient, in_chunks, raw_client, sized
from tests.envoy.upstream import Connection, Request, Script, keeping

# When an answer's body comes.
WHEN = ["with its headers", "after its headers", "in pieces"]


class Exchanges:
    """Exchanges with keep-alive on both sides of Envoy."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def one(self, client: RawClient, script: Script, request: bytes) -> RawAnswer:
        """One exchange, and a check that both connections are still in step after it."""
        self.running.upstream.answer_with(keeping(script))
        answer = client.ask(request)
        self.in_step(client)
        return answer

    def refused(self, request: bytes, status: int) -> RawAnswer:
        """The answer to a request of which nothing may reach the upstream; then all goes on.

        Behind a 400 of ours Envoy closes the client's connection.
        """
        upstream = self.running.upstream
        upstream.answer_with(bare(200))
        with raw_client(self.running) as client:
            answer = client.ask(request)
            assert answer.status == status
            assert upstream.requests == []
            if status == 400:
                assert answer.header("connection") == "close"
                assert client.is_closed()
            else:
                self.in_step(client)
        return answer

    def one_in_steps(self, client: RawClient, script: Script, request: bytes, *, held: bool) -> RawAnswer:
        """The same, with the gate "body" opened when Gatehouse has decided about the headers, or holds them."""
        upstream = self.running.upstream
        upstream.answer_with(keeping(script), ["body"])
        told, answered = self.counts()
        client.send(request)
        decided = (told + 3, answered + (2 if held else 3))
        wait_for(lambda: self.counts() == decided or None, "the answer's headers at Gatehouse")
        upstream.open("body")
        answer = client.answer()
        self.in_step(client)
        return answer

    def counts(self) -> tuple[int, int]:
        """How many messages Envoy has sent to Gatehouse, and had from it."""
        with urlopen(f"{self.running.stack.envoy_admin_url}/stats?filter=ext_proc.stream_msgs_") as answer:
            found = dict(line.rsplit(": ", 1) for line in answer.read().decode().splitlines())
        prefix = "http.clients.ext_proc.stream_msgs"
        return int(found.get(f"{prefix}_sent", 0)), int(found.get(f"{prefix}_received", 0))

    def in_step(self, client: RawClient) -> None:
        """One more exchange on the client's connection and on the upstream's, with its own bytes."""
        upstream = self.running.upstream
        before = list(upstream.requests)
        upstream.answer_with(keeping(written([b'{"after": true}'], sized=True)))
        body = json.dumps(call("after", id=2)).encode()
        answer = client.ask(sized("/mcp/unread", body))
        assert (answer.status, answer.body) == (200, b'{"after": true}')
        (after,) = upstream.requests
        assert after.body == body
        if before:
            assert after.connection == before[-1].connection, "the pool gave its connection up"
        assert upstream.failures == []
        upstream.requests = [*before, after]


def written(
    parts: Sequence[bytes],
    *,
    sized: bool,
    content_type: str = "application/json",
    when: str = "with its headers",
    trailers: Lines = (),
) -> Script:
    """A script for a body in parts, all of it in one write with the headers, or after them; see WHEN."""
    length = ("content-length", str(sum(map(len, parts)))) if sized else ("transfer-encoding", "chunked")
    start = f"HTTP/1.1 200 Scripted\r\ncontent-type: {content_type}\r\n{length[0]}: {length[1]}\r\n\r\n".encode()

    async def script(request: Request, connection: Connection) -> None:
        if when == "with its headers":
            await connection.send(start + (b"".join(parts) if sized else in_chunks(parts, trailers)))
            return
        await connection.send(start)
        if when == "after its headers":
            await connection.gate("body")
        for part in parts:
            await (connection.send if sized else connection.chunk)(part)
            if when == "in pieces":
                await asyncio.sleep(0.0003)  # time enough for Envoy to read most of them by themselves
        if not sized:
            await connection.end(*trailers)

    return script


def bare(status: int, *lines: tuple[str, str], body: bytes = b"") -> Script:
    """An answer as it is written, over a connection that is kept."""
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)

    async def script(request: Request, connection: Connection) -> None:
        await connection.send(f"HTTP/1.1 {status} Scripted\r\n{text}\r\n".encode() + body)

    return script
