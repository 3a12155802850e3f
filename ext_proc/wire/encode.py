"""A Reply to ProcessingResponse bytes.

Rules:
- Header lines are written as `raw_value` with OVERWRITE_IF_EXISTS_OR_ADD; `value` cannot hold every byte.
- A reply that changes nothing is made once, when this module is loaded.
- Serialised messages put end to end are one message with the fields of both. So the answer, the metadata and the mode
  override of a reply are made apart, and what repeats is made once.

Not here: ending the RPC (`Abort` and `Finish` are the transport's), whether the reply is due (engine/exchange.py).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from ext_proc.events import Direction
from ext_proc.headers import HeaderMutation
from ext_proc.replies import (
    BodyReply,
    HeadersReply,
    ImmediateReply,
    Metadata,
    Modes,
    ModesReply,
    Reply,
    StreamedBody,
    TrailersReply,
)
from ext_proc.wire.pb import external_processor_pb2 as pb
from ext_proc.wire.pb.base_pb2 import HeaderValueOption
from ext_proc.wire.pb.processing_mode_pb2 import ProcessingMode

# A protobuf parser takes messages nested 100 deep, and an object in a Struct is three: itself, its entry, the value.
MAX_METADATA_DEPTH = 30
# Up to here every whole number has a double of its own.
_EXACT = 2**53


def encode(reply: Reply) -> bytes:
    """One serialised ProcessingResponse.

    Source: envoy.service.ext_proc.v3.ProcessingResponse.

    Raises:
        TypeError: an `Abort` or a `Finish`, which end the RPC and are no message; or metadata that is not JSON.
        ValueError: metadata nested deeper than MAX_METADATA_DEPTH below its namespaces.
    """
    match reply:
        case BodyReply():
            return _body(reply) + _metadata(reply.metadata)
        case StreamedBody():
            return _streamed_body(reply) + _metadata(reply.metadata)
        case HeadersReply():
            modes = b"" if reply.modes is None else _modes(reply.modes)
            return _headers(reply) + modes + _metadata(reply.metadata)
        case TrailersReply():
            return _trailers(reply) + _metadata(reply.metadata)
        case ModesReply():
            return _modes(reply.modes)
        case ImmediateReply():
            return _immediate(reply) + _metadata(reply.metadata)
    raise TypeError(f"{type(reply).__name__} ends the RPC and is no message")


# A reply that changes nothing still names its part of the exchange, with an empty message.
_REQUEST_HEADERS = pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString()
_RESPONSE_HEADERS = pb.ProcessingResponse(response_headers=pb.HeadersResponse()).SerializeToString()
_REQUEST_BODY = pb.ProcessingResponse(request_body=pb.BodyResponse()).SerializeToString()
_RESPONSE_BODY = pb.ProcessingResponse(response_body=pb.BodyResponse()).SerializeToString()
_REQUEST_TRAILERS = pb.ProcessingResponse(request_trailers=pb.TrailersResponse()).SerializeToString()
_RESPONSE_TRAILERS = pb.ProcessingResponse(response_trailers=pb.TrailersResponse()).SerializeToString()


def _headers(reply: HeadersReply) -> bytes:
    to_upstream = reply.direction is Direction.REQUEST
    if not (reply.mutation or reply.clear_route_cache):
        return _REQUEST_HEADERS if to_upstream else _RESPONSE_HEADERS
    message = pb.ProcessingResponse()
    common = (message.request_headers if to_upstream else message.response_headers).response
    _change(common, reply.mutation, reply.clear_route_cache)
    return message.SerializeToString()


def _body(reply: BodyReply) -> bytes:
    to_upstream = reply.direction is Direction.REQUEST
    if reply.body is None and not (reply.mutation or reply.clear_route_cache):
        return _REQUEST_BODY if to_upstream else _RESPONSE_BODY
    message = pb.ProcessingResponse()
    common = (message.request_body if to_upstream else message.response_body).response
    _change(common, reply.mutation, reply.clear_route_cache)
    if reply.body:
        common.body_mutation.body = reply.body
    elif reply.body is not None:
        common.body_mutation.clear_body = True
    return message.SerializeToString()


def _streamed_body(reply: StreamedBody) -> bytes:
    message = pb.ProcessingResponse()
    part = message.request_body if reply.direction is Direction.REQUEST else message.response_body
    streamed = part.response.body_mutation.streamed_response
    streamed.body = reply.data
    streamed.end_of_stream = reply.end_of_stream
    return message.SerializeToString()


def _trailers(reply: TrailersReply) -> bytes:
    to_upstream = reply.direction is Direction.REQUEST
    if not reply.mutation:
        return _REQUEST_TRAILERS if to_upstream else _RESPONSE_TRAILERS
    message = pb.ProcessingResponse()
    _mutate((message.request_trailers if to_upstream else message.response_trailers).header_mutation, reply.mutation)
    return message.SerializeToString()


def _immediate(reply: ImmediateReply) -> bytes:
    message = pb.ProcessingResponse()
    immediate = message.immediate_response
    immediate.status.code = reply.status
    immediate.body = reply.body
    immediate.details = _text(reply.details)
    _mutate(immediate.headers, HeaderMutation(set=reply.headers))
    return message.SerializeToString()


def _change(common: pb.CommonResponse, mutation: HeaderMutation, clear_route_cache: bool) -> None:
    common.clear_route_cache = clear_route_cache
    if mutation:
        _mutate(common.header_mutation, mutation)


def _mutate(target: pb.HeaderMutation, mutation: HeaderMutation) -> None:
    options = target.set_headers
    for name, value in mutation.set:
        option = options.add()
        option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        header = option.header
        header.key = name
        header.raw_value = value
    target.remove_headers.extend(mutation.remove)


# Five body modes twice and three flags: there are 200 values of Modes.
@functools.lru_cache(maxsize=200)
def _modes(modes: Modes) -> bytes:
    def mode(send: bool) -> ProcessingMode.HeaderSendMode:
        return ProcessingMode.SEND if send else ProcessingMode.SKIP

    # request_header_mode stays DEFAULT: an override of it has no meaning, and Envoy passes over it.
    override = ProcessingMode(
        response_header_mode=mode(modes.response_headers),
        request_body_mode=ProcessingMode.BodySendMode.Name(modes.request_body.value),
        response_body_mode=ProcessingMode.BodySendMode.Name(modes.response_body.value),
        request_trailer_mode=mode(modes.request_trailers),
        response_trailer_mode=mode(modes.response_trailers),
    )
    return pb.ProcessingResponse(mode_override=override).SerializeToString()


def _metadata(metadata: Metadata) -> bytes:
    if not metadata:
        return b""
    message = pb.ProcessingResponse()
    for namespace, entries in metadata.items():
        _fill_object(message.dynamic_metadata.fields[_text(namespace)].struct_value, entries, MAX_METADATA_DEPTH)
    return message.SerializeToString()


def _fill_object(struct: Struct, entries: Mapping[Any, Any], depth: int) -> None:
    struct.SetInParent()  # an empty object would otherwise arrive as no value at all
    for key, value in entries.items():
        _fill(struct.fields[_text(key)], value, depth)


def _fill(target: Value, value: Any, depth: int) -> None:
    """Sets `target` to `value`, which may be nested `depth` levels deep."""
    match value:
        case None:
            target.null_value = NULL_VALUE
        case bool():
            target.bool_value = value
        case str():
            target.string_value = _text(value)
        case int() if abs(value) > _EXACT:
            # A Struct has doubles only; as JSON does for a 64-bit integer, text keeps every digit.
            target.string_value = str(value)
        case int() | float():
            target.number_value = value
        case Mapping() | list() | tuple() if depth == 0:
            raise ValueError(f"metadata is nested deeper than {MAX_METADATA_DEPTH} levels")
        case Mapping():
            _fill_object(target.struct_value, value, depth - 1)
        case list() | tuple():
            target.list_value.SetInParent()
            for item in value:
                _fill(target.list_value.values.add(), item, depth - 1)
        case _:
            raise TypeError(f"metadata holds a {type(value).__name__}")


def _text(text: object) -> str:
    """`text` with "?" for each lone surrogate: a header's undecodable byte arrives as one, and protobuf takes none."""
    if not isinstance(text, str):
        raise TypeError(f"metadata holds a key of type {type(text).__name__}")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
