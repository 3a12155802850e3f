"""How `gatehouse usage` prints rows: as a table, CSV or JSON.

Rules:
- A cell of CSV that a spreadsheet would take for a formula, as names from clients may be made to look, gets a quote in
  front (OWASP, CSV injection). What a terminal would obey is written out.
- A table is for people and may leave columns out; CSV and JSON have all.

Not here: what is in the rows (usage.py, invoice.py).
"""

from __future__ import annotations

import csv
import enum
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ext_proc.scanning.visible import visible

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Layout(enum.StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def print_rows(
    rows: Sequence[Mapping[str, Any]], layout: Layout, nothing: str, *, brief: Sequence[str] | None = None
) -> None:
    """Prints rows, which all have the same columns.

    Args:
        nothing: what a table says where there are none.
        brief: the columns of a table; all unless given.
    """
    if layout is Layout.JSON:
        print(json.dumps(list(rows), indent=2))
    elif layout is Layout.CSV:
        if rows:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows([_harmless(value) for value in row.values()] for row in rows)
    elif rows:
        _print_table(rows, brief or list(rows[0]))
    else:
        print(nothing)


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        numbers = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(visible(str(row[column]))) for column in columns))
    written = io.StringIO()
    Console(file=written, width=10_000, color_system=None).print(table)
    print("\n".join(line.rstrip() for line in written.getvalue().splitlines()))


def _harmless(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
