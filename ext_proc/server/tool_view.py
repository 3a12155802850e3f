"""How pins are shown to people: a table, and what would be approved against what was, line by line.

Rules:
- A definition is shown as it is kept, in its canonical form, one member to a line; a text with line feeds has a line
  for each, so that a changed sentence is a changed line.
- What a server wrote is shown with every character that people do not see written out: nothing of it reaches a
  terminal as a command, and nothing is hidden from who approves.
- Colours are for a terminal alone; what reads a pipe has no screen to fit.
- To compare takes time by the square of the lines: of more than `_COMPARED` the new text is shown whole.

Not here: what is approved, and how (tools.py).
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ext_proc.pins.canonical import PREFIX
from ext_proc.pins.records import QUARANTINED, Pin, Version
from ext_proc.scanning.visible import visible

SHOWN = 12  # digits of a digest in a table; as many are enough to approve it
INSTRUCTIONS = "(instructions)"  # what stands for a tool's name; no plain name has brackets

_PIPE_WIDTH = 200
_CONTEXT = 3  # lines around a change
_COMPARED = 4000  # lines of a definition
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class Row:
    """A pinned tool, or a server's instructions.

    Attributes:
        tool: None for the instructions.
    """

    server: str
    tool: str | None
    pin: Pin

    @property
    def name(self) -> str:
        if self.tool is None:
            return INSTRUCTIONS
        # A tool cannot be called what the instructions are.
        return visible(f'"{self.tool}"' if self.tool.startswith("(") else self.tool)

    @property
    def shown(self) -> Version:
        """The definition that this is about: what waits, or what was approved last."""
        if self.pin.state == QUARANTINED and self.pin.offered:
            return self.pin.offered[-1]
        return (*self.pin.offered, *self.pin.approved)[-1]


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def console() -> Console:
    """Standard output."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def show_table(rows: Sequence[Row], out: Console) -> None:
    """Prints a line for each."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("server", "tool", "state", "why", "digest", "since", "by"):
        table.add_column(column, no_wrap=column not in ("tool", "why"), overflow="fold")
    for row in rows:
        table.add_row(
            Text(visible(row.server)),
            Text(row.name),
            Text(row.pin.state, "bold red" if row.pin.state == QUARANTINED else "green"),
            Text(", ".join(row.pin.why)),
            Text(row.shown.digest[:SHOWN]),
            Text(_time(row.pin.since)),
            Text(visible(row.shown.by)),
        )
    out.print(table)


def as_json(rows: Sequence[Row]) -> str:
    """The rows for programs: ASCII, with escapes for all else."""
    found = [
        {
            "server": row.server,
            "tool": row.tool,
            "state": row.pin.state,
            "why": list(row.pin.why),
            "since": _time(row.pin.since),
            "approved": [_version(version) for version in row.pin.approved],
            "pending": [_version(version) for version in row.pin.offered],
        }
        for row in rows
    ]
    return json.dumps(found, indent=2).replace("\x7f", "\\u007f")  # which JSON leaves as it is


def show_diff(row: Row, shown: Version, forms: Mapping[str, bytes | None], out: Console) -> None:
    """Prints a definition against what was approved last; all of it where there is only one of the two.

    Args:
        shown: of the row's.
        forms: the canonical forms of both, by digest; None for one that is not kept.
    """
    pin = row.pin
    out.print(Text(f"{visible(row.server)} {row.name}: {pin.state} since {_time(pin.since)}", "bold"))
    if pin.why:
        out.print(Text(f"why: {', '.join(pin.why)}"))
    before = pin.approved[-1] if pin.approved and pin.approved[-1].digest != shown.digest else None
    if before is not None:
        approver = f", approved {_time(before.at)} by {visible(before.by)}" if before.by else ""
        out.print(Text(f"--- {PREFIX}{before.digest}{approver}", "red"))
    out.print(Text(f"+++ {PREFIX}{shown.digest}, first listed {_time(shown.since)}", "green"))
    for other in pin.offered:
        if other.digest != shown.digest:
            out.print(Text(f"also waits: {PREFIX}{other.digest}, first listed {_time(other.since)}", "yellow"))
    after, old = forms.get(shown.digest), None if before is None else forms.get(before.digest)
    if after is None:
        out.print(Text("its text is not kept: it is too large, or there was no more room", "yellow"))
    else:
        lines, old_lines = lines_of(after), [] if old is None else lines_of(old)
        if old_lines and max(len(lines), len(old_lines)) <= _COMPARED:
            _show_changes(old_lines, lines, out)
        else:
            if before is not None:
                gone = "is not kept" if old is None else "is too long to be compared, or this one is"
                out.print(Text(f"the text that was approved {gone}", "yellow"))
            for line in lines:
                out.print(Text(f"+{line}", _STYLES["+"]), soft_wrap=True)
    out.print()


def lines_of(form: bytes) -> list[str]:
    """The lines that a canonical form is shown as; none of them has a character that people do not see."""
    value = json.loads(form, parse_int=_Number, parse_float=_Number)
    return [visible(line) for line in _lines(value, "", "")]


def _show_changes(old: list[str], new: list[str], out: Console) -> None:
    changes = list(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""))[2:]
    for line in changes:
        out.print(Text(line, _STYLES.get(line[:1], "")), soft_wrap=True)
    if not changes:
        out.print(Text("they are shown alike, and differ all the same: compare the digests", "yellow"))


def _lines(value: Any, indent: str, lead: str, end: str = "") -> Iterator[str]:
    """JSON over lines: `lead` stands before the value, `end` behind it."""
    if isinstance(value, dict | list) and value:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        yield f"{indent}{lead}{opening}"
        inner = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        for position, (key, item) in enumerate(inner):
            label = "" if key is None else f"{_text(key)}: "
            yield from _lines(item, indent + "  ", label, "," if position + 1 < len(value) else "")
        yield f"{indent}{closing}{end}"
    elif isinstance(value, str) and not isinstance(value, _Number):
        first, *rest = _text(value, "\n").split("\n")
        yield f"{indent}{lead}{first}{'' if rest else end}"
        for position, line in enumerate(rest):
            yield f"{indent}  {line}{'' if position + 1 < len(rest) else end}"
    else:
        written = value if isinstance(value, _Number) else json.dumps(value)
        yield f"{indent}{lead}{written}{end}"


def _text(text: str, after_each_line: str = "") -> str:
    """A JSON string; with a break behind each line feed that is written in it, if asked for."""
    parts = [json.dumps(part, ensure_ascii=False)[1:-1] for part in text.split("\n")]
    return '"' + f"\\n{after_each_line}".join(parts) + '"'


def _version(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = {"digest": PREFIX + version.digest, "since": _time(version.since), "kept": version.size > 0}
    if version.by:
        found |= {"by": version.by, "at": _time(version.at)}
    return found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
