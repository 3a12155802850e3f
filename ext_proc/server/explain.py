"""`gatehouse explain`: the way of one decision, asked of a running process.

Rules:
- What a client wrote (a method, a tool's name) is shown with its control characters escaped: a terminal obeys them.

Not here: what is remembered, and for how long (telemetry/history.py).
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ext_proc.errors import GatehouseError
from ext_proc.server.address import AddressError, parse_tcp_address
from ext_proc.telemetry.history import SIZE

_SECONDS = 5.0
_LONGEST_ANSWER = 1024 * 1024  # bytes; a trail is bounded far below
_PIPE_WIDTH = 200
_STYLES = {"allow": "green", "change": "cyan", "deny": "bold red", "respond": "bold red", "error": "bold yellow"}


class _Unexplained(GatehouseError):
    """Why there is nothing to show, in a sentence."""


def explain(trail_id: str, admin: str) -> int:
    """Prints stages, policies, verdicts, reasons and durations of one decision.

    Args:
        trail_id: the id that a denied client was told, or one of the decision log.
        admin: the admin endpoint of the process that decided, HOST:PORT.

    Returns:
        The exit code: 0, or 1 with a sentence on standard error.
    """
    try:
        decision = _ask(trail_id, admin)
    except (_Unexplained, AddressError) as error:
        print(error, file=sys.stderr)
        return 1
    # What reads a pipe has no screen to fit.
    _show(decision, Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH))
    return 0


def _ask(trail_id: str, admin: str) -> dict[str, Any]:
    address = parse_tcp_address(admin)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_SECONDS)
    try:
        connection.request("GET", f"/decisions?id={quote(trail_id, safe='')}")
        answer = connection.getresponse()
        body = answer.read(_LONGEST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _Unexplained(f"no admin endpoint answers at {address}: {reason.lower()}") from error
    finally:
        connection.close()
    try:
        decisions = json.loads(body)["decisions"] if answer.status == 200 else None
    except (ValueError, KeyError, TypeError):
        decisions = None
    if not isinstance(decisions, list):
        raise _Unexplained(f"what answers at {address} is no admin endpoint of gatehouse (HTTP {answer.status})")
    if not decisions:
        raise _Unexplained(
            f"no decision {trail_id!r} at {address}: it keeps the last {SIZE:,} of its own; "
            "an older one, or one of another process, is in the decision log"
        )
    found: dict[str, Any] = decisions[0]
    return found


def _show(decision: dict[str, Any], console: Console) -> None:
    facts = Table.grid(padding=(0, 2))
    for label, key in (
        ("decision", "id"),
        ("recorded", "recorded"),
        ("region", "region"),
        ("revision", "revision"),
        ("route", "route"),
        ("protocol", "protocol"),
        ("method", "method"),
        ("target", "target"),
        ("caller", "kind"),
        ("subject", "subject"),
        ("actor", "actor"),
        ("status", "status"),
        ("outcome", "outcome"),
        ("ended", "cause"),
    ):
        if decision.get(key) and (key, decision[key]) != ("kind", "unknown"):
            facts.add_row(Text(label, "dim"), _shown(decision[key]))
    facts.add_row(Text("duration", "dim"), Text(f"{decision['duration_ms']} ms"))
    console.print(facts)
    way = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("stage", "policy", "verdict", "reason", "calls", "ms"):
        way.add_column(column, no_wrap=column not in ("policy", "reason"), overflow="fold")
    for entry in decision["entries"]:
        word = entry["verdict"] if entry["enforced"] else f"{entry['verdict']} (not enforced)"
        way.add_row(
            _shown(entry["stage"]),
            _shown(entry["policy"]),
            Text(word, _STYLES.get(entry["verdict"], "") if entry["enforced"] else "dim"),
            _shown(entry["reason"]),
            Text(str(entry["count"])),
            Text(f"{entry['duration_ms']:.3f}"),
        )
    console.print()
    if way.row_count:
        console.print(way)
    else:
        console.print("no policy had a say")
    if decision["dropped"]:
        console.print(f"and {decision['dropped']} more, not kept")
    for note in decision["notes"]:
        console.print(Text("note: ") + _shown(note))


def _shown(value: object) -> Text:
    """The value's text, every character that is not printable escaped."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)))
