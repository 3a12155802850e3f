"""What Envoy 1.40 does in full duplex and at trailers: what the engine asks for, when, and what it never does.

Rules:
- As in test_facts.py: a scripted processor stands in Gatehouse's place, and a failure says that Envoy changed.

Not here: lengths in full duplex (test_facts_bodies.py).
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from ext_proc.events import BodyMode, Direction
from ext_proc.headers import HeaderMutation
from ext_proc.replies import HeadersReply, ImmediateReply, ModesReply, Reply, TrailersReply
from ext_proc.wire.pb import external_processor_pb2 as pb
from tests.envoy.exchanges import CHUNKED, EVENT_STREAM
from tests.envoy.harness import Running, wait_for
from tests.envoy.http2 import http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import envoy_stat
from tests.envoy.processor import (
    BODY,
    BUFFERED,
    DONE,
    DUPLEX,
    NONE,
    REQ,
    RESP,
    STREAMED,
    Processor,
    Received,
    Script,
    ask,
    but_for_one,
    echoed,
    following,
    go_on,
    modes,
    time_passes,
)
from tests.envoy.raw import chunked, in_chunks, raw_client, sized
from tests.envoy.upstream import Connection, Request, keeping

TRAILERS = (("x-checksum", "17"),)


@pytest.mark.parametrize("mode", [DUPLEX, STREAMED, BUFFERED, NONE])
def test_a_standalone_override_moves_the_request_body_to_duplex_and_nothing_else(
    envoy: Running, processor: Processor, mode: BodyMode
) -> None:
    processor.answer_with(
        following(
            request_headers=[ModesReply(modes(mode))], request_body=lambda body: [HeadersReply(REQ), *echoed(body)]
        )
    )
    answer = ask(envoy)
    if mode is DUPLEX:
        assert (answer.body, envoy.upstream.requests[0].body) == (DONE, BODY)
    else:
        assert (answer.status, envoy.upstream.requests) == (500, [])


def test_headers_that_were_held_for_a_duplex_body_may_still_change_the_route(
    envoy: Running, processor: Processor
) -> None:
    to_model_b = HeaderMutation(set=(("x-gatehouse-upstream", b"model-b"),))
    held = HeadersReply(REQ, to_model_b, clear_route_cache=True)
    processor.answer_with(
        following(request_headers=[ModesReply(modes(DUPLEX))], request_body=lambda body: [held, *echoed(body)])
    )
    assert ask(envoy, sized("/v1/held", BODY)).body == DONE
    assert envoy.upstream.requests[0].header("x-gatehouse-upstream") == "model-b"
    (line,) = envoy.access_log(1, "/v1/held")
    assert line["route"] == "model-b"


def test_while_headers_wait_for_a_duplex_body_no_reply_is_timed(envoy: Running, processor: Processor) -> None:
    time_has_passed = threading.Event()

    def script(received: Received) -> Iterator[Reply | bytes]:
        next(received)
        yield ModesReply(modes(DUPLEX))
        body = next(received)
        time_has_passed.wait(10)
        yield from (HeadersReply(REQ), *echoed(body))
        yield from following()(received)

    processor.answer_with(but_for_one(script))
    with raw_client(envoy) as client:
        client.send(sized("/mcp", BODY))
        wait_for(lambda: "request_body" in processor.kinds() or None, "the body")
        time_passes(envoy)
        time_has_passed.set()
        assert client.answer().body == DONE


HEADERS_AND_TRAILERS = chunked("/mcp", [], trailers=TRAILERS)


@pytest.mark.parametrize("mode", [BUFFERED, STREAMED])
def test_of_a_body_of_nothing_but_trailers_buffered_and_streamed_hand_nothing_over(
    envoy: Running, processor: Processor, mode: BodyMode
) -> None:
    """So a request that is to be decided is never left to them, unless it has a length that says there is a body."""
    processor.answer_with(following(request_headers=[go_on(REQ, override=modes(mode))]))
    assert ask(envoy, HEADERS_AND_TRAILERS).body == DONE
    assert processor.kinds() == ["request_headers", "response_headers"]
    assert envoy.upstream.requests[0].trailers == TRAILERS


def test_of_a_body_of_nothing_but_trailers_duplex_by_a_standalone_override_hands_the_trailers_over(
    envoy: Running, processor: Processor
) -> None:
    trailers: list[Reply] = [HeadersReply(REQ), TrailersReply(REQ)]
    processor.answer_with(following(request_headers=[ModesReply(modes(DUPLEX))], request_trailers=trailers))
    assert ask(envoy, HEADERS_AND_TRAILERS).body == DONE
    assert envoy.upstream.requests[0].trailers == TRAILERS


@pytest.mark.parametrize("direction", [REQ, RESP])
def test_of_a_body_of_nothing_but_trailers_duplex_by_the_headers_reply_hands_nothing_over_and_hangs(
    envoy: Running, processor: Processor, direction: Direction
) -> None:
    kind = f"{direction.value}_headers"
    duplex = go_on(direction, override=modes(DUPLEX) if direction is REQ else modes(response=DUPLEX))
    processor.answer_with(but_for_one(following(**{kind: [duplex]})))
    envoy.upstream.answer_with(keeping(bare(200, EVENT_STREAM, CHUNKED, body=in_chunks([], TRAILERS))))
    with raw_client(envoy) as client:
        client.send(HEADERS_AND_TRAILERS if direction is REQ else sized("/mcp", BODY))
        wait_for(lambda: kind in processor.kinds() or None, "the headers")
        time_passes(envoy)
        assert client.is_silent()
    assert not any(kind.endswith(("body", "trailers")) for kind in processor.kinds())


def held_answer(reply: Reply) -> Script:
    """Full duplex chosen with the request; the answer's headers wait for its body, and then `reply` answers them."""
    first = [reply]

    def body(message: pb.ProcessingRequest) -> list[Reply]:
        said = [first.pop()] if first else []
        return said if isinstance(reply, ImmediateReply) else [*said, *echoed(message)]

    return following(
        request_headers=[go_on(REQ, override=modes(response=DUPLEX))], response_headers=[], response_body=body
    )


LATER = "after its headers"


def answering(when: str) -> tuple[Callable[[Request, Connection], Awaitable[None]], list[str]]:
    """A sized answer whose body comes in one read with its headers, or at the gate "body"."""

    async def script(request: Request, connection: Connection) -> None:
        connection.kept = True
        start = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(DONE)}\r\n\r\n".encode()
        if when == LATER:
            await connection.send(start)
            await connection.gate("body")
            await connection.send(DONE)
        else:
            await connection.send(start + DONE)

    return script, ["body"]


BOTH = pytest.mark.parametrize("when", ["with its headers", LATER])


@BOTH
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (HeadersReply(RESP, HeaderMutation(set=((":status", b"418"),))), (418, DONE)),
        (ImmediateReply(403, b"not this"), (403, b"not this")),
    ],
    ids=["another status", "another answer"],
)
def test_with_duplex_chosen_with_the_request_an_answers_headers_may_wait_for_its_body(
    envoy: Running, processor: Processor, when: str, reply: Reply, expected: tuple[int, bytes]
) -> None:
    envoy.upstream.answer_with(*answering(when))
    processor.answer_with(held_answer(reply))
    with raw_client(envoy) as client:
        client.send(sized("/mcp", BODY))
        wait_for(lambda: "response_headers" in processor.kinds() or None, "the answer's headers")
        envoy.upstream.open("body")
        answer = client.answer()
    assert (answer.status, answer.body) == expected


@BOTH
@pytest.mark.parametrize(("said", "status"), [([], 504), ([ModesReply(modes(response=DUPLEX))], 500)])
def test_without_it_they_cannot_wait(
    envoy: Running, processor: Processor, when: str, said: list[Reply], status: int
) -> None:
    envoy.upstream.answer_with(*answering(when))
    processor.answer_with(following(response_headers=said))
    answer = ask(envoy)
    assert (answer.status, DONE in answer.body) == (status, False)
    assert "response_body" not in processor.kinds()
    envoy.upstream.open("body")


@BOTH
@pytest.mark.parametrize("lowered", [NONE, BUFFERED, STREAMED])
def test_chosen_with_the_request_and_lowered_a_body_that_comes_with_its_headers_is_lost(
    envoy: Running, processor: Processor, lowered: BodyMode, when: str
) -> None:
    envoy.upstream.answer_with(*answering(when))
    early = go_on(REQ, override=modes(response=DUPLEX))
    low = go_on(RESP, override=modes(response=lowered))
    processor.answer_with(following(request_headers=[early], response_headers=[low]))
    answered = partial(envoy_stat, envoy, "http.clients.ext_proc.stream_msgs_received")
    before = answered()
    with http2_client(envoy) as client:
        stream = client.headers("GET", "/mcp", end=True)
        wait_for(lambda: answered() >= before + 2 or None, "both replies, at Envoy")
        envoy.upstream.open("body")
        if when == LATER:
            assert client.answer(stream).body == DONE
        else:
            found = client.wait(stream, lambda arrived: arrived.ended or arrived.reset is not None)
            assert DONE not in found.body
