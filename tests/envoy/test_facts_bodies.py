"""What Envoy 1.40 does with bodies: the facts that the planner and both body files of the engine stand on.

Rules:
- As in test_facts.py: a scripted processor stands in Gatehouse's place, and a failure says that Envoy changed.

Not here: how an RPC ends, header changes, the override of a mode in a headers reply (test_facts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import yaml

from ext_proc.events import Direction
from ext_proc.headers import HeaderMutation
from ext_proc.replies import BodyReply, HeadersReply, ImmediateReply, ModesReply, Reply, StreamedBody
from ext_proc.wire.pb import external_processor_pb2 as pb
from tests.envoy.exchanges import CHUNKED, EVENT_STREAM
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.http2 import http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import envoy_stat
from tests.envoy.processor import (
    ANSWER,
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
    Rule,
    ask,
    but_for_one,
    echoed,
    following,
    go_on,
    modes,
    time_passes,
)
from tests.envoy.raw import JSON_LINES, chunked, head, raw_client, sized
from tests.envoy.upstream import Connection, Request, whole
from tests.envoy.ways import BUNDLE

MIB = 1024 * 1024


# -- lengths -----------------------------------------------------------------------------------------------------------


def length(size: int) -> HeaderMutation:
    return HeaderMutation(set=(("content-length", str(size).encode()),))


NEW = b"changed"


@pytest.mark.parametrize("said", [None, len(NEW) - 1, len(NEW), len(NEW) + 1])
def test_a_changed_body_in_buffered_needs_its_exact_length_where_the_message_was_sized(
    envoy: Running, processor: Processor, said: int | None
) -> None:
    right = said == len(NEW)
    changes = HeaderMutation() if said is None else length(said)
    buffered = go_on(REQ, override=modes(BUFFERED, BUFFERED))
    processor.answer_with(following(request_headers=[buffered], request_body=[BodyReply(REQ, NEW, changes)]))
    assert ask(envoy).status == (200 if right else 500)
    assert ask(envoy, chunked("/mcp", [BODY])).status == (200 if right or said is None else 500)
    assert {request.body for request in envoy.upstream.requests} <= {NEW}
    processor.answer_with(following(request_headers=[buffered], response_body=[BodyReply(RESP, NEW, changes)]))
    answer = ask(envoy)
    assert (answer.status, answer.body) == ((200, NEW) if right else (500, b""))


def test_a_wrong_length_beside_an_unchanged_body_is_not_checked_and_cuts_it_short(
    envoy: Running, processor: Processor
) -> None:
    """And the rest of it would be the next request on that connection, which this upstream closes."""
    envoy.upstream.answer_with(whole(200, DONE, JSON_LINES[0]))
    wrong = BodyReply(REQ, None, length(5))
    processor.answer_with(following(request_headers=[go_on(REQ, override=modes(BUFFERED))], request_body=[wrong]))
    assert ask(envoy).status == 200
    assert [request.body for request in envoy.upstream.requests] == [BODY[:5]]


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
LENGTHS = {
    "none": HeaderMutation(),
    "the right one": length(len(BODY + SMUGGLED)),
    "taken away": HeaderMutation(remove=("content-length",)),
}


@pytest.mark.parametrize("mutation", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("held", [False, True], ids=["headers gone on", "headers held"])
def test_in_duplex_after_an_override_a_longer_body_runs_past_its_old_length_unless_that_is_taken_away(
    envoy: Running, processor: Processor, held: bool, mutation: HeaderMutation
) -> None:
    longer = StreamedBody(REQ, BODY + SMUGGLED, end_of_stream=True)
    headers = HeadersReply(REQ, mutation, modes=None if held else modes(DUPLEX))
    first: list[Reply] = [ModesReply(modes(DUPLEX))] if held else [headers]
    processor.answer_with(following(request_headers=first, request_body=[headers, longer] if held else [longer]))
    assert ask(envoy).status == 200
    came = [(request.path, request.body) for request in envoy.upstream.requests]
    if mutation.remove:
        assert came == [("/mcp", BODY + SMUGGLED)]
    else:
        wait_for(lambda: len(envoy.upstream.requests) == 2 or None, "the smuggled request")
        assert [request.path for request in envoy.upstream.requests] == ["/mcp", "/smuggled"]


@pytest.mark.parametrize("mutation", LENGTHS.values(), ids=LENGTHS.keys())
def test_in_duplex_after_an_override_a_longer_answer_runs_past_its_old_length_unless_that_is_taken_away(
    envoy: Running, processor: Processor, mutation: HeaderMutation
) -> None:
    smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled"
    headers = HeadersReply(RESP, mutation, modes=modes(response=DUPLEX))
    longer = [StreamedBody(RESP, DONE + smuggled, end_of_stream=True)]
    once = iter(longer)
    processor.answer_with(following(response_headers=[headers], response_body=lambda message: list(once)))
    with raw_client(envoy) as client:
        answer = client.ask(sized("/mcp", BODY))
        if mutation.remove:
            assert answer.body == DONE + smuggled
        else:
            assert answer.body == DONE
            assert client.answer().body == b"smuggled"


# -- streamed ----------------------------------------------------------------------------------------------------------


def test_streamed_an_empty_replacement_sends_nothing_so_that_text_may_leave_with_a_later_chunk(
    envoy: Running, processor: Processor
) -> None:
    held: list[bytes] = []

    async def answer(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        for number, part in enumerate([b"one ", b"two ", b"three"]):
            await connection.gate(f"part {number}")
            await connection.chunk(part)
        await connection.gate("end")
        await connection.end()

    def hold(message: pb.ProcessingRequest) -> Iterator[Reply]:
        held.append(message.response_body.body)
        envoy.upstream.open({1: "part 1", 2: "part 2", 3: "end"}.get(len(held), "end"))
        yield BodyReply(RESP, b"".join(held) if len(held) == 3 else b"")

    envoy.upstream.answer_with(answer, ["part 0", "part 1", "part 2", "end"])
    envoy.upstream.open("part 0")
    streamed = go_on(RESP, override=modes(response=STREAMED))
    processor.answer_with(following(response_headers=[streamed], response_body=hold))
    assert ask(envoy).body == b"one two three"
    assert held[:3] == [b"one ", b"two ", b"three"]


@pytest.mark.parametrize("first", [b"first", b""], ids=["after a first chunk", "before any chunk"])
def test_duplex_may_say_more_than_it_was_told_but_only_after_the_first_chunk(
    envoy: Running, processor: Processor, first: bytes
) -> None:
    beats = [StreamedBody(RESP, b"beat ", False)] * 3

    async def answer(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        if first:
            await connection.chunk(first)
        await connection.gate("speak")
        await connection.chunk(b"second")
        await connection.end()

    def script(received: Received) -> Iterator[Reply | bytes]:
        duplex = go_on(RESP, override=modes(response=DUPLEX))

        def body(message: pb.ProcessingRequest) -> Iterator[Reply]:
            yield from echoed(message)
            if message.response_body.body == first:
                yield from beats

        yield from following(response_headers=[duplex, *([] if first else beats)], response_body=body)(received)

    envoy.upstream.answer_with(answer, ["speak"])
    processor.answer_with(script)
    spurious = partial(envoy_stat, envoy, "http.clients.ext_proc.spurious_msgs_received")
    before = spurious()
    with http2_client(envoy) as client:
        stream = client.headers("GET", "/mcp", end=True)
        if first:
            client.wait(stream, lambda arrived: bytes(arrived.body) == b"firstbeat beat beat ")
            envoy.upstream.open("speak")
            assert client.answer(stream).body == b"firstbeat beat beat second"
        else:
            assert client.cut_off(stream).body == b""
    assert (spurious() > before) is not bool(first)


# -- what fits in Envoy's buffer ---------------------------------------------------------------------------------------


LARGE = b"x" * (4 * MIB)


def test_past_envoys_buffer_a_buffered_request_is_413_and_an_answer_500_and_the_processor_sees_none_of_it(
    envoy: Running, processor: Processor
) -> None:
    processor.answer_with(following(request_headers=[go_on(REQ, override=modes(BUFFERED))]))
    answered = partial(envoy_stat, envoy, "http.clients.ext_proc.stream_msgs_received")
    before = answered()
    with raw_client(envoy) as client:
        client.send(head("/mcp", *JSON_LINES, ("content-length", str(len(LARGE)))))
        wait_for(lambda: answered() > before or None, "the override, at Envoy")
        client.send(LARGE[: 2 * MIB])
        assert client.answer().status == 413
    assert "request_body" not in processor.kinds()
    assert envoy.upstream.requests == []

    async def answer(request: Request, connection: Connection) -> None:
        await connection.head(200, JSON_LINES[0], ("content-length", str(len(LARGE))))
        await connection.gate("body")
        await connection.send(LARGE)

    processor.answer_with(following(response_headers=[go_on(RESP, override=modes(response=BUFFERED))]))
    envoy.upstream.answer_with(answer, ["body"])
    before = answered()
    with raw_client(envoy) as client:
        client.send(sized("/mcp", BODY))
        wait_for(lambda: answered() >= before + 2 or None, "the override, at Envoy")
        envoy.upstream.open("body")
        assert (found := client.answer()).status == 500
        assert LARGE[:100] not in found.body
    assert "response_body" not in processor.kinds()


@pytest.mark.parametrize("direction", [REQ, RESP])
def test_what_comes_with_its_headers_and_is_past_envoys_buffer_hangs_in_buffered(
    envoy: Running, processor: Processor, direction: Direction
) -> None:
    """Why BUFFERED is chosen only for a length that is known to fit: past it there is not even an error."""
    kind = f"{direction.value}_headers"
    buffered = go_on(direction, override=modes(BUFFERED if direction is REQ else NONE, BUFFERED))
    processor.answer_with(but_for_one(following(**{kind: [buffered]})))
    length = ("content-length", str(len(LARGE)))
    with raw_client(envoy) as client:
        if direction is REQ:
            client.send(head("/mcp", *JSON_LINES, length) + LARGE[: 2 * MIB])
        else:
            envoy.upstream.answer_with(bare(200, JSON_LINES[0], length, body=LARGE))
            client.send(sized("/mcp", BODY))
        wait_for(lambda: kind in processor.kinds() or None, "the headers")
        time_passes(envoy)
        assert client.is_silent()
    assert f"{direction.value}_body" not in processor.kinds()


@pytest.mark.parametrize("longest", [4 * MIB, -1], ids=["gRPC's own limit", "no limit"])
def test_with_a_larger_buffer_messages_are_longer_than_grpcs_own_limit(gatehouse_stack: Stacks, longest: int) -> None:
    large = b"x" * (6 * MIB)
    with Processor(longest) as processor:
        envoy = gatehouse_stack(BUNDLE, edit_bootstrap=partial(with_buffers_of, 8 * MIB, processor.bootstrap))
        envoy.upstream.answer_with(ANSWER)
        processor.answer_with(following(request_headers=[go_on(REQ, override=modes(BUFFERED))]))
        assert (ask(envoy, sized("/mcp", large)).status == 200) is (longest == -1)
    assert [len(message.request_body.body) for message in processor.seen[1:2]] == [len(large)] * (longest == -1)


def with_buffers_of(size: int, edit: Callable[[str], str], bootstrap: str) -> str:
    config = yaml.safe_load(edit(bootstrap))
    config["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] = size
    return str(yaml.safe_dump(config, sort_keys=False))


# -- answers of the processor's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["request_headers", "request_body", "response_headers", "response_body"])
def test_an_answer_in_place_of_the_upstreams_is_clean_where_nothing_has_left_and_its_metadata_reach_the_access_log(
    envoy: Running, processor: Processor, at: str
) -> None:
    path = f"/mcp/in-place-of/{at}"
    refused = ImmediateReply(403, b"not this", metadata={"gatehouse": {"outcome": at}})
    rules: dict[str, Rule] = {"request_headers": [go_on(REQ, override=modes(BUFFERED, BUFFERED))], at: [refused]}
    processor.answer_with(following(**rules))
    answer = ask(envoy, sized(path, BODY))
    assert (answer.status, answer.body, answer.header("content-type")) == (403, b"not this", "text/plain")
    (line,) = envoy.access_log(1, path)
    assert line["outcome"] == at


def test_in_buffered_the_reply_to_an_answers_body_may_change_its_status(envoy: Running, processor: Processor) -> None:
    status = BodyReply(RESP, None, HeaderMutation(set=((":status", b"418"),)))
    buffered = go_on(REQ, override=modes(response=BUFFERED))
    processor.answer_with(following(request_headers=[buffered], response_body=[status]))
    answer = ask(envoy)
    assert (answer.status, answer.body) == (418, DONE)
