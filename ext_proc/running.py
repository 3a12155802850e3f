"""Runs policies without a server, for tests: their hooks to the end, and what they keep open.

Rules:
- `async def` hooks, `Policy.open` and `Policy.close` each run on an event loop of their own: what a policy keeps open
  must not be bound to a loop to be tested so.

Not here: Envoy's part of an exchange (testing.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterator
from typing import Any

from ext_proc.engine.checkpoint import Decision, Pending
from ext_proc.engine.exchange import Exchange
from ext_proc.policy import Policy

_OPEN: set[int] = set()  # the policies that are in force


@contextlib.contextmanager
def in_force(*policies: Policy[Any, Any]) -> Iterator[None]:
    """Has policies opened, and in the end closed, as the server does around all exchanges of a bundle; those that are
    in force already stay so."""
    with contextlib.ExitStack() as stack:
        for policy in policies:
            if id(policy) not in _OPEN:
                stack.enter_context(_opened(policy))
        yield


@contextlib.contextmanager
def _opened(policy: Policy[Any, Any]) -> Iterator[None]:
    kind = type(policy)
    if kind.open is not Policy.open:
        asyncio.run(policy.open())
    _OPEN.add(id(policy))
    try:
        yield
    finally:
        _OPEN.discard(id(policy))
        if kind.close is not Policy.close:
            asyncio.run(policy.close())


def decide(exchange: Exchange) -> None:
    """Resolves all checkpoints of an exchange; `async def` hooks run on an event loop of their own."""
    while (checkpoint := exchange.next_checkpoint()) is not None:
        exchange.resolve(_run(exchange.pipeline.decide(checkpoint)))


def _run(steps: Generator[Pending, Any, Decision]) -> Decision:
    try:
        pending = next(steps)
        while True:
            try:
                value = asyncio.run(_awaited(pending))
            except Exception as error:
                pending = steps.throw(error)
            else:
                pending = steps.send(value)
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision


async def _awaited(pending: Pending) -> Any:
    async with asyncio.timeout(None if pending.timeout == float("inf") else pending.timeout):
        return await pending.awaitable
