"""`gatehouse usage reconcile`: compares a ledger's sums by day and model with a provider's export in CSV.

Rules:
- Which columns are the day, the model, the tokens and the cost is configurable, for every provider calls them
  otherwise. Several lines of one day and model are added up.
- A day is a UTC day: of the opening of a record, and of the time that stands in the line. An exchange over midnight may
  be the provider's next day.
- A model of the invoice fits the model served, else the one asked for: `gpt-5.1-2025-11-13` is billed as that, or as
  `gpt-5.1`. Dated names fit their undated one where only that is billed.
- What differs by more than `tolerance` is told; exit code 1 says that something does.
- An invoice is of one currency. Where the ledger has costs of several for a day and model they are not comparable until
  `--currency` says which: that is a difference, and is said. Costs of others are then not compared, which is said too.

Not here: reading the ledger, sums (usage.py), how numbers are written (amounts.py), how it is printed (usage_view.py).
"""

from __future__ import annotations

import csv
import datetime
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from ext_proc.ledger.record import LedgerError
from ext_proc.server.amounts import LONGEST, Mark, read_amount, read_count
from ext_proc.server.usage import DAY, Sums, UsageError, grouped, window_of
from ext_proc.server.usage_view import Layout, print_rows

_N = TypeVar("_N", int, Decimal)

MAX_LINES: Final = 1_000_000
# A date behind a model's name: -2025-11-13, -20251113 or @20251113.
_DATED = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of an export are called, "" for one that it has not; and how what stands in them is meant.

    Attributes:
        mark: what stands before decimals; None where that is not said.
        currency: of the costs; "" where that is not said.
    """

    day: str
    model: str
    input: str
    output: str
    cost: str
    mark: Mark | None = None
    currency: str = ""


@dataclass(slots=True)
class Billed:
    """What an invoice says of one day and model."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = field(default_factory=Decimal)


def reconcile(
    invoice: Path,
    bundle: Path | None,
    ledger: Path | None,
    columns: Columns,
    *,
    tolerance: float,
    every: bool,
    layout: Layout,
) -> int:
    """Prints where the ledger and an invoice differ; the exit code: 1 where they do.

    Args:
        tolerance: the part of a figure by which the two may differ, e.g. 0.01.
        every: whether what agrees is printed too.
    """
    try:
        billed = read_invoice(invoice, columns)
        if not billed:
            raise UsageError(f"{invoice}: there is no line in it")
        days = sorted(day for day, _ in billed)
        until = datetime.date.fromisoformat(days[-1]) + datetime.timedelta(days=1)
        window = window_of(bundle, ledger, days[0], until.isoformat())
        kept = _by_billed_model(grouped(window.records(), (DAY, "model_served", "model_asked")), billed)
    except (UsageError, LedgerError) as error:
        print(error, file=sys.stderr)
        return 1
    if columns.cost:
        _say_currencies(kept, columns)
    rows = list(_compared(billed, kept, columns, tolerance))
    differing = [row for row in rows if row["difference"]]
    print_rows(rows if every else differing, layout, "the ledger and the invoice agree")
    agree = len(rows) - len(differing)
    print(f"{agree} of {len(rows)} sums by day and model agree within {tolerance:.2%}", file=sys.stderr)
    return 1 if differing else 0


def read_invoice(path: Path, columns: Columns) -> dict[tuple[str, str], Billed]:
    """The sums of an export by day and model.

    Raises:
        UsageError: it cannot be read, or a line of it.
    """
    billed: dict[tuple[str, str], Billed] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            wanted = (columns.day, columns.model, columns.input, columns.output, columns.cost)
            missing = [name for name in wanted if name and name not in (reader.fieldnames or ())]
            if missing:
                there = ", ".join(reader.fieldnames or ()) or "none"
                raise UsageError(f"{path}: no column {', '.join(missing)}; there are {there}")
            for number, line in enumerate(reader, 2):
                if number > MAX_LINES:
                    raise UsageError(f"{path}: more than {MAX_LINES} lines")
                try:
                    key = (_day(line[columns.day]), (line[columns.model] or "").strip())
                    sums = billed.setdefault(key, Billed())
                    sums.input_tokens += _read(read_count, line, columns.input, columns)
                    sums.output_tokens += _read(read_count, line, columns.output, columns)
                    sums.cost += _read(read_amount, line, columns.cost, columns)
                except ValueError as error:
                    raise UsageError(f"{path}:{reader.line_num}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return billed


def _by_billed_model(
    kept: Mapping[tuple[str, ...], Sums], billed: Mapping[tuple[str, str], Billed]
) -> dict[tuple[str, str], Sums]:
    """The ledger's sums by day, and by the model that they are billed as."""
    found: dict[tuple[str, str], Sums] = {}
    for (day, served, asked), sums in kept.items():
        names = [name for name in (served, asked) if name]
        names += [_DATED.sub("", name) for name in names]
        model = next((name for name in names if (day, name) in billed), next(iter(names), ""))
        into = found.setdefault((day, model), Sums())
        into.exchanges += sums.exchanges
        for name, count in sums.tokens.items():
            into.tokens[name] += count
        for currency, cost in sums.costs.items():
            into.costs[currency] = into.costs.get(currency, Decimal()) + cost
    return found


def _say_currencies(kept: Mapping[tuple[str, str], Sums], columns: Columns) -> None:
    """Says which costs of the ledger cannot be compared, or are not."""
    found = sorted({currency for sums in kept.values() for currency in sums.costs} - {columns.currency})
    if columns.currency and found:
        print(f"not compared: the ledger's costs in {', '.join(map(_named, found))}", file=sys.stderr)
    elif len(found) > 1:
        said = ", ".join(map(_named, found))
        print(f"the ledger has costs in {said}: --currency says which the invoice is in", file=sys.stderr)


def _named(currency: str) -> str:
    return currency or "no currency"


def _cost(sums: Sums, currency: str) -> Decimal | str:
    """What the ledger has to be compared; a text where that is in several currencies."""
    if currency:
        return sums.costs.get(currency, Decimal())
    if len(sums.costs) > 1:
        return sums.cost_text
    return next(iter(sums.costs.values()), Decimal())


def _compared(
    billed: Mapping[tuple[str, str], Billed], kept: Mapping[tuple[str, str], Sums], columns: Columns, tolerance: float
) -> Iterator[dict[str, Any]]:
    for day, model in sorted({*billed, *kept}):
        theirs, ours = billed.get((day, model)), kept.get((day, model), Sums())
        if theirs is None and not any(ours.tokens.values()):
            continue  # asked for and not served: nobody bills that
        theirs = theirs or Billed()
        pairs: Sequence[tuple[str, str, int | Decimal | str, int | Decimal]] = (
            ("input", columns.input, ours.tokens["input_tokens"], theirs.input_tokens),
            ("output", columns.output, ours.tokens["output_tokens"], theirs.output_tokens),
            ("cost", columns.cost, _cost(ours, columns.currency), theirs.cost),
        )
        differing = [name for name, column, a, b in pairs if column and _differ(a, b, tolerance)]
        row: dict[str, Any] = {"day": day, "model": model, "exchanges": ours.exchanges}
        for name, column, a, b in pairs:
            if column:
                row[f"{name}_ledger"], row[f"{name}_invoice"] = _plain(a), _plain(b)
        yield {**row, "difference": " ".join(differing)}


def _differ(ours: int | Decimal | str, theirs: int | Decimal, tolerance: float) -> bool:
    if isinstance(ours, str):
        return True
    ours, theirs = Decimal(ours), Decimal(theirs)
    return abs(ours - theirs) > Decimal(str(tolerance)) * max(abs(ours), abs(theirs))


def _plain(value: int | Decimal | str) -> int | str:
    return value if isinstance(value, int | str) else f"{value.normalize():f}"


def _day(text: str | None) -> str:
    """The UTC day of a date, a time, or seconds since the Unix epoch."""
    text = (text or "").strip()
    try:
        if re.fullmatch(r"\d{9,11}", text, re.ASCII):
            time = datetime.datetime.fromtimestamp(int(text), datetime.UTC)
        else:
            time = datetime.datetime.fromisoformat(text.removesuffix(" UTC"))
        day = (time.astimezone(datetime.UTC) if time.tzinfo is not None else time).date()
        day + datetime.timedelta(days=1)  # which ends the window
    except (ValueError, OverflowError):
        raise ValueError(f"expected a day or a time, not {text[:LONGEST]!r}") from None
    return day.isoformat()


def _read(read: Callable[[str, Mark | None], _N], line: Mapping[str, str | None], column: str, columns: Columns) -> _N:
    """What stands in a column; 0 where there is none."""
    try:
        return read((line[column] or "") if column else "", columns.mark)
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
