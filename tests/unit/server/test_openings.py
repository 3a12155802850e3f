"""What policies keep open: opened all or none, before their bundle is in force, and closed when nobody needs it."""

from __future__ import annotations

import asyncio

import pytest

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.policy import Context, NoParameters, Policy
from ext_proc.server.openings import OpeningError, Openings
from ext_proc.server.stores import Stores
from ext_proc.telemetry.metrics import Metrics
from tests.unit.server.fakes import MemoryLog, soon


class Door(Policy[NoParameters, None]):
    """Opens and closes, and says so."""

    def __init__(self, name: str, said: list[str]) -> None:
        super().__init__(name, NoParameters())
        self.said = said
        self.error: Exception | None = None
        self.hangs = False

    def on_complete(self, ctx: Context[None]) -> None:
        """So that it is a policy."""

    async def open(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.said.append(f"{self.name} open")

    async def close(self) -> None:
        self.said.append(f"{self.name} closed")
        if self.error is not None:
            raise self.error


class Plain(Policy[NoParameters, None]):
    """Keeps nothing open."""

    def on_complete(self, ctx: Context[None]) -> None:
        """So that it is a policy."""


def book(*policies: Policy[NoParameters, None], routes: int = 1) -> Rulebook:
    pipeline = Pipeline([Binding(policy) for policy in policies], lambda: 0.0)
    made = [Route(f"r{number}", RouteMatch(path=f"/{number}"), "mcp", (), pipeline) for number in range(routes)]
    return Rulebook("b", "1", tuple(made))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def openings(log: MemoryLog) -> Openings:
    return Openings(Stores(Metrics(), log), log, opening=0.05)


async def test_a_policy_on_several_routes_is_opened_once_and_closed_at_the_end(
    openings: Openings, said: list[str]
) -> None:
    openings.put_in_force(await openings.prepare(book(Door("a", said), Plain("p", NoParameters()), routes=3)))
    assert said == ["a open"]
    await openings.close()
    assert said == ["a open", "a closed"]


async def test_the_ones_before_are_closed_when_nobody_runs_under_them(openings: Openings, said: list[str]) -> None:
    openings.put_in_force(await openings.prepare(book(Door("old", said))))
    openings.lease("1")
    openings.lease("2")
    openings.put_in_force(await openings.prepare(book(Door("new", said))))
    openings.lease("3")
    openings.release("1")
    openings.release("3")
    openings.release("unknown")
    await asyncio.sleep(0)
    assert said == ["old open", "new open"]
    openings.release("2")
    await asyncio.wait(openings._closing)
    assert said[2:] == ["old closed"]
    await soon(openings.close())
    assert said[3:] == ["new closed"]


async def test_without_exchanges_the_ones_before_are_closed_at_once(openings: Openings, said: list[str]) -> None:
    openings.put_in_force(await openings.prepare(book(Door("old", said))))
    openings.put_in_force(await openings.prepare(book()))
    await asyncio.wait(openings._closing)
    assert said == ["old open", "old closed"]
    await openings.close()
    assert len(said) == 2


async def test_where_one_cannot_be_opened_those_before_it_are_closed(openings: Openings, said: list[str]) -> None:
    broken = Door("b", said)
    broken.error = ValueError("the disk is gone")
    with pytest.raises(OpeningError, match=r"^policy b: the disk is gone$"):
        await openings.prepare(book(Door("a", said), broken, Door("c", said)))
    assert said == ["a open", "a closed"]


async def test_one_that_does_not_open_in_time_is_refused(openings: Openings, said: list[str]) -> None:
    slow = Door("slow", said)
    slow.hangs = True
    with pytest.raises(OpeningError, match=r"^policy slow: it did not open in 0\.05 s$"):
        await openings.prepare(book(slow))


async def test_one_that_does_not_close_is_logged_and_holds_up_nobody(
    openings: Openings, said: list[str], log: MemoryLog
) -> None:
    door = Door("a", said)
    openings.put_in_force(await openings.prepare(book(Door("b", said), door)))
    door.error = ValueError("secret")
    await openings.close()
    assert said == ["b open", "a open", "a closed", "b closed"]
    ((level, event, facts),) = log.lines
    assert (level, event, facts["policy"], facts["error"]) == (
        "error",
        "a policy was not closed in order",
        "a",
        "ValueError",
    )


async def test_what_runs_at_the_end_is_closed_too(openings: Openings, said: list[str]) -> None:
    openings.put_in_force(await openings.prepare(book(Door("old", said))))
    openings.lease("1")
    openings.put_in_force(await openings.prepare(book(Door("new", said))))
    openings.lease("2")
    await openings.close()
    assert sorted(said) == ["new closed", "new open", "old closed", "old open"]
