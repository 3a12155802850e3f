"""The laws of wire/: Envoy's messages in, ours out.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code.
- Any bytes are an event or a ProtocolError.
- What was decoded arrives whole when it is sent back: lines, bodies, and metadata, which is decoded once more.

Not here: what an event leads to (event_laws.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ext_proc.errors import ProtocolError
from ext_proc.events import BodyReceived, Direction, HeadersReceived, TrailersReceived
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.replies import BodyReply, HeadersReply, ImmediateReply, StreamedBody, TrailersReply
from ext_proc.wire.decode import decode
from ext_proc.wire.encode import MAX_METADATA_DEPTH, encode
from ext_proc.wire.pb.external_processor_pb2 import HeaderMutation as Lines
from ext_proc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse


def wire(data: bytes) -> None:
    """An event or a ProtocolError; names of headers in lower case; decoded and encoded, nothing is lost."""
    try:
        event = decode(data)
    except ProtocolError:
        return
    match event:
        case HeadersReceived():
            _lines(event.direction, event.headers)
            _metadata(event.facts.metadata)
        case TrailersReceived():
            _lines(event.direction, event.trailers)
        case BodyReceived():
            _body(event)


def _lines(direction: Direction, lines: Headers) -> None:
    assert all(name == name.lower() and name.isascii() for name, _ in lines), "a name not in lower case"
    mutation = HeaderMutation(set=lines.lines, remove=tuple(name for name, _ in lines))
    reply = _sent(HeadersReply(direction, mutation))
    part = reply.request_headers if direction is Direction.REQUEST else reply.response_headers
    _same_lines(part.response.header_mutation, mutation)
    reply = _sent(TrailersReply(direction, mutation))
    trailers = reply.request_trailers if direction is Direction.REQUEST else reply.response_trailers
    _same_lines(trailers.header_mutation, mutation)


def _same_lines(sent: Lines, mutation: HeaderMutation) -> None:
    assert tuple((line.header.key, line.header.raw_value) for line in sent.set_headers) == mutation.set, "other lines"
    assert tuple(sent.remove_headers) == mutation.remove, "other names to remove"


def _body(event: BodyReceived) -> None:
    for mode in (
        StreamedBody(event.direction, event.data, event.end_of_stream),
        BodyReply(event.direction, event.data),
    ):
        reply = _sent(mode)
        part = reply.request_body if event.direction is Direction.REQUEST else reply.response_body
        change = part.response.body_mutation
        if isinstance(mode, StreamedBody):
            streamed = change.streamed_response
            assert (streamed.body, streamed.end_of_stream) == (event.data, event.end_of_stream), "another chunk"
        else:
            assert (change.body, change.clear_body) == (event.data, not event.data), "another body"
    assert _sent(ImmediateReply(200, event.data)).immediate_response.body == event.data, "another answer"


def _metadata(metadata: Mapping[str, Any]) -> None:
    reply = HeadersReply(Direction.REQUEST, metadata=metadata)
    try:
        sent = _sent(reply)
    except ValueError:
        assert any(_depth(value) > MAX_METADATA_DEPTH for value in metadata.values()), "metadata that is not deep"
        return
    back = ProcessingRequest()
    back.request_headers.SetInParent()
    for namespace, value in sent.dynamic_metadata.fields.items():
        back.metadata_context.filter_metadata[namespace].CopyFrom(value.struct_value)
    again = decode(back.SerializeToString())
    assert isinstance(again, HeadersReceived)
    assert _plain(again.facts.metadata) == _plain(metadata), "other metadata"


def _plain(metadata: Mapping[str, Any]) -> str:
    """In one order, and with NaN equal to itself."""
    return json.dumps(metadata, sort_keys=True)


def _depth(value: Any) -> int:
    """How many objects and arrays stand in each other below a namespace's own."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return -1 if inner is None else 1 + max(map(_depth, inner), default=-1)


def _sent(reply: HeadersReply | BodyReply | StreamedBody | TrailersReply | ImmediateReply) -> ProcessingResponse:
    return ProcessingResponse.FromString(encode(reply))
