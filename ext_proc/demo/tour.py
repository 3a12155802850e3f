"""The demo's tour: official clients walk through Envoy and Gatehouse, and each step shows what was decided and why.

Rules:
- A step is as expected only if the client saw what the step says *and* Gatehouse recorded the decision that it says.
- What was decided is read from Gatehouse's own `/decisions`, not from the step.
- Exit status 0 only if every step was as expected; 1 otherwise, or where the demo cannot start.

Not here: what is asked (steps.py), how things are started (stack.py), the lines to paste (curls.py).
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ext_proc.demo.curls import curls
from ext_proc.demo.files import shipped
from ext_proc.demo.processes import DemoError, every_end_is_ctrl_c
from ext_proc.demo.stack import Stack
from ext_proc.demo.steps import STEPS, Step

_PATIENCE = 5.0


def run(bundle: Path | None, port: int, once: bool) -> int:
    """Starts the demo, walks the tour, and stays up until Ctrl-C unless `once`.

    Args:
        bundle: in place of the shipped default.
        port: Envoy's; 0 takes a free one.

    Returns:
        The exit status.
    """
    console = Console()
    try:
        with (
            every_end_is_ctrl_c(),
            Stack(bundle or shipped("policies/bundles/default.yaml"), port=port or None) as stack,
        ):
            console.print(f"Envoy listens on {stack.url}, Gatehouse's admin endpoint is {stack.admin_url}.\n")
            good = asyncio.run(walk(stack, console))
            if not once:
                stay(stack, console)
    except DemoError as error:
        console.print(str(error), style="red")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return 0
    return 0 if good else 1


def stay(stack: Stack, console: Console) -> None:
    """Shows lines to paste and waits for Ctrl-C."""
    console.print("Try it yourself, in another terminal:\n", style="bold")
    for line in curls(stack):
        console.print(f"# {line.says}", style="dim")
        # Never wrapped, never marked up: it is to be pasted.
        print(line.command + "\n", flush=True)
    console.print("The demo stays up until Ctrl-C.", style="bold")
    while True:
        time.sleep(3600)


async def walk(stack: Stack, console: Console, steps: tuple[Step, ...] = STEPS) -> bool:
    """Walks all steps and shows them in a table; whether each was as expected."""
    table = Table(title="What was asked, what was decided, and why", show_lines=True)
    for column, ratio in (("asked", 5), ("by", 2), ("the client saw", 6), ("decided", 3), ("why", 4), ("", 1)):
        table.add_column(column, ratio=ratio, overflow="fold")
    good = True
    with console.status("walking the tour"):
        for step in steps:
            known = {decision["id"] for decision in decisions(stack)}
            try:
                saw = await step.ask(stack)
            except Exception as error:
                # A step that fails is a finding of the tour, not its end.
                saw = f"{type(error).__name__}: {error}"
            decision = await _decision(stack, step, known)
            fine = step.expected(saw, decision)
            good = good and fine
            why = _why(decision)
            table.add_row(
                step.asked, step.caller, saw, _decided(decision), why, "[green]ok[/]" if fine else "[red]no[/]"
            )
    console.print(table)
    console.print("Every step was as expected.\n" if good else "Not every step was as expected.\n", style="bold")
    return good


def decisions(stack: Stack) -> list[dict[str, Any]]:
    """The latest trails, newest first."""
    with urllib.request.urlopen(f"{stack.admin_url}/decisions?limit=50", timeout=5) as answer:
        found: list[dict[str, Any]] = json.load(answer)["decisions"]
    return found


async def _decision(stack: Stack, step: Step, known: set[str]) -> dict[str, Any] | None:
    """The trail of the step's own exchange: recorded when the exchange is over, which may be after the client's answer."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for decision in decisions(stack):
            if decision["id"] not in known and (decision["method"], decision["target"]) == step.exchange:
                return decision
        if step.exchange == ("", "") and not step.governed:
            return None
        await asyncio.sleep(0.02)
    return None


def _decided(decision: dict[str, Any] | None) -> str:
    if decision is None:
        return "not governed: passed untouched"
    verdicts = [entry["verdict"] for entry in decision["entries"]]
    return f"{', '.join(verdicts) or 'no policy had a say'} (outcome {decision['outcome']})"


def _why(decision: dict[str, Any] | None) -> str:
    if decision is None:
        return "no route of the bundle matches"
    reasons = [f"{entry['policy']}: {entry['reason'] or entry['verdict']}" for entry in decision["entries"]]
    return "\n".join([*reasons, f"trail {decision['id']}"])
