"""The gRPC transport on grpc.aio: one RPC is one exchange.

Rules:
- It works on raw bytes: wire/ decodes and encodes them inside the driver.
- A fault of ours is logged once and ends the RPC with INTERNAL, an exchange that aborts with FAILED_PRECONDITION: never
  cleanly, so Envoy fails closed.
- Draining refuses new RPCs first, then ends the watches of its health, and lets running exchanges and their
  `on_complete` finish: whose watch has ended knows that nothing new is taken.

Not here: the loop of one RPC (driver.py), the end of an exchange (completion.py), signals (run.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from ext_proc.errors import ProtocolError
from ext_proc.events import CloseCause
from ext_proc.limits import MIB, Limits
from ext_proc.replies import Abort
from ext_proc.server.address import Address, AddressError, TcpAddress, UnixAddress, reserved, restrict
from ext_proc.server.completion import Completions
from ext_proc.server.driver import Aborted, Drivable, Driver, PeerGone, is_being_cancelled
from ext_proc.server.health import Health
from ext_proc.telemetry.log import Log, fault
from ext_proc.trail import Trail
from ext_proc.wire.service import METHOD, SERVICE

_HEADERS = 1 * MIB  # what an ext_proc message may hold beside the body: headers, metadata, attributes
_LEAST_MESSAGE = 64 * MIB  # so that a reload with larger limits finds room

Context = grpc.aio.ServicerContext[bytes, bytes]


def message_length(limits: Limits) -> int:
    """The longest gRPC message, in bytes, that `limits` can lead to; gRPC's own 4 MiB would cut bodies off."""
    return max(limits.request_body, limits.response_body, limits.envoy_buffer) + limits.envoy_buffer + _HEADERS


class AioServer:
    """Serves exchanges to Envoy.

    Args:
        open_exchange: makes the exchange of a new RPC, under the bundle now in force.
        record: takes each finished trail.
        clock: monotonic seconds.

    Attributes:
        last_call: when the last exchange began or health was last checked.
    """

    def __init__(
        self,
        open_exchange: Callable[[], Drivable],
        record: Callable[[Trail], None],
        log: Log,
        *,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_call = float("-inf")
        self.health = Health(self._called)
        self.max_message = max(message_length(limits), _LEAST_MESSAGE)
        self._open_exchange = open_exchange
        self._log = log
        self._clock = clock
        self._completions = Completions(record, log, clock)
        self._held = contextlib.ExitStack()
        self._active = 0
        self._hurried = asyncio.Event()
        self._server = grpc.aio.server(options=_options(self.max_message))
        process = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: process}), self.health.handler())
        )

    @property
    def active(self) -> int:
        """How many RPCs are under way."""
        return self._active

    async def start(self, address: Address) -> Address:
        """Listens on `address` and serves.

        Returns:
            The address, its port filled in where it was 0.

        Raises:
            AddressError: it cannot be had.
        """
        self._held.enter_context(reserved(address))
        try:
            port = self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            self._held.close()
            raise AddressError(f"cannot listen on {address}: gRPC could not bind it") from error
        if isinstance(address, UnixAddress):
            restrict(address)
        await self._server.start()
        return TcpAddress(address.host, port) if isinstance(address, TcpAddress) else address

    async def stop(self, seconds: float) -> bool:
        """Refuses new RPCs, and gives running exchanges and their `on_complete` up to `seconds`; to be called once.

        Returns:
            Whether all of them finished by themselves.
        """
        deadline = self._clock() + seconds
        self.health.set(False)
        await self._stop_grpc(max(seconds, 0.0))
        in_time = self._clock() < deadline
        finished = await self._completions.drained(deadline - self._clock())
        self._held.close()
        return in_time and finished

    def hurry(self) -> None:
        """Ends what still runs, where `stop` waits for it."""
        self._hurried.set()

    async def _stop_grpc(self, seconds: float) -> None:
        """Waits for RPCs, until the time is over or somebody is in a hurry."""
        stopping = asyncio.ensure_future(self._server.stop(seconds))
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.sleep(0)  # it has begun to refuse new RPCs
        self.health.close()
        await asyncio.wait((stopping, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if seconds and not stopping.done():
            # One stop at a time: of two at once the second may reach for what the first has destroyed (a segmentation
            # fault in grpc.aio's Server.shutdown).
            stopping.cancel()
            await asyncio.wait((stopping,))
        await (self._server.stop(None) if stopping.cancelled() else stopping)

    def _called(self) -> None:
        self.last_call = self._clock()

    async def _process(self, _: Any, context: Context) -> None:
        """One RPC. Returning means OK."""
        self._called()
        try:
            exchange = self._open_exchange()
        except Exception as error:
            self._log.error("an exchange could not be opened", **fault(error))
            await context.abort(grpc.StatusCode.INTERNAL, "gatehouse failed; see its log")
        self._active += 1
        cause, code, details = CloseCause.FAILED, grpc.StatusCode.INTERNAL, ""
        try:
            await Driver(exchange, context, self._clock).run()
            cause = CloseCause.HALF_CLOSED
        except PeerGone as error:
            # Most likely nobody reads the status; if somebody does, it must be none that lets the rest through.
            cause, code, details = CloseCause.CANCELLED, grpc.StatusCode.CANCELLED, str(error)
        except (Aborted, ProtocolError) as error:
            code, details = grpc.StatusCode.FAILED_PRECONDITION, str(error)
            self._log.warning("an exchange was aborted", trail=exchange.trail.id, reason=details)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # also the panic of a native library, which is no Exception
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                cause = CloseCause.CANCELLED
                raise
            details = f"gatehouse failed; see its log for {exchange.trail.id}"
            self._log.error("an exchange failed", trail=exchange.trail.id, **fault(error))
        finally:
            self._active -= 1
            self._completions.complete(exchange, cause)
        if cause is CloseCause.HALF_CLOSED:
            abort = next((reply for reply in exchange.replies() if isinstance(reply, Abort)), None)
            if abort is None:
                return
            code, details = grpc.StatusCode.FAILED_PRECONDITION, abort.reason
        await context.abort(code, details)


def _options(max_message: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message),
        ("grpc.max_send_message_length", max_message),
        # Two servers on one port would share connections by chance; that the port is taken must be an error.
        ("grpc.so_reuseport", 0),
        # Envoy's keepalive pings are its own business: never answer them with GOAWAY (too_many_pings).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ]
