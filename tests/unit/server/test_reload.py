"""Bundles come and go; the one in force is always a good one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.errors import BundleError, Problem
from ext_proc.limits import MIB, Limits
from ext_proc.policy import Context, NoParameters, Policy
from ext_proc.server.aio import message_length
from ext_proc.server.keys import Keys
from ext_proc.server.openings import OpeningError, Openings
from ext_proc.server.reload import Bundles
from ext_proc.server.stores import Opened, Stores
from ext_proc.stores.settings import EmbeddedSettings, StoreSettings
from ext_proc.stores.store import NO_STORE, StoreError
from ext_proc.telemetry.metrics import Metrics
from tests.unit.server.fakes import MemoryLog, soon

FIRST, SECOND = Rulebook("b", "1"), Rulebook("b", "2")
GOOD, BROKEN = (EmbeddedSettings(Path(name), 1 << 20, 0.02) for name in ("/good", "/broken"))


class Loader:
    """Gives one result after another; an exception is raised."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.threads: list[int] = []

    def __call__(self, path: Path) -> Rulebook:
        self.threads.append(threading.get_ident())
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Rulebook)
        return result


class Setting:
    def __init__(self, load: Any, first: Rulebook = FIRST) -> None:
        self.metrics, self.log = Metrics("here"), MemoryLog()
        self.opened: list[tuple[StoreSettings, bool]] = []
        self.stores = Stores(self.metrics, self.log, self.open)
        self.openings = Openings(self.stores, self.log)
        self.bundles = Bundles(
            Path("bundle.yaml"),
            first,
            load=load,
            stores=self.stores,
            openings=self.openings,
            keys=Keys(self.metrics, self.log),
            metrics=self.metrics,
            log=self.log,
            max_message=64 * MIB,
        )

    async def open(self, settings: StoreSettings, must_answer: bool) -> Opened:
        self.opened.append((settings, must_answer))
        if settings == BROKEN:
            raise StoreError("cannot use /broken as a store: it is locked")
        return Opened(NO_STORE)

    def reloads(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "gatehouse_bundle_reloads_total", {"region": "here", "result": result}
        )

    def in_force(self, revision: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "gatehouse_bundle_info", {"region": "here", "name": "b", "revision": revision}
        )


async def test_a_good_bundle_takes_over() -> None:
    setting = Setting(Loader(SECOND))
    await soon(setting.bundles.reload())
    assert setting.bundles.current is SECOND
    assert (setting.reloads("ok"), setting.reloads("failed")) == (1, 0)
    assert (setting.in_force("1"), setting.in_force("2")) == (None, 1)
    assert setting.log.lines == [("info", "bundle reloaded", {"name": "b", "revision": "2", "previous_revision": "1"})]


async def test_a_bad_bundle_never_replaces_a_good_one_and_every_problem_is_logged() -> None:
    problems = [Problem("routes[0]", "expected a name"), Problem("policies[1].type", "unknown", "nope")]
    setting = Setting(Loader(BundleError(problems)))
    await soon(setting.bundles.reload())
    assert setting.bundles.current is FIRST
    assert (setting.reloads("ok"), setting.reloads("failed")) == (0, 1)
    assert setting.in_force("1") == 1
    ((level, _, facts),) = setting.log.lines
    assert level == "error"
    assert facts["problems"] == [str(problem) for problem in problems]


async def test_a_loader_that_breaks_is_a_bad_bundle_too() -> None:
    setting = Setting(Loader(ValueError("a secret")))
    await soon(setting.bundles.reload())
    assert setting.bundles.current is FIRST
    assert setting.reloads("failed") == 1
    assert "a secret" not in str(setting.log.lines)


async def test_the_store_of_the_first_bundle_need_not_answer_yet_and_that_of_a_later_one_must() -> None:
    setting = Setting(Loader(Rulebook("b", "2", store=GOOD)), Rulebook("b", "1", store=GOOD))
    await soon(setting.bundles.start())
    assert setting.opened == [(GOOD, False)]
    other = EmbeddedSettings(Path("/other"), 1 << 20, 0.02)
    setting = Setting(Loader(Rulebook("b", "2", store=other)), Rulebook("b", "1", store=GOOD))
    await soon(setting.bundles.start())
    await soon(setting.bundles.reload())
    assert setting.opened == [(GOOD, False), (other, True)]
    assert setting.bundles.current.revision == "2"
    await soon(setting.stores.close())


async def test_a_bundle_whose_store_cannot_be_opened_never_replaces_the_one_in_force() -> None:
    setting = Setting(Loader(Rulebook("b", "2", store=BROKEN)), Rulebook("b", "1", store=GOOD))
    await soon(setting.bundles.start())
    before = setting.stores.lease("t")
    await soon(setting.bundles.reload())
    assert setting.bundles.current.revision == "1"
    assert setting.stores.lease("u") is before
    assert setting.reloads("failed") == 1
    assert setting.log.lines[-1][2]["problems"] == ["cannot use /broken as a store: it is locked"]
    await soon(setting.stores.close())


async def test_the_first_bundles_store_that_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(StoreError, match="locked"):
        await soon(Setting(Loader(), Rulebook("b", "1", store=BROKEN)).bundles.start())


async def test_loading_does_not_stop_the_loop() -> None:
    loader = Loader(SECOND)
    await soon(Setting(loader).bundles.reload())
    assert loader.threads != [threading.get_ident()]


async def test_requests_that_come_during_a_load_are_served_by_one_more() -> None:
    loop = asyncio.get_running_loop()
    begun: asyncio.Queue[None] = asyncio.Queue()
    go_on = threading.Semaphore(0)
    loads = []

    def load(path: Path) -> Rulebook:
        loads.append(path)
        loop.call_soon_threadsafe(begun.put_nowait, None)
        assert go_on.acquire(timeout=5)
        return Rulebook("b", str(len(loads) + 1))

    setting = Setting(load)
    setting.bundles.request()
    await soon(begun.get())
    for _ in range(5):
        setting.bundles.request()
    go_on.release()
    await soon(begun.get())
    assert setting.bundles.current.revision == "2"
    (reloading,) = asyncio.all_tasks() - {asyncio.current_task()}
    go_on.release()
    await soon(reloading)
    assert setting.bundles.current.revision == "3"
    assert len(loads) == 2


@pytest.mark.parametrize(("size", "warned"), [(32 * MIB, False), (128 * MIB, True)])
async def test_limits_that_outgrow_the_servers_messages_are_warned_of(size: int, warned: bool) -> None:
    limits = Limits(request_body=size)
    assert (message_length(limits) > 64 * MIB) is warned
    setting = Setting(Loader(Rulebook("b", "2", limits=limits)))
    await soon(setting.bundles.reload())
    assert bool(setting.log.of("warning")) is warned


class Door(Policy[NoParameters, None]):
    """Opens, unless it is told not to, and says when it is closed."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__("door", NoParameters())
        self.broken = broken
        self.said: list[str] = []

    def on_complete(self, ctx: Context[None]) -> None:
        """So that it is a policy."""

    async def open(self) -> None:
        if self.broken:
            raise ValueError("the disk is gone")
        self.said.append("open")

    async def close(self) -> None:
        self.said.append("closed")


def with_door(door: Door, revision: str) -> Rulebook:
    pipeline = Pipeline([Binding(door)], lambda: 0.0)
    return Rulebook("b", revision, (Route("r", RouteMatch(path="/"), "mcp", (), pipeline),), store=GOOD)


async def test_a_bundle_whose_policy_cannot_be_opened_never_replaces_the_one_in_force() -> None:
    door, broken = Door(), Door(broken=True)
    setting = Setting(Loader(with_door(broken, "2")), with_door(door, "1"))
    await soon(setting.bundles.start())
    await soon(setting.bundles.reload())
    assert setting.bundles.current.revision == "1"
    assert setting.log.lines[-1][2]["problems"] == ["policy door: the disk is gone"]
    assert door.said == ["open"]
    await soon(setting.stores.close())


async def test_a_bundle_that_takes_over_has_its_policies_open_and_the_ones_before_are_closed() -> None:
    before, after = Door(), Door()
    setting = Setting(Loader(with_door(after, "2")), with_door(before, "1"))
    await soon(setting.bundles.start())
    setting.openings.lease("running")
    await soon(setting.bundles.reload())
    assert (before.said, after.said) == (["open"], ["open"])
    setting.openings.release("running")
    await soon(setting.openings.close())
    assert (before.said, after.said) == (["open", "closed"], ["open", "closed"])
    await soon(setting.stores.close())


async def test_the_first_bundles_policy_that_cannot_be_opened_is_an_error() -> None:
    with pytest.raises(OpeningError, match="policy door: the disk is gone"):
        await soon(Setting(Loader(), with_door(Door(broken=True), "1")).bundles.start())
