"""A scripted exchange, a log that remembers, messages as Envoy sends them, and a running server with a client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from ext_proc.engine.checkpoint import Budget, Checkpoint, Decision
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.events import BodyReceived, CloseCause, Closed, Direction, Event, HeadersReceived
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import RequestHead
from ext_proc.policy import Context, Exchanged, NoParameters, Policy, Verdict
from ext_proc.replies import BodyReply, Finish, HeadersReply, Reply
from ext_proc.server.address import TcpAddress, UnixAddress
from ext_proc.server.aio import AioServer
from ext_proc.trail import Stage, Trail
from ext_proc.wire.pb.external_processor_pb2 import HttpBody, ProcessingRequest
from ext_proc.wire.service import PROCESS

PATIENCE = 5.0  # seconds that a test waits for what should happen at once


class FakeExchange:
    """Answers each headers and body event with one reply; asks its policies at headers and at the end."""

    def __init__(self, *policies: Policy[Any, Any], trail_id: str = "trail", timeout: float = 5.0) -> None:
        self.trail = Trail(trail_id)
        self.pipeline = Pipeline([Binding(policy, timeout=timeout) for policy in policies], time.monotonic)
        self.events: list[Event] = []
        self.decisions: list[tuple[Stage, Decision]] = []
        self.replies_to_come: list[Reply] = []
        self.wake_times: list[float] = []
        self._exchanged = Exchanged(UNKNOWN, "r", "mcp", RequestHead("POST", "/", "", Headers()), self.trail)
        self._contexts: dict[int, Context[Any]] = {}
        self._checkpoint: Checkpoint | None = None

    @property
    def causes(self) -> list[CloseCause]:
        """The causes of the Closed events that came."""
        return [event.cause for event in self.events if isinstance(event, Closed)]

    @property
    def completed(self) -> int:
        """How often COMPLETE was resolved."""
        return sum(stage is Stage.COMPLETE for stage, _ in self.decisions)

    def receive(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, HeadersReceived):
            self._ask(Stage.REQUEST_HEADERS)
            self.replies_to_come.append(HeadersReply(Direction.REQUEST))
        elif isinstance(event, BodyReceived):
            self.replies_to_come.append(BodyReply(Direction.REQUEST))
        elif isinstance(event, Closed):
            self.trail.cause = event.cause.value
            if event.cause is CloseCause.HALF_CLOSED:
                self.replies_to_come.append(Finish())
            self._ask(Stage.COMPLETE)

    def _ask(self, stage: Stage) -> None:
        self._checkpoint = Checkpoint(stage, self._exchanged, self._contexts, Budget(60.0))

    def next_checkpoint(self) -> Checkpoint | None:
        return self._checkpoint

    def resolve(self, decision: Decision) -> None:
        assert self._checkpoint is not None
        self.decisions.append((self._checkpoint.stage, decision))
        self._checkpoint = None

    def replies(self) -> Sequence[Reply]:
        replies, self.replies_to_come = self.replies_to_come, []
        return replies

    def wake_at(self) -> float | None:
        return self.wake_times[0] if self.wake_times else None


class Waiting(Policy[NoParameters, None]):
    """Waits at the headers until told to go on, and tells that it was cut short."""

    def __init__(self) -> None:
        super().__init__("waiting", NoParameters())
        self.started, self.go_on, self.cut_short = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def on_request_headers(self, ctx: Context[None]) -> Verdict:
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut_short.set()
            raise
        return None


class Closing(Policy[NoParameters, None]):
    """Waits at the end until told to go on."""

    def __init__(self) -> None:
        super().__init__("closing", NoParameters())
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self.finished = 0

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        return None

    async def on_complete(self, ctx: Context[None]) -> None:
        self.started.set()
        await self.go_on.wait()
        self.finished += 1


@dataclass
class MemoryLog:
    """Keeps what was logged: (level, event, facts)."""

    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **facts: Any) -> None:
        self.lines.append(("debug", event, facts))

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append(("warning", event, facts))

    def error(self, event: str, **facts: Any) -> None:
        self.lines.append(("error", event, facts))

    def of(self, level: str) -> list[str]:
        return [event for logged, event, _ in self.lines if logged == level]


def headers_message() -> bytes:
    """A ProcessingRequest with request headers."""
    request = ProcessingRequest()
    request.request_headers.headers.headers.add(key=":method", raw_value=b"GET")
    request.request_headers.headers.headers.add(key=":path", raw_value=b"/elsewhere")
    request.request_headers.headers.headers.add(key="accept", raw_value=b"text/event-stream")
    request.request_headers.end_of_stream = True
    return request.SerializeToString()


def post_message(path: str, length: int) -> bytes:
    """A ProcessingRequest with the headers of a POST of JSON."""
    request = ProcessingRequest()
    lines = {
        ":method": "POST",
        ":path": path,
        ":authority": "test",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(length),
    }
    for key, value in lines.items():
        request.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    return request.SerializeToString()


def body_message(size: int = 1) -> bytes:
    """A ProcessingRequest with a request body."""
    return ProcessingRequest(request_body=HttpBody(body=b"x" * size, end_of_stream=True)).SerializeToString()


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Waits for what should happen at once."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


class Served:
    """A running server whose exchanges a test chooses, and a client of it."""

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self.exchanges: list[FakeExchange] = []
        self.recorded: asyncio.Queue[Trail] = asyncio.Queue()
        self.log = MemoryLog()
        self.make: Callable[[], FakeExchange] = FakeExchange
        self.server = AioServer(self._open, self.recorded.put_nowait, self.log, limits=limits)
        self.channel: Any = None  # the stubs ask for arguments that are optional

    def _open(self) -> FakeExchange:
        self.exchanges.append(self.make())
        return self.exchanges[-1]

    def call(self) -> Any:
        """A new RPC."""
        return self.channel.stream_stream(PROCESS)()


@contextlib.asynccontextmanager
async def serving(address: UnixAddress | TcpAddress | None = None, limits: Limits = DEFAULTS) -> AsyncIterator[Served]:
    """A running server on `address`, or on a free port."""
    running = Served(limits)
    bound = await running.server.start(address or TcpAddress("127.0.0.1", 0))
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    running.channel = grpc.aio.insecure_channel(str(bound), options=options)
    try:
        yield running
    finally:
        await running.channel.close()
        await running.server.stop(0.0)
