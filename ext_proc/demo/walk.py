"""Walks the tour's steps, and shows each with what was decided and why.

Rules:
- A step is as expected only if the client saw what the step says *and* Gatehouse recorded the decision that it says.
- What was decided is read from Gatehouse's own record, not from the step.
- A step that fails is a finding of the tour, not its end.
- What came over the network is shown as text: it styles nothing.

Not here: what is asked (steps.py), how the record is read (record.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ext_proc.demo.asks import Seen
from ext_proc.demo.record import Decision, Mark, Record
from ext_proc.demo.stack import Stack
from ext_proc.demo.steps import STEPS, Step

_STYLES = {"allow": "green", "change": "cyan", "deny": "red", "respond": "red", "error": "yellow"}


async def walk(stack: Stack, console: Console, steps: Sequence[Step] = STEPS) -> bool:
    """Walks all steps and prints the table.

    Returns:
        Whether every step was as expected.
    """
    record = Record(stack.admin_url)
    table = Table(box=box.ROUNDED, show_lines=True, title="What was asked, and what was decided", expand=True)
    table.add_column("asked, and by whom", ratio=6, overflow="fold")
    table.add_column("the client saw", ratio=8, overflow="fold")
    # Of 80 columns this one gets 27, so that a trail's id stays whole, to be copied.
    table.add_column("decided, and why", ratio=10, overflow="fold")
    table.add_column("ok", width=2)
    surprises = 0
    with console.status("walking the tour"):
        for step in steps:
            mark = record.mark()
            seen = await _ask(step, stack)
            decision, passed = await _recorded(record, mark, step, seen)
            fine = step.is_fulfilled(seen, decision) and (passed or decision is not None)
            surprises += not fine
            table.add_row(
                Text.assemble(step.asked, "\n", (step.caller, "dim")),
                Text(" ".join(seen.text.split())),
                _decided(decision, passed),
                Text("ok", "green") if fine else Text("no", "bold red"),
            )
    console.print(table)
    if surprises:
        console.print(f"{surprises} of {len(steps)} steps were not as expected.", style="bold red")
    else:
        console.print(f"All {len(steps)} steps were as expected.", style="bold")
    return not surprises


async def _ask(step: Step, stack: Stack) -> Seen:
    try:
        return await step.ask(stack)
    except Exception as error:
        return Seen(f"{type(error).__name__}: {error}")


async def _recorded(record: Record, mark: Mark, step: Step, seen: Seen) -> tuple[Decision | None, bool]:
    """The decision on record, and whether the exchange passed without one because no route governs it."""
    if seen.trail:
        return await record.by_id(seen.trail), False
    if step.exchange is None:
        return None, await record.passed(mark)
    # Where the client saw something else already, no decision will make it good: any shows what came of it.
    is_expected = partial(step.is_fulfilled, seen) if step.sees in seen.text else bool
    decision = await record.since(mark, step.exchange, is_expected)
    return decision, decision is None and record.has_passed(mark)


def _decided(decision: Mapping[str, Any] | None, passed: bool) -> Text:
    if decision is None:
        return Text("not governed: no route of the bundle matches" if passed else "nothing is on record", "dim")
    text = Text()
    # Of a stream's verdicts each kind is told once, whatever stood between two of them.
    told = dict.fromkeys((entry["verdict"], entry["policy"], entry["reason"]) for entry in decision["entries"])
    for verdict, policy, reason in told:
        text.append(verdict, _STYLES.get(verdict, ""))
        text.append(f" by {policy}")
        text.append(f": {reason}\n" if reason else "\n")
    if decision["outcome"] not in ("ok", "refused"):
        text.append(f"outcome {decision['outcome']}\n")
    facts = decision["facts"]
    if facts.get("usage_reported"):
        cost = ", {cost} {currency}" if facts.get("cost") else ""
        text.append(("{input_tokens} tokens in, {output_tokens} out" + cost + "\n").format_map(facts))
    return text.append(f"trail {decision['id']}", "dim")
