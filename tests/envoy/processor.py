"""An external processor that does what a test tells it, in Gatehouse's place: for facts about Envoy itself.

Rules:
- A script is a generator: it takes Envoy's messages from the iterator that it is given and yields its own. Where it
  returns the RPC ends with OK; `raise Failing` ends it with an error.
- What Envoy said is kept in `seen`.

Not here: what comes of it (test_facts.py), Gatehouse (every other test).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any

import grpc
import yaml

from ext_proc.events import BodyMode, Direction
from ext_proc.headers import HeaderMutation
from ext_proc.replies import (
    BodyReply,
    HeadersReply,
    Modes,
    Reply,
    StreamedBody,
    TrailersReply,
)
from ext_proc.wire.encode import encode
from ext_proc.wire.pb import external_processor_pb2 as pb
from ext_proc.wire.service import METHOD, SERVICE
from tests.envoy.bootstraps import impatient
from tests.envoy.harness import Running
from tests.envoy.keepalive import bare
from tests.envoy.raw import JSON_LINES, RawAnswer, raw_client, sized
from tests.envoy.upstream import keeping

Received = Iterator[pb.ProcessingRequest]
Script = Callable[[Received], Iterator["Reply | bytes"]]


class Failing(Exception):
    """Ends the RPC with an error status."""


class Processor:
    """A gRPC server on a free loopback port, as a context manager.

    Args:
        longest: the longest message in bytes that it takes; -1 for any.

    Attributes:
        seen: what Envoy said since the last `answer_with`, over all RPCs.
        failures: what a script raised besides `Failing`.
    """

    def __init__(self, longest: int = -1) -> None:
        self.seen: list[pb.ProcessingRequest] = []
        self.failures: list[BaseException] = []
        self._script: Script | None = None
        options = [("grpc.max_receive_message_length", longest), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        handler = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def answer_with(self, script: Script) -> None:
        """Runs every further RPC by `script`."""
        self.seen, self.failures, self._script = [], [], script

    def kinds(self) -> list[str]:
        """Which parts Envoy has told of, in order: "request_headers", ..."""
        return [message.WhichOneof("request") or "" for message in self.seen]

    def bootstrap(self, text: str) -> str:
        """Envoy's configuration with this processor in Gatehouse's place, patient for half a second."""
        config: dict[str, Any] = yaml.safe_load(impatient(text))
        (gatehouse,) = (each for each in config["static_resources"]["clusters"] if each["name"] == "gatehouse")
        (endpoints,) = gatehouse["load_assignment"]["endpoints"]
        (endpoint,) = endpoints["lb_endpoints"]
        endpoint["endpoint"]["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        return str(yaml.safe_dump(config, sort_keys=False))

    def __enter__(self) -> Processor:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()

    def _process(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        script = self._script
        assert script is not None
        try:
            for reply in script(self._received(messages)):
                yield reply if isinstance(reply, bytes) else encode(reply)
        except Failing:
            context.abort(grpc.StatusCode.INTERNAL, "it fails on purpose")
        except Exception as error:
            self.failures.append(error)
            raise

    def _received(self, messages: Iterator[bytes]) -> Received:
        with suppress(grpc.RpcError):  # Envoy reset the RPC: no more will come
            for message in messages:
                found = pb.ProcessingRequest.FromString(message)
                self.seen.append(found)
                yield found


REQ, RESP = Direction.REQUEST, Direction.RESPONSE
NONE, STREAMED, BUFFERED = BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED
PARTIAL, DUPLEX = BodyMode.BUFFERED_PARTIAL, BodyMode.FULL_DUPLEX_STREAMED


def modes(request: BodyMode = NONE, response: BodyMode = NONE) -> Modes:
    """An override of the body modes; with trailers where full duplex needs them."""
    return Modes(request, response, request_trailers=request is DUPLEX, response_trailers=response is DUPLEX)


def go_on(
    direction: Direction, *changes: tuple[str, bytes], override: Modes | None = None, **more: Any
) -> HeadersReply:
    """The reply to headers that lets them go on, changed and with an override of modes or without."""
    return HeadersReply(direction, HeaderMutation(set=changes), modes=override, **more)


UNCHANGED: dict[str, Reply] = {
    "request_headers": HeadersReply(REQ),
    "request_body": BodyReply(REQ),
    "request_trailers": TrailersReply(REQ),
    "response_headers": HeadersReply(RESP),
    "response_body": BodyReply(RESP),
    "response_trailers": TrailersReply(RESP),
}
Rule = Callable[[pb.ProcessingRequest], Iterable[Reply | bytes]] | Sequence[Reply | bytes]


def following(**rules: Rule) -> Script:
    """A script with rules for some parts ("request_headers", ...): replies, or what gives them; the others pass."""

    def script(received: Received) -> Iterator[Reply | bytes]:
        for message in received:
            kind = message.WhichOneof("request") or ""
            rule = rules.get(kind, (UNCHANGED[kind],))
            yield from rule(message) if callable(rule) else rule

    return script


def echoed(message: pb.ProcessingRequest) -> Iterator[Reply]:
    """A body of full duplex, handed back."""
    direction, body = (REQ, message.request_body) if message.HasField("request_body") else (RESP, message.response_body)
    yield StreamedBody(direction, body.body, body.end_of_stream)


BODY = b'{"asked": true}'
DONE = b'{"answered": true}'
ANSWER = keeping(bare(200, JSON_LINES[0], ("content-length", str(len(DONE))), body=DONE))


def ask(running: Running, request: bytes = sized("/mcp", BODY)) -> RawAnswer:
    """The answer to a request over a connection of its own."""
    with raw_client(running) as client:
        return client.ask(request)


def is_for(path: str, message: pb.ProcessingRequest) -> bool:
    """Whether these are the headers of a request for `path`."""
    return any(line.raw_value == path.encode() for line in message.request_headers.headers.headers)


UNANSWERED = "/mcp/unanswered"


def but_for_one(script: Script) -> Script:
    """`script`, and no word for a request to `UNANSWERED`, which Envoy gives up: so long has nothing else happened."""

    def chosen(received: Received) -> Iterator[Reply | bytes]:
        first = next(received)
        if is_for(UNANSWERED, first):
            yield from (UNCHANGED["request_headers"] for _ in received)
        else:
            yield from script(chain([first], received))

    return chosen


def time_passes(running: Running) -> None:
    """Lets as much time go by as Envoy waits for a reply."""
    assert ask(running, sized(UNANSWERED, BODY)).status == 504
