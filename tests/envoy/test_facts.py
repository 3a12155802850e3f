"""What Envoy 1.40 does with what an external processor says: the facts that Gatehouse's design stands on.

Rules:
- A scripted processor stands in Gatehouse's place (processor.py): a test that fails after an update of Envoy says that
  Envoy changed, and which rule of the engine is to be looked at.
- Where Gatehouse itself proves a fact by how it behaves, its test is elsewhere, and named in tests/requirements.py.

Not here: bodies and their lengths (test_facts_bodies.py), full duplex and trailers (test_facts_duplex.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ext_proc.events import BodyMode
from ext_proc.headers import HeaderMutation
from ext_proc.replies import BodyReply, Reply
from ext_proc.wire.pb import external_processor_pb2 as pb
from ext_proc.wire.pb.base_pb2 import HeaderValueOption
from tests.envoy.harness import Running, wait_for
from tests.envoy.keepalive import bare
from tests.envoy.processor import (
    BODY,
    BUFFERED,
    DONE,
    DUPLEX,
    PARTIAL,
    REQ,
    RESP,
    STREAMED,
    Failing,
    Processor,
    Received,
    Rule,
    ask,
    echoed,
    following,
    go_on,
    modes,
)
from tests.envoy.raw import JSON_LINES, chunked, head, in_chunks, raw_client, sized
from tests.envoy.upstream import Connection, Request, keeping

# -- how an RPC ends ---------------------------------------------------------------------------------------------------


def test_an_rpc_that_ends_with_ok_lets_the_rest_through_unread_although_failures_are_not_allowed(
    envoy: Running, processor: Processor
) -> None:
    def script(received: Received) -> Iterator[Reply]:
        next(received)
        yield go_on(REQ, override=modes(BUFFERED, BUFFERED))

    processor.answer_with(script)
    assert ask(envoy).body == DONE
    assert envoy.upstream.requests[0].body == BODY
    assert processor.kinds() == ["request_headers"]


@pytest.mark.parametrize("at", ["request_headers", "request_body", "response_headers", "response_body"])
def test_an_rpc_that_ends_with_an_error_before_the_answers_headers_left_gives_500(
    envoy: Running, processor: Processor, at: str
) -> None:
    def fail(message: object) -> Iterator[Reply]:
        raise Failing

    rules: dict[str, Rule] = {"request_headers": [go_on(REQ, override=modes(BUFFERED, BUFFERED))], at: fail}
    processor.answer_with(following(**rules))
    answer = ask(envoy)
    assert (answer.status, DONE in answer.body) == (500, False)
    assert len(envoy.upstream.requests) == at.startswith("response")


def test_without_response_bodies_envoy_ends_the_rpc_itself_after_the_answers_headers(
    envoy: Running, processor: Processor
) -> None:
    ended = threading.Event()

    def script(received: Received) -> Iterator[Reply | bytes]:
        try:
            yield from following()(received)
        finally:
            ended.set()

    async def answer(request: Request, connection: Connection) -> None:
        await connection.head(200, JSON_LINES[0], ("content-length", "2"))
        await connection.gate("the RPC is over")
        await connection.send(b"{}")

    processor.answer_with(script)
    envoy.upstream.answer_with(answer, ["the RPC is over"])
    with raw_client(envoy) as client:
        client.send(sized("/mcp", BODY))
        assert ended.wait(10)
        envoy.upstream.open("the RPC is over")
        assert client.answer().body == b"{}"


# -- header changes ----------------------------------------------------------------------------------------------------

TO_MODEL_B = HeaderMutation(set=(("x-changed", b"1"), ("x-gatehouse-upstream", b"model-b")))
LARGE = b"x" * 6_000_000  # more than Envoy's buffer and those of the connection hold


@pytest.mark.parametrize(
    ("mode", "parts", "changes", "routes"),
    [
        (BUFFERED, [b"in ", b"pieces"], True, True),
        (STREAMED, [b"at once"], True, True),
        (STREAMED, [b"in ", b"pieces"], False, False),
        (PARTIAL, [b"at once"], True, True),
        (PARTIAL, [LARGE], True, None),
    ],
    ids=["buffered", "streamed, at once", "streamed, in pieces", "partial, at once", "partial, in pieces"],
)
def test_header_changes_in_a_body_reply_count_in_buffered_and_else_only_where_the_body_came_at_once(
    envoy: Running, processor: Processor, mode: BodyMode, parts: list[bytes], changes: bool, routes: bool | None
) -> None:
    """Envoy says nothing of those that it drops. `routes` is None where it is chance whether the route follows."""
    changed = BodyReply(REQ, mutation=TO_MODEL_B, clear_route_cache=True)
    processor.answer_with(following(request_headers=[go_on(REQ, override=modes(mode))], request_body=[changed]))
    path = f"/v1/{mode.name}/{len(parts)}/{len(parts[0])}"
    with raw_client(envoy) as client:
        client.send(head(path, *JSON_LINES, ("content-length", str(sum(map(len, parts))))) + parts[0])
        if parts[1:] and mode is STREAMED:
            wait_for(lambda: "request_body" in processor.kinds() or None, "the first piece")
        client.send(b"".join(parts[1:]))
        client.answer()
    (got,) = envoy.upstream.requests
    assert (got.header("x-changed") == "1") is changes
    assert routes is None or route_of(envoy, path) == ("model-b" if routes else "model-a")


def route_of(envoy: Running, path: str) -> str:
    """The route that Envoy's access log names for the one request with this path."""
    (line,) = envoy.access_log(1, path)
    return str(line["route"])


ACTIONS = list(HeaderValueOption.HeaderAppendAction.items())


@pytest.mark.parametrize("action", [number for _, number in ACTIONS], ids=[name for name, _ in ACTIONS])
def test_every_append_action_overwrites(envoy: Running, processor: Processor, action: int) -> None:
    message = pb.ProcessingResponse()
    for name in ("x-there", "x-new"):
        option = message.request_headers.response.header_mutation.set_headers.add()
        option.header.key, option.header.raw_value = name, b"ours"
        option.append_action = action  # type: ignore[assignment]  # an enum's number
    processor.answer_with(following(request_headers=[message.SerializeToString()]))
    ask(envoy, sized("/mcp", BODY, *JSON_LINES, ("x-there", "theirs"), ("x-there", "again")))
    got = envoy.upstream.requests[0]
    assert [value for name, value in got.headers if name == "x-there"] == ["ours"]
    assert got.header("x-new") == "ours"


def test_only_the_deprecated_append_appends(envoy: Running, processor: Processor) -> None:
    def append(mutation: pb.HeaderMutation) -> None:
        option = mutation.set_headers.add()
        option.header.key, option.header.raw_value = "x-there", b"ours"
        option.append.value = True

    message = pb.ProcessingResponse()
    append(message.request_headers.response.header_mutation)
    processor.answer_with(following(request_headers=[message.SerializeToString()]))
    ask(envoy, sized("/mcp", BODY, *JSON_LINES, ("x-there", "theirs")))
    assert [value for name, value in envoy.upstream.requests[0].headers if name == "x-there"] == ["theirs", "ours"]


@pytest.mark.parametrize("part", ["request_headers", "response_headers", "immediate_response"])
def test_a_value_that_is_not_raw_arrives_empty(envoy: Running, processor: Processor, part: str) -> None:
    message = pb.ProcessingResponse()
    if part == "immediate_response":
        message.immediate_response.status.code = 403
        mutation = message.immediate_response.headers
    else:
        mutation = getattr(message, part).response.header_mutation
    option = mutation.set_headers.add()
    option.header.key, option.header.value = "x-new", "ours"
    rule = [message.SerializeToString()]
    processor.answer_with(following(**{"request_headers" if part == "immediate_response" else part: rule}))
    answer = ask(envoy)
    found = envoy.upstream.requests[0] if part == "request_headers" else answer
    assert found.header("x-new") == ""


# -- overrides of modes ------------------------------------------------------------------------------------------------

REQUESTS = {
    "sized": sized("/mcp", BODY),
    "chunked": chunked("/mcp", [BODY[:5], BODY[5:]]),
    "chunks that hold nothing": chunked("/mcp", []),
    "GET": head("/mcp", method="GET"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("mode", [STREAMED, BUFFERED, DUPLEX])
def test_from_none_a_headers_reply_may_override_the_requests_body_mode(
    envoy: Running, processor: Processor, mode: BodyMode, request_: bytes
) -> None:
    body = echoed if mode is DUPLEX else [BodyReply(REQ)]
    processor.answer_with(following(request_headers=[go_on(REQ, override=modes(mode))], request_body=body))
    assert ask(envoy, request_).body == DONE
    given = b"".join(message.request_body.body for message in processor.seen)
    expected = BODY if BODY[5:] in request_ else b""
    assert (given, envoy.upstream.requests[0].body) == (expected, expected)
    has_body = not request_.startswith(b"GET")
    assert ("request_body" in processor.kinds()) is has_body


@pytest.mark.parametrize("at", ["request_headers", "response_headers"])
@pytest.mark.parametrize("in_chunks_", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("mode", [STREAMED, BUFFERED, DUPLEX])
def test_from_none_a_headers_reply_may_override_the_answers_body_mode(
    envoy: Running, processor: Processor, mode: BodyMode, request_: bytes, in_chunks_: bool, at: str
) -> None:
    if in_chunks_:
        lines = (JSON_LINES[0], ("transfer-encoding", "chunked"))
        envoy.upstream.answer_with(keeping(bare(200, *lines, body=in_chunks([DONE[:4], DONE[4:]]))))
    override = modes(response=mode)
    direction = REQ if at == "request_headers" else RESP
    body = echoed if mode is DUPLEX else [BodyReply(RESP)]
    processor.answer_with(following(**{at: [go_on(direction, override=override)], "response_body": body}))
    assert ask(envoy, request_).body == DONE
    assert b"".join(message.response_body.body for message in processor.seen) == DONE
