"""grpc.health.v1, Check and Watch, for the whole server and for the ext_proc service.

Rules:
- A watcher is told of a change at once; when the server stops, its stream ends, so that nobody's watch holds up the
  drain (the servicer that comes with grpcio-health-checking waits for its watchers to leave).

Not here: what makes the server unhealthy (run.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ext_proc.wire.service import SERVICE

HEALTH_SERVICE = "grpc.health.v1.Health"
_SERVICES = ("", SERVICE)


class Health:
    """The server's health: serving from the start, unless told otherwise.

    Args:
        asked: called at each check.
    """

    def __init__(self, asked: Callable[[], None] = lambda: None) -> None:
        self.serving = True
        self._asked = asked
        self._watchers = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def watched(self) -> bool:
        """Whether anybody watches now."""
        return self._watchers > 0

    def set(self, serving: bool) -> None:
        """Tells every watcher."""
        self.serving = serving
        self._wake()

    def close(self) -> None:
        """Ends every watch."""
        self._closed = True
        self._wake()

    def handler(self) -> grpc.GenericRpcHandler[HealthCheckRequest, HealthCheckResponse]:
        """What the server registers."""
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self._check,
                    request_deserializer=HealthCheckRequest.FromString,
                    response_serializer=HealthCheckResponse.SerializeToString,
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self._watch,
                    request_deserializer=HealthCheckRequest.FromString,
                    response_serializer=HealthCheckResponse.SerializeToString,
                ),
            },
        )

    async def _check(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]
    ) -> HealthCheckResponse:
        self._asked()
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=self._status(request.service))

    async def _watch(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]
    ) -> None:
        told = None
        self._watchers += 1
        try:
            while True:
                changed = self._changed
                status = self._status(request.service)
                if status != told:
                    await context.write(HealthCheckResponse(status=status))
                    told = status
                elif self._closed:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus.ValueType:
        if service not in _SERVICES:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self.serving else HealthCheckResponse.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
