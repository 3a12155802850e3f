"""grpc.health.v1 with a real client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ext_proc.server.health import HEALTH_SERVICE
from ext_proc.wire.service import SERVICE
from tests.unit.server.fakes import Served, soon

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def check(served: Served, service: str) -> Any:
    method = served.channel.unary_unary(
        f"/{HEALTH_SERVICE}/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=service))


def watch(served: Served, service: str) -> Any:
    method = served.channel.unary_stream(
        f"/{HEALTH_SERVICE}/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=service))


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_check_tells_whether_the_server_serves(served: Served, service: str) -> None:
    assert (await soon(check(served, service))).status == SERVING
    served.server.health.set(False)
    assert (await soon(check(served, service))).status == NOT_SERVING


async def test_a_check_of_an_unknown_service_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await soon(check(served, "nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_of_an_unknown_service_says_so_and_stays(served: Served) -> None:
    call = watch(served, "nobody")
    assert (await soon(call.read())).status == HealthCheckResponse.SERVICE_UNKNOWN
    assert not call.done()
    call.cancel()


async def test_a_watcher_is_told_of_each_change(served: Served) -> None:
    call = watch(served, "")
    assert (await soon(call.read())).status == SERVING
    served.server.health.set(False)
    assert (await soon(call.read())).status == NOT_SERVING
    served.server.health.set(True)
    assert (await soon(call.read())).status == SERVING
    call.cancel()


async def test_a_watcher_does_not_hold_up_the_drain(served: Served) -> None:
    call = watch(served, SERVICE)
    assert (await soon(call.read())).status == SERVING
    stopping = asyncio.ensure_future(served.server.stop(60.0))
    assert (await soon(call.read())).status == NOT_SERVING
    assert await soon(stopping) is True
    assert await soon(call.code()) is grpc.StatusCode.OK


async def test_a_watch_ends_only_when_new_exchanges_are_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    grpc_server, health = served.server._server, served.server.health
    stop, close = grpc_server.stop, health.close

    async def refuses(grace: float | None) -> None:
        order.append("refuses")
        await stop(grace)

    def ends() -> None:
        order.append("ends")
        close()

    monkeypatch.setattr(grpc_server, "stop", refuses)
    monkeypatch.setattr(health, "close", ends)
    call = watch(served, SERVICE)
    assert (await soon(call.read())).status == SERVING
    assert await soon(served.server.stop(60.0)) is True
    assert order == ["refuses", "ends"]
