"""What reading costs in Python: an event of a stream, a request for routing, a message of MCP, each beside msgspec.

    python -m tests.bench.codecs [--rounds N] [--passes N] [--only WORD] [--json]

Rules:
- A case and its yardstick are timed one after the other in each round: CPU time of the thread. The figure is the median
  over the rounds, and so is the ratio of the two within a round, which holds on other machines too.
- Streams are the recorded ones, an event per chunk. `decode` is the codec alone; `usage` is the engine with the `usage`
  policy, which observes; `guard` adds a policy that is shown all text and may hold it back.
- The yardstick decodes the JSON of the same bytes with msgspec, once, and looks at nothing.

Not here: Envoy, gRPC, sockets (`make bench`); what the figures should be (docs/benchmarks).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.codec import Codec, Decoder, Match
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.events import BodyReceived, Direction, EnvoyFacts, HeadersReceived, Tick
from ext_proc.framing.sse import EventSplitter
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Generation, Message, Opaque, RequestHead, ResponseHead, ToolResult
from ext_proc.policy import Policy
from ext_proc.running import decide
from gatehouse_policies.usage import Parameters, UsageMeter
from tests.exchange.recordings import RECORDINGS, Recording
from tests.exchange.text_policies import Nothing

FORMATS = {
    "chat": "chat_completions",
    "responses": "responses",
    "messages": "messages",
    "gemini": "streamGenerateContent",
}
# Of the filter, and of the policies: nothing is to end here because a machine is slow.
_LIMITS = Limits(decision=3600.0)
_REQUEST_BYTES = 32 * 1024
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}

Run = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to time.

    Attributes:
        run: does it once; CPU nanoseconds of it, the preparations aside.
        yardstick: the same for msgspec alone.
        units: how many events or messages that is.
        size: bytes of all of them.
    """

    name: str
    run: Run
    yardstick: Run
    units: int
    size: int


@dataclass(frozen=True, slots=True)
class Figure:
    """What a case took, in CPU microseconds per event or message; `ratio` to the yardstick's, within a round."""

    name: str
    units: int
    bytes_each: int
    micros: float
    yardstick: float
    ratio: float


def cases() -> list[Case]:
    """All cases, in the order of the table."""
    found: list[Case] = []
    for name, api in FORMATS.items():
        recorded = [
            recording
            for recording in RECORDINGS.values()
            if (recording.api, recording.streams, recording.status, recording.interrupted) == (api, True, 200, False)
        ]
        found += _of_streams(name, [_Stream(recording) for recording in recorded])
    return [*found, *_of_requests(), *_of_mcp()]


def measure(case: Case, rounds: int, passes: int) -> Figure:
    """A case's figure.

    Args:
        passes: how often it is run in each round.
    """
    for turn in (case.run, case.yardstick):
        turn()  # what is made once is made now
    taken: list[tuple[float, float]] = []
    for number in range(rounds):
        turns = [(0, case.run), (1, case.yardstick)]
        spent = [0.0, 0.0]
        for place, turn in turns if number % 2 else reversed(turns):
            spent[place] = sum(turn() for _ in range(passes)) / 1000 / passes / case.units
        taken.append((spent[0], spent[1]))
    return Figure(
        case.name,
        case.units,
        case.size // case.units,
        statistics.median(own for own, _ in taken),
        statistics.median(other for _, other in taken),
        statistics.median(own / other for own, other in taken),
    )


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    lines = ["| | units | bytes each | CPU µs each | msgspec alone, µs | ratio |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.units} | {one.bytes_each} | {one.micros:.1f} | {one.yardstick:.2f} | {one.ratio:.1f} |"
        for one in figures
    ]
    return "\n".join(lines)


class _Stream:
    """A recorded stream, ready to be read over and over: its request decided, its events cut apart."""

    def __init__(self, recording: Recording) -> None:
        path, _, query = recording.path.partition("?")
        headers = _headers(recording.request_headers)
        self._head = RequestHead(recording.method, path, recording.host, headers, query=query)
        self._answer = ResponseHead(recording.status, _headers(recording.response_headers))
        self._recording = recording
        self._codec = next(codec for codec in PROTOCOLS["auto"].codecs() if codec.matches(self._head) is Match.YES)
        self._requests = read(self._codec, self._head, recording.request)
        splitter = EventSplitter(DEFAULTS.event)
        events = [*splitter.feed(recording.response), *splitter.close()]
        self.chunks = [event.raw for event in events]
        self.documents = [event.data for event in events if event.data and event.data != b"[DONE]"]

    def decode(self) -> int:
        """The codec alone."""
        decoder = self._codec.response_decoder(self._requests, self._head, self._answer, DEFAULTS)
        began = time.thread_time_ns()
        for part in (*map(decoder.feed, self.chunks), decoder.close()):
            for frame in part:
                assert not any(isinstance(message, Opaque) for message in frame.messages)
        return time.thread_time_ns() - began

    def exchange(self, policies: Sequence[Policy[Any, Any]]) -> int:
        """The engine, from the answer's first event to its last."""
        recording = self._recording
        pipeline = Pipeline([Binding(policy, timeout=3600.0) for policy in policies], time.monotonic)
        route = Route("all", RouteMatch(path="/"), "auto", PROTOCOLS["auto"].codecs(), pipeline)
        exchange = Exchange(Rulebook("bench", "1", (route,), limits=_LIMITS), "trail")
        pseudo = {":method": recording.method, ":path": recording.path, ":authority": recording.host, ":scheme": "http"}
        asked = _headers({**pseudo, **recording.request_headers})
        answered = _headers({":status": str(recording.status), **recording.response_headers})
        for event in (
            Tick(1.0),
            HeadersReceived(Direction.REQUEST, asked, facts=EnvoyFacts()),
            BodyReceived(Direction.REQUEST, recording.request, end_of_stream=True),
            HeadersReceived(Direction.RESPONSE, answered),
        ):
            exchange.receive(event)
            decide(exchange)
            exchange.replies()
        began = time.thread_time_ns()
        for chunk in self.chunks:
            exchange.receive(BodyReceived(Direction.RESPONSE, chunk))
            decide(exchange)
            exchange.replies()
        exchange.receive(BodyReceived(Direction.RESPONSE, b"", end_of_stream=True))
        decide(exchange)
        spent = time.thread_time_ns() - began
        assert not exchange.trail.denied, "what is denied is not read"
        return spent


def read(codec: Codec, head: RequestHead, body: bytes) -> Sequence[Message]:
    """The messages of a request."""
    return _messages(codec.request_decoder(head, DEFAULTS), body)


def _messages(decoder: Decoder, body: bytes) -> list[Message]:
    return [message for part in (decoder.feed(body), decoder.close()) for frame in part for message in frame.messages]


def _of_streams(name: str, streams: Sequence[_Stream]) -> list[Case]:
    meter = UsageMeter("usage", Parameters())
    ways: dict[str, Callable[[_Stream], int]] = {
        "decode": lambda stream: stream.decode(),
        "usage": lambda stream: stream.exchange([meter]),
        "guard": lambda stream: stream.exchange([meter, Nothing()]),
    }
    documents = [document for stream in streams for document in stream.documents]
    units = sum(len(stream.chunks) for stream in streams)
    size = sum(len(chunk) for stream in streams for chunk in stream.chunks)
    return [
        Case(f"{name} event, {way}", lambda go=go: sum(map(go, streams)), lambda: _msgspec(documents), units, size)  # type: ignore[misc]
        for way, go in ways.items()
    ]


def _of_requests() -> list[Case]:
    said = "It was a quiet night. " * 40
    turns = [{"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn}. {said}"} for turn in range(200)]
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "parameters": schema}} for n in range(8)]
    asked: dict[str, Any] = {"model": "gpt-4o", "stream": True, "tools": tools, "messages": []}
    for turn in turns:
        if len(msgspec.json.encode(asked)) >= _REQUEST_BYTES:
            break
        asked["messages"].append(turn)
    body = msgspec.json.encode(asked)
    head = RequestHead("POST", "/v1/chat/completions", "api.example", _headers(_JSON))
    codec = next(codec for codec in PROTOCOLS["openai"].codecs() if codec.matches(head) is Match.YES)

    def route() -> int:
        began = time.thread_time_ns()
        (message,) = read(codec, head, body)
        assert message.target == "gpt-4o"
        return time.thread_time_ns() - began

    def hosted() -> int:
        began = time.thread_time_ns()
        (message,) = read(codec, head, body)
        assert isinstance(message, Generation)
        assert not message.hosted_tools
        return time.thread_time_ns() - began

    return [
        Case(f"chat request, {name}", run, lambda: _msgspec([body]), 1, len(body))
        for name, run in (("model read", route), ("hosted tools read", hosted))
    ]


def _of_mcp() -> list[Case]:
    call = {"name": "search_files", "arguments": {"query": "invoice 2026", "limit": 20, "paths": ["/a", "/b"]}}
    asked = msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call})
    result = {"content": [{"type": "text", "text": "two invoices were found " * 10}], "isError": False}
    answer = msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "result": result})
    head = RequestHead("POST", "/mcp", "tools.example", _headers({**_JSON, "mcp-protocol-version": "2025-11-25"}))
    (codec,) = PROTOCOLS["mcp"].codecs()

    def request() -> int:
        began = time.thread_time_ns()
        (message,) = read(codec, head, asked)
        assert message.target == "search_files"
        return time.thread_time_ns() - began

    def answered(headers: dict[str, str], body: bytes) -> int:
        requests = read(codec, head, asked)
        began = time.thread_time_ns()
        decoder = codec.response_decoder(requests, head, ResponseHead(200, _headers(headers)), DEFAULTS)
        (message,) = _messages(decoder, body)
        assert isinstance(message, ToolResult)
        return time.thread_time_ns() - began

    event = b"event: message\ndata: " + answer + b"\n\n"
    return [
        Case("tools/call request", request, lambda: _msgspec([asked]), 1, len(asked)),
        Case("tools/call answer, JSON", lambda: answered(_JSON, answer), lambda: _msgspec([answer]), 1, len(answer)),
        Case("tools/call answer, SSE", lambda: answered(_EVENTS, event), lambda: _msgspec([answer]), 1, len(event)),
    ]


def _headers(lines: Mapping[str, str]) -> Headers:
    return Headers((name, value.encode()) for name, value in lines.items())


def _msgspec(documents: Sequence[bytes]) -> int:
    decode = msgspec.json.Decoder().decode
    began = time.thread_time_ns()
    for document in documents:
        decode(document)
    return time.thread_time_ns() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.codecs", description="Measure the codecs.")
    parser.add_argument("--rounds", type=int, default=15, help="a median is over so many")
    parser.add_argument("--passes", type=int, default=10, help="of a case in a round")
    parser.add_argument("--only", default="", help="the cases in whose name this stands")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    figures = [measure(case, asked.rounds, asked.passes) for case in cases() if asked.only in case.name]
    if asked.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return 0
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
