"""`gatehouse usage reconcile`: where a ledger and a provider's export differ, by day and model."""

from __future__ import annotations

import dataclasses
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ext_proc.ledger.record import UsageRecord
from ext_proc.server.amounts import Mark
from ext_proc.server.invoice import Billed, Columns, read_invoice, reconcile
from ext_proc.server.usage import UsageError
from ext_proc.server.usage_view import Layout
from tests.unit.ledger.invoiced import CHAT, COSTS, DAY, ended, records, write
from tests.unit.ledger.keeping import OPENED

COLUMNS = Columns("start_time", "model", "input_tokens", "output_tokens", "amount_value")
SIMPLE = Columns("date", "model", "input_tokens", "output_tokens", "cost")
HEAD = "date,model,input_tokens,output_tokens,cost\n"
CHAT_DAY = ("2026-07-28", "gpt-5.1-2025-11-13")


def compared(
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    invoice: Path = COSTS,
    columns: Columns = COLUMNS,
    tolerance: float = 0.0,
    every: bool = False,
    says: str = "agree within",
) -> tuple[int, list[dict[str, Any]]]:
    code = reconcile(invoice, None, ledger, columns, tolerance=tolerance, every=every, layout=Layout.JSON)
    out, err = capsys.readouterr()
    assert says in err
    return code, json.loads(out)


def test_a_ledger_that_has_all_agrees_with_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = write(tmp_path / "usage.jsonl", records())
    assert compared(ledger, capsys) == (0, [])
    code, rows = compared(ledger, capsys, every=True)
    assert [(row["day"], row["model"], row["difference"]) for row in rows] == [
        (*CHAT_DAY, ""),
        ("2026-07-28", "text-embedding-3-small", ""),
        ("2026-07-29", "gpt-5.1-2025-11-13", ""),
    ]
    assert (code, rows[0]["input_ledger"], rows[0]["cost_invoice"]) == (0, 3600, "0.0135")


def test_what_is_missing_on_either_side_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [record for record in records() if record.id != "3"]
    found.append(ended("7", OPENED + DAY, model_asked="other", input_tokens=5, cost="1", currency="USD"))
    code, rows = compared(write(tmp_path / "usage.jsonl", found), capsys)
    assert code == 1
    assert [(row["day"], row["model"], row["difference"]) for row in rows] == [
        (*CHAT_DAY, "input output cost"),
        ("2026-07-29", "other", "input cost"),
    ]
    assert (rows[0]["input_ledger"], rows[0]["input_invoice"]) == (2400, 3600)


def test_a_tolerance_is_a_part_of_the_larger_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def more(record: UsageRecord) -> UsageRecord:
        return msgspec.structs.replace(record, input_tokens=record.input_tokens * 101 // 100)

    ledger = write(tmp_path / "usage.jsonl", [more(record) for record in records()])
    assert compared(ledger, capsys, tolerance=0.01) == (0, [])
    assert compared(ledger, capsys, tolerance=0.005)[0] == 1


def test_what_is_billed_by_the_undated_name_fits_the_dated_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invoice = tmp_path / "invoice.csv"
    invoice.write_text(HEAD + "2026-07-28,gpt-5.1,10,1,0.1\n")
    served: dict[str, Any] = {**CHAT, "model_asked": "alias"}
    ledger = write(tmp_path / "usage.jsonl", [ended("1", input_tokens=10, output_tokens=1, cost="0.1", **served)])
    assert compared(ledger, capsys, invoice=invoice, columns=SIMPLE) == (0, [])


def test_a_column_that_an_export_has_not_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invoice = tmp_path / "invoice.csv"
    invoice.write_text("date,model,input_tokens\n2026-07-28,gpt-5.1,10\n")
    ledger = write(tmp_path / "usage.jsonl", [ended("1", input_tokens=10, output_tokens=7, **CHAT)])
    columns = Columns("date", "model", "input_tokens", "", "")
    code, (row,) = compared(ledger, capsys, invoice=invoice, columns=columns, every=True)
    assert code == 0
    assert "cost_ledger" not in row


@pytest.mark.parametrize("day", ["2026-07-28", "2026-07-28T23:00:00Z", "2026-07-29T01:00+02:00", "1785240000"])
def test_days_are_read_in_the_words_of_several_providers(tmp_path: Path, day: str) -> None:
    (tmp_path / "invoice.csv").write_text("\ufeff" + HEAD + f'{day},m,"1,200",3,"€ 1,000.50"\n{day},m,,1,1e-05\n')
    billed = read_invoice(tmp_path / "invoice.csv", SIMPLE)
    assert list(billed) == [("2026-07-28", "m")]
    sums = billed["2026-07-28", "m"]
    assert (sums.input_tokens, sums.output_tokens, sums.cost) == (1200, 4, Decimal("1000.50001"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day,model\n", "no column date, input_tokens, output_tokens, cost; there are day, model"),
        (HEAD + "soon,m,1,1,1\n", "invoice.csv:2: expected a day or a time, not 'soon'"),
        (HEAD + "2026-07-28,m,many,1,1\n", "invoice.csv:2: input_tokens: expected a whole number, not 'many'"),
        (
            HEAD + '2026-07-28,"a\nb",1,1,1\n2026-07-28,m,1,1,1..2\n',
            "invoice.csv:4: cost: expected a number, not '1..2'",
        ),
        (HEAD + "2026-07-28,m,1e999999,1,1\n", "invoice.csv:2: input_tokens: expected a whole number, not '1e999999'"),
        (HEAD + "2026-07-28,m,1,1,1e999999\n", "invoice.csv:2: cost: expected a number, not '1e999999'"),
        (HEAD + '2026-07-28,m,1,1,"0,30"\n', "invoice.csv:2: cost: expected a number, not '0,30'; say --decimal comma"),
        (
            HEAD + '2026-07-28,m,1,1,"1,234"\n',
            "invoice.csv:2: cost: '1,234' may be two numbers: say --decimal point or",
        ),
        (HEAD + "9999-12-31,m,1,1,1\n", "invoice.csv:2: expected a day or a time, not '9999-12-31'"),
        (HEAD + "0001-01-01T00:00+02:00,m,1,1,1\n", "invoice.csv:2: expected a day or a time, not '0001-01-01T00"),
    ],
)
def test_an_export_that_cannot_be_read_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "invoice.csv").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_invoice(tmp_path / "invoice.csv", SIMPLE)


def test_numbers_are_read_by_the_mark_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "invoice.csv").write_text(HEAD + '2026-07-28,m,"1.200",3,"1.000,50"\n2026-07-28,m,,,"0,25"\n')
    billed = read_invoice(tmp_path / "invoice.csv", dataclasses.replace(SIMPLE, mark=Mark.COMMA))
    assert billed["2026-07-28", "m"] == Billed(1200, 3, Decimal("1000.75"))


@pytest.fixture
def two_currencies(tmp_path: Path) -> Path:
    """A ledger whose one model cost something in each of two."""
    served: dict[str, Any] = {**CHAT, "input_tokens": 10, "output_tokens": 1}
    dear, cheap = {**served, "cost": "0.2", "currency": "EUR"}, {**served, "cost": "0.3", "currency": "USD"}
    return write(tmp_path / "usage.jsonl", [ended("1", **dear), ended("2", **cheap)])


def test_costs_in_two_currencies_are_not_compared_as_nothing(
    tmp_path: Path, two_currencies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cost in ("0", "0.2", "0.5"):
        (tmp_path / "invoice.csv").write_text(HEAD + f"2026-07-28,gpt-5.1,20,2,{cost}\n")
        says = "the ledger has costs in EUR, USD: --currency says which the invoice is in\n"
        code, (row,) = compared(two_currencies, capsys, invoice=tmp_path / "invoice.csv", columns=SIMPLE, says=says)
        assert (code, row["difference"], row["cost_ledger"]) == (1, "cost", "0.2 EUR + 0.3 USD")


def test_costs_are_compared_in_the_currency_that_is_said(
    tmp_path: Path, two_currencies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "invoice.csv").write_text(HEAD + "2026-07-28,gpt-5.1,20,2,0.3\n")
    for currency, others, differs in (("USD", "EUR", False), ("EUR", "USD", True), ("GBP", "EUR, USD", True)):
        columns = dataclasses.replace(SIMPLE, currency=currency)
        says = f"not compared: the ledger's costs in {others}\n"
        code, _ = compared(two_currencies, capsys, invoice=tmp_path / "invoice.csv", columns=columns, says=says)
        assert code == differs


def test_a_line_that_ends_early_has_nothing_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "invoice.csv").write_text(HEAD + "2026-07-28,m\n")
    assert read_invoice(tmp_path / "invoice.csv", SIMPLE) == {("2026-07-28", "m"): Billed()}


def test_what_cannot_be_compared_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = write(tmp_path / "usage.jsonl", records())
    (tmp_path / "empty.csv").write_text(HEAD)

    def said(invoice: Path, path: Path | None) -> str:
        code = reconcile(invoice, None, path, SIMPLE, tolerance=0.0, every=False, layout=Layout.TABLE)
        out, err = capsys.readouterr()
        assert (code, out) == (1, "")
        return err

    assert "there is no line in it" in said(tmp_path / "empty.csv", ledger)
    assert "cannot read" in said(tmp_path / "none.csv", ledger)
    (tmp_path / "good.csv").write_text(HEAD + "2026-07-28,m,1,1,1\n")
    assert said(tmp_path / "good.csv", None) == "expected --bundle or --ledger\n"
