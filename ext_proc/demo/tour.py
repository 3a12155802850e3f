"""`gatehouse demo`: starts everything, walks the tour, and stays up for the person at the terminal.

Rules:
- Exit status 0 only if every step of the tour was as expected; 1 otherwise, where the demo cannot start, and where it
  was interrupted before the tour's end.
- What is missing to start (a package, a free port) is told in one sentence on standard error.
- Output that is no terminal gets a fixed width, so that it reads the same everywhere.
- The demo's own imports happen when it runs: without its extra this module still loads, and says what to install.

Not here: the steps (steps.py), showing them (walk.py), starting processes (stack.py), the lines to paste (curls.py).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ext_proc.demo.files import shipped
from ext_proc.demo.processes import DemoError, every_end_is_ctrl_c

if TYPE_CHECKING:
    from ext_proc.demo.curls import Line

_FIXED_WIDTH = 120


def run(bundle: Path | None, port: int, once: bool) -> int:
    """Starts the demo, walks the tour, and stays up until Ctrl-C unless `once`.

    Args:
        bundle: in place of the shipped default.
        port: Envoy's; 0 takes a free one.

    Returns:
        The exit status.
    """
    console = Console(width=None if sys.stdout.isatty() else _FIXED_WIDTH, highlight=False)
    as_expected: bool | None = None
    try:
        with every_end_is_ctrl_c():
            from ext_proc.demo.curls import curls
            from ext_proc.demo.stack import Stack
            from ext_proc.demo.walk import walk

            with Stack(bundle or shipped("policies/bundles/demo.yaml"), port=port or None) as stack:
                console.print(f"Envoy listens on {stack.url}, Gatehouse's admin endpoint on {stack.admin_url}.\n")
                as_expected = asyncio.run(walk(stack, console))
                if not once:
                    stay(curls(stack), console)
    except DemoError as error:
        print(error, file=sys.stderr)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "ext_proc":
            raise
        print(f"The demo needs {package}: run `pip install 'gatehouse[demo]'`.", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
    return 0 if as_expected else 1


def stay(lines: Sequence[Line], console: Console) -> None:
    """Shows lines to paste and waits for Ctrl-C; returns never, for that raises KeyboardInterrupt."""
    console.print("\nTry it yourself, in another terminal:\n", style="bold")
    for line in lines:
        console.print(f"# {line.says}", style="dim", markup=False)
        # Neither wrapped nor marked up: it is to be pasted.
        print(line.command + "\n")
    console.print("The demo stays up until Ctrl-C.", style="bold")
    sys.stdout.flush()
    while True:
        signal.pause()
