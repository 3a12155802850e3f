"""The table says of each step what was seen and decided, and the tour is good only if every step was."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest
from rich.console import Console

from ext_proc.demo.asks import ANALYST, NOBODY, Seen
from ext_proc.demo.stack import Stack
from ext_proc.demo.steps import Step
from ext_proc.demo.walk import walk
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word
from tests.unit.demo.admin_stub import AdminStub, called, ungoverned

pytestmark = pytest.mark.usefixtures("impatient")
SEARCH = ("tools/call", "search")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ext_proc.demo.record._LOOKS", 2)


@pytest.fixture
def stub() -> Iterator[AdminStub]:
    with AdminStub() as running:
        yield running


@dataclass
class Asks:
    """Stands for a client: the exchange ends with `trail`, and the client saw `seen`."""

    stub: AdminStub
    trail: Trail | None
    seen: Seen

    async def __call__(self, stack: Stack) -> Seen:
        if self.trail is not None:
            self.stub.ends(self.trail)
        return self.seen


async def walked(stub: AdminStub, *steps: Step, width: int = 120) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    good = await walk(cast(Stack, stub), console, steps)
    return good, cast(io.StringIO, console.file).getvalue()


def cells(text: str) -> list[list[str]]:
    """The table's rows, the lines of each cell joined."""
    rows: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("│"):
            rows[-1].append([cell.strip() for cell in line.strip("│").split("│")])
        elif rows[-1]:
            rows.append([])
    return [[" ".join(filter(None, cell)) for cell in zip(*row, strict=True)] for row in rows if row]


async def test_a_step_as_expected_is_shown_with_who_asked_and_what_was_decided_and_why(stub: AdminStub) -> None:
    step = Step("search", ANALYST, Asks(stub, called("t1"), Seen("runbook")), "runbook", SEARCH, reason="rules[1]")
    good, text = await walked(stub, step)
    assert good
    assert cells(text)[1] == ["search an analyst", "runbook", "allow by who-may-call: rules[1] trail t1", "ok"]
    assert "All 1 steps were as expected." in text


async def test_a_refused_step_is_found_by_the_trail_that_its_client_was_told(stub: AdminStub) -> None:
    denied = called("t2", reason="tool-not-allowed", denied=True)
    step = Step("search", NOBODY, Asks(stub, denied, Seen("error", "t2")), "error", SEARCH, "refused")
    good, text = await walked(stub, step)
    assert good
    assert cells(text)[1][2] == "deny by who-may-call: tool-not-allowed trail t2"


async def test_a_failure_inside_a_success_is_shown_as_its_outcome(stub: AdminStub) -> None:
    trail = called("t3")
    trail.outcome = Outcome.TOOL_ERROR
    step = Step("search", NOBODY, Asks(stub, trail, Seen("tool error")), "tool error", SEARCH, "tool_error")
    good, text = await walked(stub, step)
    assert good
    assert "outcome tool_error" in cells(text)[1][2]


async def test_a_stream_s_verdicts_are_shown_once_each_with_its_tokens(stub: AdminStub) -> None:
    trail = called("t7")
    for _ in range(3):
        for policy, word in (("tokens", Word.ALLOW), ("which-model", Word.CHANGE)):
            trail.record(Entry(policy, Stage.RESPONSE, word, "", 0.0, enforced=True))
    trail.facts = {"usage_reported": True, "input_tokens": 3, "output_tokens": 8}
    _, text = await walked(stub, Step("chat", ANALYST, Asks(stub, trail, Seen("hello")), "hello", SEARCH))
    told = "allow by who-may-call: rules[1] allow by tokens change by which-model 3 tokens in, 8 out trail t7"
    assert cells(text)[1][2] == told
    priced = called("t8")
    priced.facts = {**trail.facts, "cost": "0.00000525", "currency": "EUR"}
    _, text = await walked(stub, Step("chat", ANALYST, Asks(stub, priced, Seen("hello")), "hello", SEARCH))
    assert "3 tokens in, 8 out, 0.00000525 EUR" in cells(text)[1][2]


async def test_a_step_that_no_route_governs_is_shown_as_that(stub: AdminStub) -> None:
    step = Step("chat", NOBODY, Asks(stub, ungoverned("t4"), Seen("hello")), "hello", None)
    good, text = await walked(stub, step)
    assert good
    assert cells(text)[1][2] == "not governed: no route of the bundle matches"


@pytest.mark.parametrize("exchange", [SEARCH, None], ids=["governed", "ungoverned"])
async def test_what_did_not_come_through_gatehouse_is_not_as_expected(
    stub: AdminStub, exchange: tuple[str, str] | None
) -> None:
    step = Step("search", NOBODY, Asks(stub, None, Seen("runbook")), "runbook", exchange)
    good, text = await walked(stub, step)
    assert not good
    assert cells(text)[1][2:] == ["nothing is on record", "no"]


async def test_one_surprise_spoils_the_tour_and_does_not_end_it(stub: AdminStub) -> None:
    async def fails(stack: Stack) -> Seen:
        raise RuntimeError("refused the connection")

    steps = (
        Step("broken", NOBODY, fails, "runbook", SEARCH),
        Step("search", NOBODY, Asks(stub, called("t5"), Seen("runbook")), "runbook", SEARCH),
    )
    good, text = await walked(stub, *steps)
    assert not good
    assert [row[3] for row in cells(text)[1:]] == ["no", "ok"]
    assert cells(text)[1][1] == "RuntimeError: refused the connection"
    assert "1 of 2 steps were not as expected." in text


async def test_what_came_over_the_network_styles_nothing(stub: AdminStub) -> None:
    step = Step("search", NOBODY, Asks(stub, called("t6"), Seen("[red]a[/red] [/]")), "[red]", SEARCH)
    _, text = await walked(stub, step)
    assert "[red]a[/red] [/]" in text


@pytest.mark.parametrize("width", [80, 140])
async def test_a_trail_s_id_stays_whole_to_be_copied(stub: AdminStub, width: int) -> None:
    trail_id = "1m7xzxr33q8rgyhbakeq"
    step = Step("search", NOBODY, Asks(stub, called(trail_id), Seen("runbook")), "runbook", SEARCH)
    _, text = await walked(stub, step, width=width)
    assert f"trail {trail_id}" in text
    assert all(len(line) <= width for line in text.splitlines())
