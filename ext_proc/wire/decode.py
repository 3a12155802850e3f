"""ProcessingRequest bytes to an Event.

Rules:
- Whatever the bytes, the result is an event or a ProtocolError: nothing else leaves here.
- `raw_value` counts; `value`, which older Envoys send, is read only where `raw_value` is empty.
- Names are lower-cased here once; no one above lower-cases again.
- What an event has no place for (fields of a newer Envoy, typed metadata) is passed over.

Not here: whether the event is due (engine/exchange.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from ext_proc.errors import ProtocolError
from ext_proc.events import (
    NO_FACTS,
    BodyMode,
    BodyReceived,
    Direction,
    EnvoyFacts,
    Event,
    HeadersReceived,
    TrailersReceived,
)
from ext_proc.headers import Headers
from ext_proc.wire.pb.base_pb2 import HeaderMap
from ext_proc.wire.pb.external_processor_pb2 import HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest

# Up to here every whole number has a double of its own.
_EXACT = 2.0**53


def decode(data: bytes) -> Event:
    """The event that one serialised ProcessingRequest is: HeadersReceived, BodyReceived or TrailersReceived.

    Source: envoy.service.ext_proc.v3.ProcessingRequest.

    Raises:
        ProtocolError: the bytes are no ProcessingRequest, it holds no part of an HTTP message, a header name is not
            ASCII, an attribute is given twice, or a body mode is one we do not know.
    """
    try:
        request = ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError("the bytes received are no ProcessingRequest") from error
    match request.WhichOneof("request"):
        case "request_body":
            return _body(Direction.REQUEST, request.request_body)
        case "response_body":
            return _body(Direction.RESPONSE, request.response_body)
        case "request_headers":
            return _headers(Direction.REQUEST, request.request_headers, request)
        case "response_headers":
            return _headers(Direction.RESPONSE, request.response_headers, request)
        case "request_trailers":
            return _trailers(Direction.REQUEST, request.request_trailers)
        case "response_trailers":
            return _trailers(Direction.RESPONSE, request.response_trailers)
    raise ProtocolError("a ProcessingRequest without headers, body or trailers")


def _headers(direction: Direction, message: HttpHeaders, request: ProcessingRequest) -> HeadersReceived:
    return HeadersReceived(direction, _lines(message.headers), message.end_of_stream, _facts(request))


def _body(direction: Direction, message: HttpBody) -> BodyReceived:
    return BodyReceived(direction, message.body, message.end_of_stream)


def _trailers(direction: Direction, message: HttpTrailers) -> TrailersReceived:
    return TrailersReceived(direction, _lines(message.trailers))


def _lines(header_map: HeaderMap) -> Headers:
    lines = []
    for line in header_map.headers:
        name = line.key
        # Beyond ASCII, lower-casing can make one name of two (U+212A KELVIN SIGN becomes "k"), and no field name is
        # (RFC 9110 section 5.1).
        if not name.isascii():
            raise ProtocolError("a header name that is not ASCII")
        lines.append((name.lower(), line.raw_value or line.value.encode()))
    return Headers(lines)


def _facts(request: ProcessingRequest) -> EnvoyFacts:
    has_metadata = request.HasField("metadata_context")
    has_protocol = request.HasField("protocol_config")
    attributes = request.attributes
    if not (has_metadata or has_protocol or attributes or request.observability_mode):
        return NO_FACTS
    protocol = request.protocol_config
    return EnvoyFacts(
        metadata=_by_namespace(request.metadata_context.filter_metadata) if has_metadata else {},
        attributes=_attributes(attributes) if attributes else {},
        request_body_mode=_body_mode(protocol.request_body_mode) if has_protocol else None,
        response_body_mode=_body_mode(protocol.response_body_mode) if has_protocol else None,
        observability_mode=request.observability_mode,
    )


def _body_mode(number: int) -> BodyMode:
    try:
        return BodyMode(number)
    except ValueError:
        raise ProtocolError(f"protocol_config: body mode {number} is not supported") from None


def _by_namespace(metadata: Mapping[str, Struct]) -> dict[str, dict[str, Any]]:
    return {namespace: _object(struct) for namespace, struct in metadata.items()}


def _attributes(by_filter: Mapping[str, Struct]) -> dict[str, Any]:
    """The attributes by name, without the level of the filter's name (`envoy.filters.http.ext_proc`)."""
    attributes: dict[str, Any] = {}
    for struct in by_filter.values():
        for name, value in struct.fields.items():
            # A map has no order on the wire: of two values for one name, chance would pick.
            if name in attributes:
                raise ProtocolError("an attribute that is given under two filter names")
            attributes[name] = _value(value)
    return attributes


def _object(struct: Struct) -> dict[str, Any]:
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: Value) -> Any:
    """A Struct's value as JSON would have it: a whole number is an int, since a Struct has doubles only.

    The depth is bounded: the parser refuses messages nested deeper than 100.
    """
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if abs(number) <= _EXACT and number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _object(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
    return None
