"""What Envoy says, serialised by an independent implementation, becomes the event it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_proc.errors import ProtocolError
from ext_proc.events import (
    NO_FACTS,
    BodyMode,
    BodyReceived,
    Direction,
    EnvoyFacts,
    HeadersReceived,
    TrailersReceived,
)
from ext_proc.headers import Headers
from ext_proc.wire.decode import decode

FILTER = "envoy.filters.http.ext_proc"
LINES = [(":path", b"/mcp"), ("x-twice", b"a"), ("x-twice", b"b"), ("x-bytes", b"\xff\x00"), ("x-empty", b"")]
NAMES = st.text("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz:", min_size=1, max_size=30)
VALUES = st.binary(max_size=60)

both_directions = pytest.mark.parametrize("direction", Direction)


def header_map(envoy: SimpleNamespace, lines: list[tuple[str, bytes]]) -> Any:
    return envoy.core.HeaderMap(headers=[envoy.core.HeaderValue(key=key, raw_value=value) for key, value in lines])


def headers_request(envoy: SimpleNamespace, **fields: Any) -> bytes:
    return bytes(envoy.ext_proc.ProcessingRequest(request_headers=envoy.ext_proc.HttpHeaders(), **fields))


def facts_of(data: bytes) -> EnvoyFacts:
    event = decode(data)
    assert isinstance(event, HeadersReceived)
    return event.facts


@both_directions
@pytest.mark.parametrize("end_of_stream", [False, True])
def test_headers_keep_their_order_repetitions_and_bytes(
    envoy: SimpleNamespace, direction: Direction, end_of_stream: bool
) -> None:
    part = envoy.ext_proc.HttpHeaders(headers=header_map(envoy, LINES), end_of_stream=end_of_stream)
    data = bytes(envoy.ext_proc.ProcessingRequest(**{f"{direction.value}_headers": part}))
    assert decode(data) == HeadersReceived(direction, Headers(LINES), end_of_stream)


@both_directions
@pytest.mark.parametrize("end_of_stream", [False, True])
@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 100_000])
def test_a_body_keeps_its_bytes(envoy: SimpleNamespace, direction: Direction, end_of_stream: bool, body: bytes) -> None:
    part = envoy.ext_proc.HttpBody(body=body, end_of_stream=end_of_stream)
    data = bytes(envoy.ext_proc.ProcessingRequest(**{f"{direction.value}_body": part}))
    assert decode(data) == BodyReceived(direction, body, end_of_stream)


@both_directions
def test_trailers_are_trailers(envoy: SimpleNamespace, direction: Direction) -> None:
    part = envoy.ext_proc.HttpTrailers(trailers=header_map(envoy, LINES[1:]))
    data = bytes(envoy.ext_proc.ProcessingRequest(**{f"{direction.value}_trailers": part}))
    assert decode(data) == TrailersReceived(direction, Headers(LINES[1:]))


@given(lines=st.lists(st.tuples(NAMES, VALUES), max_size=8), body=st.binary(max_size=300))
def test_any_line_and_any_body_arrive_as_sent(
    envoy: SimpleNamespace, lines: list[tuple[str, bytes]], body: bytes
) -> None:
    headers = envoy.ext_proc.HttpHeaders(headers=header_map(envoy, lines))
    data = bytes(envoy.ext_proc.ProcessingRequest(response_headers=headers))
    assert decode(data) == HeadersReceived(Direction.RESPONSE, Headers(lines))

    chunk = envoy.ext_proc.HttpBody(body=body)
    assert decode(bytes(envoy.ext_proc.ProcessingRequest(request_body=chunk))) == BodyReceived(Direction.REQUEST, body)


def test_value_is_read_only_where_raw_value_is_empty(envoy: SimpleNamespace) -> None:
    value = envoy.core.HeaderValue
    lines = envoy.core.HeaderMap(
        headers=[value(key="x-old", value="grün"), value(key="x-both", value="text", raw_value=b"raw")]
    )
    data = bytes(envoy.ext_proc.ProcessingRequest(request_headers=envoy.ext_proc.HttpHeaders(headers=lines)))
    event = decode(data)
    assert isinstance(event, HeadersReceived)
    assert event.headers.lines == (("x-old", "grün".encode()), ("x-both", b"raw"))


def test_names_are_lower_case_from_here_on(envoy: SimpleNamespace) -> None:
    part = envoy.ext_proc.HttpTrailers(trailers=header_map(envoy, [("X-Gatehouse-Tool", b"Kept")]))
    event = decode(bytes(envoy.ext_proc.ProcessingRequest(request_trailers=part)))
    assert event == TrailersReceived(Direction.REQUEST, Headers([("x-gatehouse-tool", b"Kept")]))


@pytest.mark.parametrize("name", ["x-to\N{KELVIN SIGN}en", "grün"])
def test_a_name_beyond_ascii_is_refused_for_lower_casing_could_forge_another(envoy: SimpleNamespace, name: str) -> None:
    part = envoy.ext_proc.HttpHeaders(headers=header_map(envoy, [(name, b"secret")]))
    with pytest.raises(ProtocolError) as raised:
        decode(bytes(envoy.ext_proc.ProcessingRequest(request_headers=part)))
    assert name not in str(raised.value)


def test_headers_without_a_word_from_envoy_share_one_empty_facts(envoy: SimpleNamespace) -> None:
    assert facts_of(headers_request(envoy)) is NO_FACTS


def test_metadata_becomes_plain_values_by_namespace(envoy: SimpleNamespace) -> None:
    claims = {
        "sub": "alice",
        "exp": 1_700_000_000,
        "ratio": 0.5,
        "huge": 1e300,
        "admin": False,
        "none": None,
        "empty": {},
        "groups": ["a", ["b", {}], []],
        "act": {"sub": "agent", "depth": {"n": -3}},
    }
    metadata = envoy.core.Metadata(
        filter_metadata={
            "envoy.filters.http.jwt_authn": envoy.protobuf.Struct.from_dict({"payload": claims}),
            "other": envoy.protobuf.Struct(),
        }
    )
    facts = facts_of(headers_request(envoy, metadata_context=metadata))
    assert facts == EnvoyFacts(metadata={"envoy.filters.http.jwt_authn": {"payload": claims}, "other": {}})


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3.0, 3), (-0.0, 0), (2.5, 2.5), (2.0**53, 2**53), (2.0**60, 2.0**60), (float("inf"), float("inf"))],
)
def test_a_whole_number_is_an_int_as_far_as_a_double_is_exact(
    envoy: SimpleNamespace, number: float, expected: int | float
) -> None:
    struct = envoy.protobuf.Struct(fields={"n": envoy.protobuf.Value(number_value=number)})
    found = facts_of(headers_request(envoy, attributes={FILTER: struct})).attributes["n"]
    assert found == expected
    assert type(found) is type(expected)


def test_a_value_of_no_kind_is_none(envoy: SimpleNamespace) -> None:
    struct = envoy.protobuf.Struct(fields={"n": envoy.protobuf.Value()})
    assert facts_of(headers_request(envoy, attributes={FILTER: struct})) == EnvoyFacts(attributes={"n": None})


def test_attributes_lose_the_level_of_the_filters_name(envoy: SimpleNamespace) -> None:
    attributes = {"xds.route_name": "tools", "connection.mtls": True, "request.size": 12}
    sent = {FILTER: envoy.protobuf.Struct.from_dict(attributes)}
    assert facts_of(headers_request(envoy, attributes=sent)) == EnvoyFacts(attributes=attributes)


def test_attributes_of_two_filters_stand_side_by_side(envoy: SimpleNamespace) -> None:
    sent = {name: envoy.protobuf.Struct.from_dict({name: 1}) for name in ("a", "b")}
    assert facts_of(headers_request(envoy, attributes=sent)).attributes == {"a": 1, "b": 1}


def test_an_attribute_with_two_values_is_refused(envoy: SimpleNamespace) -> None:
    sent = {name: envoy.protobuf.Struct.from_dict({"xds.route_name": name}) for name in ("a", "b")}
    with pytest.raises(ProtocolError):
        decode(headers_request(envoy, attributes=sent))


@pytest.mark.parametrize("request_mode", BodyMode)
@pytest.mark.parametrize("response_mode", BodyMode)
def test_the_filters_body_modes_are_told(
    envoy: SimpleNamespace, request_mode: BodyMode, response_mode: BodyMode
) -> None:
    modes = envoy.mode.ProcessingModeBodySendMode
    config = envoy.ext_proc.ProtocolConfiguration(
        request_body_mode=modes[request_mode.name],
        response_body_mode=modes[response_mode.name],
        send_body_without_waiting_for_header_response=True,
    )
    facts = facts_of(headers_request(envoy, protocol_config=config))
    assert facts == EnvoyFacts(request_body_mode=request_mode, response_body_mode=response_mode)


@pytest.mark.parametrize("field", ["request_body_mode", "response_body_mode"])
def test_a_body_mode_we_cannot_serve_is_refused(envoy: SimpleNamespace, field: str) -> None:
    config = envoy.ext_proc.ProtocolConfiguration(**{field: envoy.mode.ProcessingModeBodySendMode.GRPC})
    with pytest.raises(ProtocolError, match="body mode 5"):
        decode(headers_request(envoy, protocol_config=config))


def test_observability_mode_is_told(envoy: SimpleNamespace) -> None:
    assert facts_of(headers_request(envoy, observability_mode=True)) == EnvoyFacts(observability_mode=True)


def test_facts_travel_with_response_headers_too(envoy: SimpleNamespace) -> None:
    data = bytes(
        envoy.ext_proc.ProcessingRequest(
            response_headers=envoy.ext_proc.HttpHeaders(),
            attributes={FILTER: envoy.protobuf.Struct.from_dict({"response.code": 200})},
        )
    )
    facts = EnvoyFacts(attributes={"response.code": 200})
    assert decode(data) == HeadersReceived(Direction.RESPONSE, Headers(), facts=facts)


def test_what_is_left_out_of_our_protos_is_passed_over(envoy: SimpleNamespace) -> None:
    typed = envoy.core.Metadata(typed_filter_metadata={"a": envoy.protobuf.Any(type_url="t", value=b"v")})
    assert facts_of(headers_request(envoy, metadata_context=typed)) == EnvoyFacts()


def test_a_field_of_a_newer_envoy_is_passed_over(envoy: SimpleNamespace) -> None:
    newer = bytes.fromhex("c23e03") + b"new"  # field 1000, three bytes
    body = bytes(envoy.ext_proc.HttpBody(body=b"x")) + newer
    request = b"\x22" + bytes([len(body)]) + body + newer  # field 4, request_body
    assert decode(request) == BodyReceived(Direction.REQUEST, b"x")


def test_a_request_with_no_part_of_a_message_is_refused(envoy: SimpleNamespace) -> None:
    for request in (envoy.ext_proc.ProcessingRequest(), envoy.ext_proc.ProcessingRequest(observability_mode=True)):
        with pytest.raises(ProtocolError, match="without headers, body or trailers"):
            decode(bytes(request))


@given(data=st.binary(max_size=200))
@example(data=b"\xff")
@example(data=b"\x12\x05\x0a\x03\x0a\x01\xff")
@example(data=bytes.fromhex("12 09 0a 07 0a 05 0a 03 ff fe fd"))  # request_headers with a name that is not UTF-8
def test_garbage_is_an_event_or_a_protocol_error_and_nothing_else(data: bytes) -> None:
    try:
        event = decode(data)
    except ProtocolError:
        return
    assert isinstance(event, HeadersReceived | BodyReceived | TrailersReceived)


def test_a_request_cut_at_any_byte_is_refused(envoy: SimpleNamespace) -> None:
    part = envoy.ext_proc.HttpHeaders(headers=header_map(envoy, LINES), end_of_stream=True)
    data = bytes(envoy.ext_proc.ProcessingRequest(request_headers=part))
    for cut in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(data[:cut])


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no ProcessingRequest"):
        decode(bytes.fromhex("12 09 0a 07 0a 05 0a 03 ff fe fd"))


def test_metadata_nested_without_bound_is_refused(envoy: SimpleNamespace) -> None:
    deep: Any = envoy.protobuf.Struct()
    for _ in range(60):
        deep = envoy.protobuf.Struct(fields={"a": envoy.protobuf.Value(struct_value=deep)})
    with pytest.raises(ProtocolError):
        decode(headers_request(envoy, attributes={FILTER: deep}))
