"""`gatehouse usage` on the command line: what it hands on, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ext_proc import cli
from tests.unit.ledger.invoiced import COSTS, records, write

runner = CliRunner()


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(write(tmp_path / "usage.jsonl", records()))


def test_it_sums_by_the_model_unless_told_otherwise(ledger: str) -> None:
    result = runner.invoke(cli.app, ["usage", "--ledger", ledger, "--format", "json"])
    assert result.exit_code == 0
    assert [row["model_served"] for row in json.loads(result.stdout)] == ["", "gpt-5.1-2025-11-13"]
    result = runner.invoke(cli.app, ["usage", "--ledger", ledger, "--by", "subject", "--by", "day", "--format", "csv"])
    assert result.stdout.startswith("subject,day,exchanges,")
    assert runner.invoke(cli.app, ["usage", "--ledger", ledger, "--by", "subject,day", "--format", "csv"]).stdout == (
        result.stdout
    )
    result = runner.invoke(cli.app, ["usage", "--ledger", ledger, "--by", "subject,colour"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("a record has no field 'colour'; there are day,")


def test_it_lists_single_records(ledger: str) -> None:
    result = runner.invoke(cli.app, ["usage", "records", "--ledger", ledger, "--since", "2026-07-29"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


def test_it_reconciles_and_exits_with_1_where_something_differs(ledger: str) -> None:
    columns = ["--day", "start_time", "--cost", "amount_value"]
    result = runner.invoke(cli.app, ["usage", "reconcile", str(COSTS), "--ledger", ledger, *columns])
    assert (result.exit_code, result.stdout) == (0, "the ledger and the invoice agree\n")
    result = runner.invoke(
        cli.app, ["usage", "reconcile", str(COSTS), "--ledger", ledger, *columns, "--cost", "input_cached_tokens"]
    )
    assert result.exit_code == 1


def test_it_hands_on_how_numbers_are_written_and_in_which_currency(ledger: str, tmp_path: Path) -> None:
    invoice = tmp_path / "comma.csv"
    invoice.write_text('date,model,cost\n2026-07-29,gpt-5.1,"0,00325"\n')
    said = ["usage", "reconcile", str(invoice), "--ledger", ledger, "--input-tokens", "", "--output-tokens", ""]
    result = runner.invoke(cli.app, said)
    assert result.exit_code == 1
    assert "comma.csv:2: cost: expected a number, not '0," in result.stderr
    result = runner.invoke(cli.app, [*said, "--decimal", "comma", "--currency", "USD"])
    assert (result.exit_code, result.stdout) == (0, "the ledger and the invoice agree\n")
    assert runner.invoke(cli.app, [*said, "--decimal", "comma", "--currency", "EUR"]).exit_code == 1


def test_without_a_ledger_it_says_what_it_expects() -> None:
    result = runner.invoke(cli.app, ["usage"])
    assert result.exit_code == 1
    assert "expected --bundle or --ledger" in result.output
