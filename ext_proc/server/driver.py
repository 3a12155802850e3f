"""The loop of one RPC: messages in, decisions run, replies out.

Rules:
- The transport owns time: a Tick goes before every other event, and one comes at `wake_at()` if nothing else does.
- No task is made per message, unless the exchange wants to be woken: reads are awaited as they are.
- One message is read at a time and answered before the next: gRPC's flow control bounds what is under way.
- OK only after Envoy's half-close; everything else that ends the loop is an error status, for a clean end would let the
  rest through unread.

Not here: what follows when the RPC is over (completion.py), servers and sockets (aio.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar

import grpc.aio

from ext_proc.engine.checkpoint import Checkpoint, Decision, Pending
from ext_proc.errors import GatehouseError
from ext_proc.events import Event, Tick
from ext_proc.replies import Abort, Finish, Reply
from ext_proc.trail import Trail
from ext_proc.wire.decode import decode
from ext_proc.wire.encode import encode

# A cancelled RPC looks half-closed at first: the end of messages and the cancellation come separately, and nearly
# always in this order (measured on grpcio 1.85: two turns of the loop apart in 199 of 200, more than 50 turns once).
_CANCELLATION_FOLLOWS = 0.005  # seconds
_SHORTEST_WAIT = 0.001  # seconds, so that a wake-up time in the past cannot make the loop spin

Result = TypeVar("Result")


class Decides(Protocol):
    """A pipeline, as far as a transport knows it."""

    def decide(self, checkpoint: Checkpoint) -> Generator[Pending, Any, Decision]: ...


class Drivable(Protocol):
    """An exchange (engine/exchange.py), as far as a transport knows it."""

    trail: Trail

    @property
    def pipeline(self) -> Decides: ...

    def receive(self, event: Event) -> None: ...

    def next_checkpoint(self) -> Checkpoint | None: ...

    def resolve(self, decision: Decision) -> None: ...

    def replies(self) -> Sequence[Reply]: ...

    def wake_at(self) -> float | None: ...


class Rpc(Protocol):
    """One RPC's stream of messages, as `grpc.aio.ServicerContext` has it."""

    async def read(self) -> Any: ...

    async def write(self, message: bytes) -> None: ...


class Aborted(GatehouseError):
    """The exchange ends the RPC with an error status; the text is for Envoy's log."""


class PeerGone(GatehouseError):
    """Envoy cannot be read from or written to any more."""


class Driver:
    """Drives one exchange over one RPC.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, exchange: Drivable, rpc: Rpc, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._rpc = rpc
        self._clock = clock
        self._reading: asyncio.Task[bytes | None] | None = None

    async def run(self) -> None:
        """Returns when Envoy half-closes.

        Raises:
            Aborted: the exchange wants the RPC to end with an error status.
            ProtocolError: a message that cannot be read.
            PeerGone: the RPC is over, though its cancellation was not heard of.
            asyncio.CancelledError: the RPC was cancelled.
        """
        try:
            while (message := await self._next()) is not None:
                self._exchange.receive(Tick(self._clock(), time.time()))
                self._exchange.receive(decode(message))
                await self._answer()
        finally:
            reading, self._reading = self._reading, None  # a ring of us and the task would keep the exchange in memory
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _next(self) -> bytes | None:
        """The next message, ticks given meanwhile; None at Envoy's half-close."""
        while True:
            wake_at = self._exchange.wake_at()
            if wake_at is None and self._reading is None:
                return await self._read()
            if self._reading is None:
                # A read that is cut short would lose its message: it goes on in a task while time is watched.
                self._reading = asyncio.ensure_future(self._read())
            patience = None if wake_at is None else max(wake_at - self._clock(), _SHORTEST_WAIT)
            done, _ = await asyncio.wait((self._reading,), timeout=patience)
            if done:
                reading, self._reading = self._reading, None
                return reading.result()
            self._exchange.receive(Tick(self._clock(), time.time()))
            await self._answer()

    async def _answer(self) -> None:
        exchange = self._exchange
        while (checkpoint := exchange.next_checkpoint()) is not None:
            generator = exchange.pipeline.decide(checkpoint)
            step = begin(generator)
            exchange.resolve(step if isinstance(step, Decision) else await resume(generator, step))
        for reply in exchange.replies():
            if isinstance(reply, Abort):
                raise Aborted(reply.reason)
            if isinstance(reply, Finish):
                raise GatehouseError("an exchange finished before Envoy's half-close")
            await self._write(encode(reply))

    async def _read(self) -> bytes | None:
        try:
            message = await self._rpc.read()
        except Exception as error:
            raise PeerGone("cannot read") from error
        if message is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
            await asyncio.sleep(_CANCELLATION_FOLLOWS)
            return None
        return message  # type: ignore[no-any-return]  # a handler without a deserializer gets bytes

    async def _write(self, message: bytes) -> None:
        try:
            await self._rpc.write(message)
        except Exception as error:
            raise PeerGone("cannot write") from error


def begin(generator: Generator[Pending, Any, Result]) -> Result | Pending:
    """Runs `decide`, or another such generator, up to its result, or to the first hook that must be awaited."""
    try:
        return next(generator)
    except StopIteration as decided:
        return decided.value  # type: ignore[no-any-return]  # the generator's own return type


def is_being_cancelled() -> bool:
    """Whether somebody cancelled the running task, as against a CancelledError that code in it raised by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def resume(generator: Generator[Pending, Any, Result], pending: Pending) -> Result:
    """Awaits hook after hook until the result; a hook's time-out or exception goes into the generator.

    When this is cancelled, so is the hook, and the generator is closed.
    """
    try:
        while True:
            try:
                async with asyncio.timeout(pending.timeout) as limit:
                    value = await pending.awaitable
                if limit.expired():
                    raise TimeoutError("the hook went on after its time")
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                    raise
                # Nobody cancelled us: what the hook awaited was cancelled elsewhere, native code panicked, or the hook
                # meant to exit. That is the hook's own failure, and `on_error` decides.
                pending = generator.throw(error)
            else:
                pending = generator.send(value)
    except StopIteration as decided:
        return decided.value  # type: ignore[no-any-return]  # the generator's own return type
    finally:
        generator.close()
