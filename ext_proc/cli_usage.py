"""The commands of `gatehouse usage`: options in, reports out.

Rules: those of cli.py.

Not here: what a report says (server/usage.py, server/invoice.py).
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

usage = typer.Typer(name="usage", help="What was used and what it cost, by the ledger.", invoke_without_command=True)


class Rows(enum.StrEnum):
    """How `usage` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class DecimalMark(enum.StrEnum):
    """What stands before decimals."""

    POINT = "point"
    COMMA = "comma"


Bundle = Annotated[
    Path | None, typer.Option("--bundle", help="The bundle whose ledger is meant.", envvar="GATEHOUSE_BUNDLE")
]
Ledger = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="A ledger, in place of the bundle's: its SQLite file, or lines of JSON.",
        envvar="GATEHOUSE_LEDGER",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(help="From when on: how long ago (24h, 7d), or a time (ISO 8601, UTC).", envvar="GATEHOUSE_SINCE"),
]
Until = Annotated[str | None, typer.Option(help="Until when, in the same words.", envvar="GATEHOUSE_UNTIL")]
Printed = Annotated[Rows, typer.Option("--format", help="How to print it.", envvar="GATEHOUSE_FORMAT")]


@usage.callback()
def report(
    context: typer.Context,
    bundle: Bundle = None,
    ledger: Ledger = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help='Fields of a record, or "day": --by tenant,day, or a --by for each. The model served unless given.',
            envvar="GATEHOUSE_BY",
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    output: Printed = Rows.TABLE,
) -> None:
    """Sums tokens and costs, by any fields of the records."""
    if context.invoked_subcommand is not None:
        return
    from ext_proc.server import usage as reporting
    from ext_proc.server.usage_view import Layout

    raise typer.Exit(reporting.report(bundle, ledger, by or ["model_served"], since, until, Layout(output)))


@usage.command("records")
def list_records(
    bundle: Bundle = None,
    ledger: Ledger = None,
    since: Since = None,
    until: Until = None,
    most: Annotated[
        int, typer.Option(help="How many, the latest ones.", envvar="GATEHOUSE_MOST", min=1, max=1_000_000)
    ] = 100,
    output: Printed = Rows.TABLE,
) -> None:
    """Lists single records; a table shows some of their fields, CSV and JSON all."""
    from ext_proc.server import usage as reporting
    from ext_proc.server.usage_view import Layout

    raise typer.Exit(reporting.records(bundle, ledger, since, until, most, Layout(output)))


@usage.command("reconcile")
def reconcile(
    invoice: Annotated[Path, typer.Argument(help="A provider's export, as CSV.", envvar="GATEHOUSE_INVOICE")],
    bundle: Bundle = None,
    ledger: Ledger = None,
    day: Annotated[str, typer.Option(help="The column of the day or time.", envvar="GATEHOUSE_DAY")] = "date",
    model: Annotated[str, typer.Option(help="The column of the model.", envvar="GATEHOUSE_MODEL")] = "model",
    input_tokens: Annotated[
        str, typer.Option(help="The column of input tokens; empty for none.", envvar="GATEHOUSE_INPUT_TOKENS")
    ] = "input_tokens",
    output_tokens: Annotated[
        str, typer.Option(help="The column of output tokens; empty for none.", envvar="GATEHOUSE_OUTPUT_TOKENS")
    ] = "output_tokens",
    cost: Annotated[
        str, typer.Option(help="The column of the cost; empty for none.", envvar="GATEHOUSE_COST")
    ] = "cost",
    decimal: Annotated[
        DecimalMark | None,
        typer.Option(help="What stands before decimals, where the numbers do not show it.", envvar="GATEHOUSE_DECIMAL"),
    ] = None,
    currency: Annotated[
        str,
        typer.Option(help="The invoice's currency, where the ledger has several.", envvar="GATEHOUSE_CURRENCY"),
    ] = "",
    tolerance: Annotated[
        float, typer.Option(help="The part of a sum that may differ.", envvar="GATEHOUSE_TOLERANCE", min=0.0, max=1.0)
    ] = 0.0,
    every: Annotated[bool, typer.Option("--all", help="Also what agrees.", envvar="GATEHOUSE_ALL")] = False,
    output: Printed = Rows.TABLE,
) -> None:
    """Compares the ledger's sums by day and model with an invoice's; exit code 1 where they differ."""
    from ext_proc.server import invoice as reconciling
    from ext_proc.server.amounts import Mark
    from ext_proc.server.usage_view import Layout

    mark = Mark(decimal) if decimal is not None else None
    columns = reconciling.Columns(day, model, input_tokens, output_tokens, cost, mark, currency)
    layout = Layout(output)
    raise typer.Exit(
        reconciling.reconcile(invoice, bundle, ledger, columns, tolerance=tolerance, every=every, layout=layout)
    )
