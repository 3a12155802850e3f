"""`gatehouse usage`: what a ledger says, by any field and window, and its single records.

Rules:
- It reads the ledger that a bundle names, or a file, and changes nothing: the service may be running.
- Sums are exact: tokens are whole numbers, costs decimals; costs of different currencies are never added up. Records
  without a cost are counted as such, not as free.
- Every failure is one sentence on standard error, and exit code 1.

Not here: how it is printed (usage_view.py), invoices (invoice.py), what a record is (ext_proc/ledger), options
(cli.py).
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from ext_proc.bundle.load import examine
from ext_proc.errors import GatehouseError
from ext_proc.ledger.reading import Reading
from ext_proc.ledger.record import FIELDS, LedgerError, UsageRecord
from ext_proc.server.usage_view import Layout, print_rows
from ext_proc.units import parse_period

TYPE: Final = "usage"
TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
DAY: Final = "day"  # the one key that is no field: the UTC day of the opening
MAX_GROUPS: Final = 100_000
_LONGEST_COST = 64  # characters, and digits before or behind the point: no cost has more, and none is taken for one
_MOST_DIGITS = 30
_FILE_SINKS = ("sqlite", "jsonl")


class UsageError(GatehouseError):
    """Why there is no report, in a sentence."""


@dataclass(slots=True)
class Sums:
    """What the records of one group come to.

    Attributes:
        costs: by currency.
        unpriced: the records with tokens and without a cost.
    """

    exchanges: int = 0
    interrupted: int = 0
    open: int = 0
    estimated: int = 0
    unpriced: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    costs: dict[str, Decimal] = field(default_factory=dict)

    def add(self, record: UsageRecord) -> None:
        self.exchanges += 1
        self.interrupted += record.state == "interrupted"
        self.open += record.state == "open"
        self.estimated += record.counted == "estimated"
        for name in TOKENS:
            self.tokens[name] += getattr(record, name)
        cost = _decimal(record.cost)
        if cost is not None:
            self.costs[record.currency] = self.costs.get(record.currency, Decimal()) + cost
        elif record.input_tokens or record.output_tokens:
            self.unpriced += 1

    @property
    def cost_text(self) -> str:
        """The costs, each with its currency."""
        return " + ".join(f"{cost.normalize():f} {currency}".strip() for currency, cost in sorted(self.costs.items()))

    def as_dict(self) -> dict[str, Any]:
        """The sums by column."""
        return {
            "exchanges": self.exchanges,
            **self.tokens,
            "cost": self.cost_text,
            "unpriced": self.unpriced,
            "estimated": self.estimated,
            "interrupted": self.interrupted,
            "open": self.open,
        }


@dataclass(frozen=True, slots=True)
class Window:
    """Which ledger, and which part of it.

    Attributes:
        since, until: in seconds since the Unix epoch; None where that end is open.
    """

    readings: Sequence[Reading]
    since: float | None
    until: float | None

    def records(self) -> Iterator[UsageRecord]:
        for reading in self.readings:
            yield from reading.records(self.since, self.until)

    @property
    def skipped(self) -> int:
        return sum(reading.skipped for reading in self.readings)


def report(
    bundle: Path | None, ledger: Path | None, by: Sequence[str], since: str | None, until: str | None, layout: Layout
) -> int:
    """Prints sums by keys; the exit code."""

    def run(window: Window) -> None:
        keys = _keys(by)
        rows: list[Mapping[str, Any]] = []
        for values, sums in sorted(grouped(window.records(), keys).items()):
            rows.append({**dict(zip(keys, values, strict=True)), **sums.as_dict()})
        print_rows(rows, layout, "no records in this window")

    return _run(bundle, ledger, since, until, run)


def records(
    bundle: Path | None, ledger: Path | None, since: str | None, until: str | None, most: int, layout: Layout
) -> int:
    """Prints single records, the latest `most`; the exit code."""

    def run(window: Window) -> None:
        kept: list[UsageRecord] = []
        for record in window.records():
            kept.append(record)
            if len(kept) >= 2 * most:
                kept = sorted(kept, key=lambda one: one.opened)[-most:]
        rows = [as_row(record) for record in sorted(kept, key=lambda one: one.opened)[-most:]]
        print_rows(rows, layout, "no records in this window", brief=BRIEF)

    return _run(bundle, ledger, since, until, run)


# What a table shows of a record; the other formats show all.
BRIEF: Final = (
    "opened",
    "id",
    "state",
    "model_asked",
    "subject",
    "actor",
    "input_tokens",
    "output_tokens",
    "counted",
    "cost",
    "currency",
    "total_seconds",
    "outcome",
)


def grouped(found: Iterable[UsageRecord], keys: Sequence[str]) -> dict[tuple[str, ...], Sums]:
    """Sums by the values of `keys`.

    Raises:
        UsageError: there are too many groups to be held.
    """
    groups: dict[tuple[str, ...], Sums] = {}
    for record in found:
        values = tuple(_value(record, key) for key in keys)
        sums = groups.get(values)
        if sums is None:
            if len(groups) >= MAX_GROUPS:
                raise UsageError(f"more than {MAX_GROUPS} groups: use other keys, or a shorter window")
            sums = groups[values] = Sums()
        sums.add(record)
    return groups


def as_row(record: UsageRecord) -> dict[str, Any]:
    """All fields of a record, times as UTC texts."""
    found: dict[str, Any] = {"version": 1}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name in ("opened", "closed", "checkpointed", "first_token"):
            value = "" if value is None else _utc(value)
        elif name == "path":
            value = " ".join(value)
        found[name] = "" if value is None else value
    return found


def parse_time(text: str, now: float) -> float:
    """Seconds since the Unix epoch, of a time (ISO 8601; UTC unless it says otherwise) or of how long ago: "24h".

    Raises:
        UsageError: it is neither.
    """
    try:
        return now - parse_period(text)
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        message = f"expected how long ago, such as 24h or 7d, or a time such as 2026-07-28T12:00, not {text!r}"
        raise UsageError(message) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)).timestamp()


def paths_of(bundle: Path) -> list[Path]:
    """The files of a bundle's ledgers.

    Raises:
        UsageError: it has none that can be read.
    """
    examined = examine(bundle)
    if examined.bundle is None or examined.rulebook is None:
        raise UsageError("\n".join(f"{bundle}: error: {problem}" for problem in examined.problems))
    used = {name for route in examined.bundle.routes for name in route.policies}
    on = [part for part in examined.bundle.policies if part.name in used and part.mode != "off" and part.type == TYPE]
    ledgers = [part.parameters["ledger"] for part in on if isinstance(part.parameters.get("ledger"), Mapping)]
    written = [ledger["path"] for ledger in ledgers if ledger.get("sink") in _FILE_SINKS]
    if not written:
        raise UsageError(f"{bundle}: no policy of type {TYPE} on a route keeps its ledger in a file")
    return list(dict.fromkeys(bundle.absolute().parent / path for path in written))


def window_of(bundle: Path | None, ledger: Path | None, since: str | None, until: str | None) -> Window:
    """What is to be read.

    Raises:
        UsageError: it is not said, or cannot be.
    """
    if ledger is not None:
        paths = [ledger]
    elif bundle is not None:
        paths = paths_of(bundle)
    else:
        raise UsageError("expected --bundle or --ledger")
    now = time.time()
    ends = [None if text is None else parse_time(text, now) for text in (since, until)]
    return Window([Reading(path) for path in paths], *ends)


def _run(
    bundle: Path | None, ledger: Path | None, since: str | None, until: str | None, doing: Callable[[Window], None]
) -> int:
    try:
        window = window_of(bundle, ledger, since, until)
        doing(window)
    except (UsageError, LedgerError) as error:
        print(error, file=sys.stderr)
        return 1
    if window.skipped:
        print(f"{window.skipped} lines or rows are no usage records, and were passed over", file=sys.stderr)
    return 0


def _keys(by: Sequence[str]) -> Sequence[str]:
    """The fields, of which one text may name several: "tenant,day"."""
    keys = tuple(dict.fromkeys(key.strip() for text in by for key in text.split(",")))
    for key in keys:
        if key != DAY and key not in FIELDS:
            raise UsageError(f"a record has no field {key!r}; there are {DAY}, {', '.join(FIELDS)}")
    return keys


def _value(record: UsageRecord, key: str) -> str:
    if key == DAY:
        return _utc(record.opened)[:10]
    value: Any = 1 if key == "version" else getattr(record, key)
    if key == "path":
        return " ".join(value)
    return "" if value is None else str(value)


def _decimal(text: str) -> Decimal | None:
    try:
        found = Decimal(text) if 0 < len(text) <= _LONGEST_COST else None
    except InvalidOperation:
        return None
    if found is None or not found.is_finite() or abs(found.adjusted()) > _MOST_DIGITS:
        return None
    return found


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
