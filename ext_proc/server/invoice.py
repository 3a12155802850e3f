"""`gatehouse usage reconcile`: compares a ledger's sums by day and model with a provider's export in CSV.

Rules:
- Which columns are the day, the model, the tokens and the cost is configurable, for every provider calls them
  otherwise. Several lines of one day and model are added up.
- A day is a UTC day: of the opening of a record, and of the time that stands in the line. An exchange over midnight may
  be the provider's next day.
- A model of the invoice fits the model served, else the one asked for: `gpt-5.1-2025-11-13` is billed as that, or as
  `gpt-5.1`. Dated names fit their undated one where only that is billed.
- What differs by more than `tolerance` is told; exit code 1 says that something does.

Not here: reading the ledger, sums (usage.py), how it is printed (usage_view.py).
"""

from __future__ import annotations

import csv
import datetime
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from ext_proc.ledger.record import LedgerError
from ext_proc.server.usage import DAY, Sums, UsageError, grouped, window_of
from ext_proc.server.usage_view import Layout, print_rows

MAX_LINES: Final = 1_000_000
# A date behind a model's name: -2025-11-13, -20251113 or @20251113.
_DATED = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$", re.ASCII)
_NO_NUMBER = re.compile(r"[^0-9.\-]")  # signs of currency, separators


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of an export are called; "" for one that it has not."""

    day: str
    model: str
    input: str
    output: str
    cost: str


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
                    sums.input_tokens += int(_number(line, columns.input))
                    sums.output_tokens += int(_number(line, columns.output))
                    sums.cost += _number(line, columns.cost)
                except ValueError as error:
                    raise UsageError(f"{path}:{number}: {error}") from None
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


def _compared(
    billed: Mapping[tuple[str, str], Billed], kept: Mapping[tuple[str, str], Sums], columns: Columns, tolerance: float
) -> Iterator[dict[str, Any]]:
    for day, model in sorted({*billed, *kept}):
        theirs, ours = billed.get((day, model)), kept.get((day, model), Sums())
        if theirs is None and not any(ours.tokens.values()):
            continue  # asked for and not served: nobody bills that
        theirs = theirs or Billed()
        cost = next(iter(ours.costs.values())) if len(ours.costs) == 1 else Decimal()
        pairs: Sequence[tuple[str, str, int | Decimal, int | Decimal]] = (
            ("input", columns.input, ours.tokens["input_tokens"], theirs.input_tokens),
            ("output", columns.output, ours.tokens["output_tokens"], theirs.output_tokens),
            ("cost", columns.cost, cost, theirs.cost),
        )
        differing = [name for name, column, a, b in pairs if column and _differ(Decimal(a), Decimal(b), tolerance)]
        row: dict[str, Any] = {"day": day, "model": model, "exchanges": ours.exchanges}
        for name, column, a, b in pairs:
            if column:
                row[f"{name}_ledger"], row[f"{name}_invoice"] = _plain(a), _plain(b)
        yield {**row, "difference": " ".join(differing)}


def _differ(ours: Decimal, theirs: Decimal, tolerance: float) -> bool:
    return abs(ours - theirs) > Decimal(str(tolerance)) * max(abs(ours), abs(theirs))


def _plain(value: int | Decimal) -> int | str:
    return value if isinstance(value, int) else f"{value.normalize():f}"


def _day(text: str | None) -> str:
    """The UTC day of a date, a time, or seconds since the Unix epoch."""
    text = (text or "").strip()
    try:
        if re.fullmatch(r"\d{9,11}", text, re.ASCII):
            time = datetime.datetime.fromtimestamp(int(text), datetime.UTC)
        else:
            time = datetime.datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(f"expected a day or a time, not {text!r}") from None
    return (time.astimezone(datetime.UTC) if time.tzinfo is not None else time).date().isoformat()


def _number(line: Mapping[str, str | None], column: str) -> Decimal:
    """What stands in a column, without signs of currency and separators; 0 where there is nothing."""
    if not column:
        return Decimal()
    text = (line[column] or "").strip().replace(",", "")
    for written in (text, _NO_NUMBER.sub("", text)):
        try:
            found = Decimal(written or "0")
        except InvalidOperation:
            continue
        if found.is_finite():
            return found
    raise ValueError(f"expected a number as {column}, not {line[column]!r}")
