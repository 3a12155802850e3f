"""What we answer, read by an independent implementation, is what is meant."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.events import BodyMode, Direction
from ext_proc.headers import HeaderMutation
from ext_proc.replies import (
    Abort,
    BodyReply,
    Finish,
    HeadersReply,
    ImmediateReply,
    Modes,
    ModesReply,
    Reply,
    StreamedBody,
    TrailersReply,
)
from ext_proc.wire.encode import MAX_METADATA_DEPTH, encode
from ext_proc.wire.pb.external_processor_pb2 import ProcessingResponse

MUTATION = HeaderMutation(
    set=(("x-gatehouse-tool", b"search"), ("x-bytes", b"\xff\x00"), ("x-empty", b"")), remove=("content-length", "x-a")
)
METADATA = {"gatehouse": {"tool": "search"}, "empty": {}}
NAMES = st.text("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz:", min_size=1, max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)

both_directions = pytest.mark.parametrize("direction", Direction)


def parsed(envoy: SimpleNamespace, reply: Reply) -> Any:
    return envoy.ext_proc.ProcessingResponse.parse(encode(reply))


def mutation_of(envoy: SimpleNamespace, mutation: HeaderMutation) -> Any:
    overwrite = envoy.core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return envoy.ext_proc.HeaderMutation(
        set_headers=[
            envoy.core.HeaderValueOption(
                header=envoy.core.HeaderValue(key=name, raw_value=value), append_action=overwrite
            )
            for name, value in mutation.set
        ],
        remove_headers=list(mutation.remove),
    )


def response(envoy: SimpleNamespace, direction: Direction, part: str, answer: Any, **fields: Any) -> Any:
    return envoy.ext_proc.ProcessingResponse(**{f"{direction.value}_{part}": answer}, **fields)


def metadata_of(envoy: SimpleNamespace, metadata: dict[str, Any]) -> Any:
    return envoy.protobuf.Struct.from_dict(metadata)


@both_directions
def test_a_reply_that_changes_nothing_names_its_part_and_says_no_more(
    envoy: SimpleNamespace, direction: Direction
) -> None:
    api = envoy.ext_proc
    assert parsed(envoy, HeadersReply(direction)) == response(envoy, direction, "headers", api.HeadersResponse())
    assert parsed(envoy, BodyReply(direction)) == response(envoy, direction, "body", api.BodyResponse())
    assert parsed(envoy, TrailersReply(direction)) == response(envoy, direction, "trailers", api.TrailersResponse())


@both_directions
@pytest.mark.parametrize("clear_route_cache", [False, True])
@pytest.mark.parametrize(
    "mutation", [HeaderMutation(), MUTATION, HeaderMutation(set=MUTATION.set), HeaderMutation(remove=("x-a",))]
)
def test_header_changes_overwrite_by_raw_value_and_remove_by_name(
    envoy: SimpleNamespace, direction: Direction, mutation: HeaderMutation, clear_route_cache: bool
) -> None:
    changes: dict[str, Any] = {"header_mutation": mutation_of(envoy, mutation)} if mutation else {}
    common = envoy.ext_proc.CommonResponse(clear_route_cache=clear_route_cache, **changes)
    has_changes = bool(mutation) or clear_route_cache
    answer = envoy.ext_proc.HeadersResponse(response=common if has_changes else None)

    reply = HeadersReply(direction, mutation, clear_route_cache)
    assert parsed(envoy, reply) == response(envoy, direction, "headers", answer)


@both_directions
def test_trailers_change_like_headers(envoy: SimpleNamespace, direction: Direction) -> None:
    answer = envoy.ext_proc.TrailersResponse(header_mutation=mutation_of(envoy, MUTATION))
    assert parsed(envoy, TrailersReply(direction, MUTATION)) == response(envoy, direction, "trailers", answer)


@both_directions
@pytest.mark.parametrize("body", [b"x", b"\x00" * 100_000])
def test_a_body_is_replaced_with_its_header_changes(envoy: SimpleNamespace, direction: Direction, body: bytes) -> None:
    common = envoy.ext_proc.CommonResponse(
        header_mutation=mutation_of(envoy, MUTATION),
        body_mutation=envoy.ext_proc.BodyMutation(body=body),
        clear_route_cache=True,
    )
    answer = envoy.ext_proc.BodyResponse(response=common)
    assert parsed(envoy, BodyReply(direction, body, MUTATION, True)) == response(envoy, direction, "body", answer)


@both_directions
def test_an_empty_replacement_clears_the_body(envoy: SimpleNamespace, direction: Direction) -> None:
    mutation = envoy.ext_proc.BodyMutation(clear_body=True)
    answer = envoy.ext_proc.BodyResponse(response=envoy.ext_proc.CommonResponse(body_mutation=mutation))
    assert parsed(envoy, BodyReply(direction, b"")) == response(envoy, direction, "body", answer)


@both_directions
def test_a_body_reply_may_change_only_headers_or_only_the_route(envoy: SimpleNamespace, direction: Direction) -> None:
    common = envoy.ext_proc.CommonResponse(header_mutation=mutation_of(envoy, MUTATION))
    answer = envoy.ext_proc.BodyResponse(response=common)
    assert parsed(envoy, BodyReply(direction, mutation=MUTATION)) == response(envoy, direction, "body", answer)

    answer = envoy.ext_proc.BodyResponse(response=envoy.ext_proc.CommonResponse(clear_route_cache=True))
    assert parsed(envoy, BodyReply(direction, clear_route_cache=True)) == response(envoy, direction, "body", answer)


@both_directions
@pytest.mark.parametrize("end_of_stream", [False, True])
@pytest.mark.parametrize("data", [b"", b"chunk", b"\xff" * 65_536])
def test_a_chunk_in_full_duplex_is_a_streamed_response_even_when_empty(
    envoy: SimpleNamespace, direction: Direction, end_of_stream: bool, data: bytes
) -> None:
    streamed = envoy.ext_proc.StreamedBodyResponse(body=data, end_of_stream=end_of_stream)
    mutation = envoy.ext_proc.BodyMutation(streamed_response=streamed)
    answer = envoy.ext_proc.BodyResponse(response=envoy.ext_proc.CommonResponse(body_mutation=mutation))
    assert parsed(envoy, StreamedBody(direction, data, end_of_stream)) == response(envoy, direction, "body", answer)


def test_an_immediate_reply_carries_status_headers_body_and_details(envoy: SimpleNamespace) -> None:
    headers = (("content-type", b"application/json"), ("x-bytes", b"\xff"))
    immediate = envoy.ext_proc.ImmediateResponse(
        status=envoy.type.HttpStatus(code=envoy.type.StatusCode.TooManyRequests),
        headers=mutation_of(envoy, HeaderMutation(set=headers)),
        body=b'{"error":1}',
        details="gatehouse_quota",
    )
    reply = ImmediateReply(429, b'{"error":1}', headers, "gatehouse_quota")
    assert parsed(envoy, reply) == envoy.ext_proc.ProcessingResponse(immediate_response=immediate)


def test_an_immediate_reply_may_be_a_bare_status(envoy: SimpleNamespace) -> None:
    answer = parsed(envoy, ImmediateReply(204)).immediate_response
    assert int(answer.status.code) == 204
    assert (answer.body, answer.details, answer.headers.set_headers) == (b"", "", [])


def all_modes() -> list[Modes]:
    flags = (False, True)
    return [Modes(*values) for values in itertools.product(BodyMode, BodyMode, flags, flags, flags)]


def test_every_mode_override_says_what_is_meant_alone_and_with_headers(envoy: SimpleNamespace) -> None:
    send, skip = envoy.mode.ProcessingModeHeaderSendMode.SEND, envoy.mode.ProcessingModeHeaderSendMode.SKIP
    body = envoy.mode.ProcessingModeBodySendMode
    for modes in all_modes():
        override = envoy.mode.ProcessingMode(
            response_header_mode=send if modes.response_headers else skip,
            request_body_mode=body[modes.request_body.name],
            response_body_mode=body[modes.response_body.name],
            request_trailer_mode=send if modes.request_trailers else skip,
            response_trailer_mode=send if modes.response_trailers else skip,
        )
        assert parsed(envoy, ModesReply(modes)) == envoy.ext_proc.ProcessingResponse(mode_override=override)
        assert parsed(envoy, HeadersReply(Direction.REQUEST, modes=modes)) == response(
            envoy, Direction.REQUEST, "headers", envoy.ext_proc.HeadersResponse(), mode_override=override
        )


def test_an_override_stands_beside_header_changes_and_metadata(envoy: SimpleNamespace) -> None:
    modes = Modes(request_body=BodyMode.BUFFERED)
    message = parsed(envoy, HeadersReply(Direction.REQUEST, MUTATION, modes=modes, metadata=METADATA))
    assert message.request_headers.response.header_mutation == mutation_of(envoy, MUTATION)
    assert message.mode_override.request_body_mode.name == "BUFFERED"
    assert message.dynamic_metadata == metadata_of(envoy, METADATA)


@pytest.mark.parametrize(
    "reply",
    [
        HeadersReply(Direction.REQUEST, metadata=METADATA),
        HeadersReply(Direction.RESPONSE, MUTATION, metadata=METADATA),
        BodyReply(Direction.REQUEST, metadata=METADATA),
        BodyReply(Direction.RESPONSE, b"x", metadata=METADATA),
        StreamedBody(Direction.REQUEST, b"x", metadata=METADATA),
        TrailersReply(Direction.RESPONSE, metadata=METADATA),
        ImmediateReply(403, metadata=METADATA),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_metadata_goes_beside_the_answer_that_is_the_same_without_it(envoy: SimpleNamespace, reply: Any) -> None:
    expected = parsed(envoy, dataclasses.replace(reply, metadata={}))
    assert expected.dynamic_metadata is None
    expected.dynamic_metadata = metadata_of(envoy, METADATA)
    assert parsed(envoy, reply) == expected


@given(entries=st.dictionaries(st.text(max_size=10), JSON, max_size=4))
def test_metadata_is_the_json_that_was_given(envoy: SimpleNamespace, entries: dict[str, Any]) -> None:
    message = parsed(envoy, HeadersReply(Direction.REQUEST, metadata={"gatehouse": entries}))
    assert message.dynamic_metadata == metadata_of(envoy, {"gatehouse": entries})


def test_a_tuple_is_a_list(envoy: SimpleNamespace) -> None:
    message = parsed(envoy, BodyReply(Direction.REQUEST, metadata={"a": {"b": (1, ())}}))
    assert message.dynamic_metadata == metadata_of(envoy, {"a": {"b": [1, []]}})


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**400])
def test_an_int_no_double_can_hold_keeps_its_digits_as_text(envoy: SimpleNamespace, number: int) -> None:
    message = parsed(envoy, BodyReply(Direction.REQUEST, metadata={"a": {"n": number}}))
    assert message.dynamic_metadata == metadata_of(envoy, {"a": {"n": str(number)}})


def test_a_lone_surrogate_becomes_a_question_mark(envoy: SimpleNamespace) -> None:
    undecodable = b"\xff".decode("utf-8", "surrogateescape")
    message = parsed(
        envoy, ImmediateReply(400, details=undecodable, metadata={undecodable: {undecodable: undecodable}})
    )
    assert message.immediate_response.details == "?"
    assert message.dynamic_metadata == metadata_of(envoy, {"?": {"?": "?"}})


@pytest.mark.parametrize("value", [b"bytes", object(), {1: "a key that is no text"}, {"a", "set"}, [b""]])
def test_metadata_that_is_no_json_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="metadata holds a"):
        encode(BodyReply(Direction.REQUEST, metadata={"gatehouse": {"x": value}}))


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]], ids=["objects", "lists"])
def test_metadata_is_as_deep_as_a_parser_takes_and_no_deeper(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_METADATA_DEPTH):
        value = wrap(value)
    ProcessingResponse.FromString(encode(BodyReply(Direction.REQUEST, metadata={"gatehouse": {"x": value}})))

    with pytest.raises(ValueError, match="nested deeper"):
        encode(BodyReply(Direction.REQUEST, metadata={"gatehouse": {"x": wrap(value)}}))


@given(lines=st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=6), body=st.binary(max_size=300))
def test_any_line_and_any_body_leave_as_given(
    envoy: SimpleNamespace, lines: list[tuple[str, bytes]], body: bytes
) -> None:
    mutation = HeaderMutation(set=tuple(lines), remove=tuple(name for name, _ in lines))
    message = parsed(envoy, BodyReply(Direction.RESPONSE, body, mutation))
    common = message.response_body.response
    assert (common.header_mutation or envoy.ext_proc.HeaderMutation()) == mutation_of(envoy, mutation)
    assert (common.body_mutation.body or b"") == body
    assert common.body_mutation.clear_body is (None if body else True)


@pytest.mark.parametrize("reply", [Abort("reason"), Finish()])
def test_what_ends_the_rpc_is_no_message(reply: Reply) -> None:
    with pytest.raises(TypeError, match="ends the RPC"):
        encode(reply)


def test_the_bytes_of_an_unchanged_reply_are_made_once() -> None:
    assert encode(BodyReply(Direction.REQUEST)) is encode(BodyReply(Direction.REQUEST))
