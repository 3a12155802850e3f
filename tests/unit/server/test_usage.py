"""`gatehouse usage`: sums by any field and window, single records, and sentences where there is no report."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from ext_proc.ledger.record import FIELDS, Counted
from ext_proc.server import usage
from ext_proc.server.usage import UsageError, parse_time, report
from ext_proc.server.usage import records as show_records
from ext_proc.server.usage_view import Layout
from tests.unit.ledger.invoiced import CHAT, DAY, ended, records, write
from tests.unit.ledger.keeping import OPENED, record, started

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: metered}
routes:
  - {name: models, match: {path: /v1}, protocol: openai, policies: [meter]}
policies:
  - {name: meter, type: usage, parameters: {}}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write(tmp_path / "usage.jsonl", records())


def told(capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_sums_are_by_the_fields_that_were_asked_for(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(None, ledger, ["subject", "model_served"], None, None, Layout.JSON) == 0
    rows = {(row["subject"], row["model_served"]): row for row in told(capsys)}
    assert rows["bob", "gpt-5.1-2025-11-13"] == {
        "subject": "bob",
        "model_served": "gpt-5.1-2025-11-13",
        "exchanges": 3,
        "input_tokens": 3400,
        "output_tokens": 800,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost": "0.01225 USD",
        "unpriced": 0,
        "estimated": 0,
        "interrupted": 0,
        "open": 0,
    }
    assert rows["alice", "gpt-5.1-2025-11-13"]["cached_tokens"] == 800
    assert rows["", ""]["exchanges"] == 2


def test_fields_may_stand_in_one_text(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(None, ledger, ["subject, day", "state", "day"], None, None, Layout.JSON) == 0
    assert [*told(capsys)[0]][:4] == ["subject", "day", "state", "exchanges"]


def test_a_window_is_of_the_opening_and_a_day_is_utc(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(None, ledger, ["day"], "2026-07-29", "2026-07-30", Layout.JSON) == 0
    assert [(row["day"], row["exchanges"]) for row in told(capsys)] == [("2026-07-29", 1)]
    assert report(None, ledger, ["day"], None, None, Layout.JSON) == 0
    assert [(row["day"], row["exchanges"]) for row in told(capsys)] == [("2026-07-28", 5), ("2026-07-29", 1)]


def test_costs_of_two_currencies_are_not_added_up_and_what_has_none_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        ended("1", cost="0.1", currency="EUR", input_tokens=1),
        ended("2", cost="0.2", currency="EUR", input_tokens=1),
        ended("3", cost="1", currency="USD", input_tokens=1),
        ended("4", input_tokens=1, counted=Counted.ESTIMATED),
        ended("5", cost="NaN", currency="USD", input_tokens=1),
        ended("8", cost="1e999999", currency="USD", input_tokens=1),
        ended("9", cost="0." + "1" * 99, currency="USD", input_tokens=1),
        record("6").interrupted(),
        record("7"),
    ]
    report(None, write(tmp_path / "usage.jsonl", found), ["route"], None, None, Layout.JSON)
    (row,) = told(capsys)
    assert (row["cost"], row["unpriced"]) == ("0.3 EUR + 1 USD", 4)
    assert (row["exchanges"], row["estimated"], row["interrupted"], row["open"]) == (9, 1, 1, 1)


def test_single_records_are_the_latest_and_have_all_fields(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_records(None, ledger, None, None, 2, Layout.JSON) == 0
    rows = told(capsys)
    assert [row["id"] for row in rows][-1] == "5"
    assert len(rows) == 2
    assert set(rows[0]) == set(FIELDS)
    assert rows[-1]["opened"] == "2026-07-29T12:00:00.000+00:00"


def test_csv_can_be_read_again(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_records(None, ledger, None, None, 100, Layout.CSV) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["id"], row["cost"]) for row in rows if row["subject"] == "alice"] == [("1", "0.0045")]


async def test_the_ledger_of_a_running_service_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = await started(tmp_path / "usage.db")
    await file.open(record("running", **CHAT))
    assert report(None, tmp_path / "usage.db", ["state"], None, None, Layout.JSON) == 0
    assert [(row["state"], row["open"]) for row in told(capsys)] == [("open", 1)]
    await file.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", OPENED - DAY),
        ("7d", OPENED - 7 * DAY),
        ("2026-07-28", OPENED - DAY / 2),
        ("2026-07-28T14:00+02:00", OPENED),
        ("2026-07-28T12:00:00Z", OPENED),
    ],
)
def test_a_time_is_how_long_ago_or_iso_8601(text: str, expected: float) -> None:
    assert parse_time(text, OPENED) == expected


def test_what_is_no_time_is_told() -> None:
    with pytest.raises(UsageError, match="expected how long ago, such as 24h"):
        parse_time("yesterday", OPENED)


def test_a_window_that_ends_now_has_what_is_opened_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "usage.jsonl", [ended("old"), ended("new", time.time())])
    report(None, path, ["id"], "1h", None, Layout.JSON)
    assert [row["id"] for row in told(capsys)] == ["new"]


def sentence(capsys: pytest.CaptureFixture[str], code: int) -> str:
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    return err


def test_why_there_is_no_report_is_a_sentence(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(bundle: Path | None, path: Path | None, by: str = "model_served") -> str:
        return sentence(capsys, report(bundle, path, [by], None, None, Layout.TABLE))

    assert said(None, None) == "expected --bundle or --ledger\n"
    assert said(None, tmp_path / "none") == f"cannot read {tmp_path}/none: No such file or directory\n"
    assert said(None, ledger, "colour").startswith("a record has no field 'colour'; there are day, version, id,")
    assert said(None, ledger, "day,colour").startswith("a record has no field 'colour'; there are day, version, id,")
    assert said(None, ledger, "day,").startswith("a record has no field ''; there are day,")
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(BUNDLE)
    assert "keeps its ledger in a file" in said(bundle, None)
    bundle.write_text("apiVersion: none")
    assert "error" in said(bundle, None)


def test_more_groups_than_can_be_held_are_refused(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(usage, "MAX_GROUPS", 2)
    assert "more than 2 groups" in sentence(capsys, report(None, ledger, ["id"], None, None, Layout.TABLE))


def test_what_was_passed_over_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "usage.jsonl", records())
    with path.open("ab") as file:
        file.write(b"no record\n")
    assert report(None, path, ["day"], None, None, Layout.JSON) == 0
    assert capsys.readouterr().err == "1 lines or rows are no usage records, and were passed over\n"


def test_a_bundle_names_its_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(BUNDLE.replace("{}", "{ledger: {sink: jsonl, path: usage.jsonl}}"))
    write(tmp_path / "usage.jsonl", records())
    assert report(bundle, None, ["day"], None, None, Layout.JSON) == 0
    assert len(told(capsys)) == 2
