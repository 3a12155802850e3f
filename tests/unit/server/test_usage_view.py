"""Rows of a report: for people, for spreadsheets, for programs."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ext_proc.server.usage_view import Layout, print_rows

ROWS = [{"name": "alice", "tokens": 3}, {"name": "=cmd()", "tokens": 12}, {"name": "a\x1b[31m", "tokens": 1}]


def printed(layout: Layout, capsys: pytest.CaptureFixture[str], brief: list[str] | None = None) -> str:
    print_rows(ROWS, layout, "none", brief=brief)
    return capsys.readouterr().out


def test_a_table_has_a_line_for_each_row_and_obeys_none(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(Layout.TABLE, capsys).splitlines()
    assert lines[0].split() == ["name", "tokens"]
    assert lines[1].split() == ["alice", "3"]
    assert "\x1b" not in lines[3]


def test_a_table_may_leave_columns_out_and_the_others_have_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "tokens" not in printed(Layout.TABLE, capsys, ["name"])
    assert json.loads(printed(Layout.JSON, capsys, ["name"])) == ROWS


def test_a_spreadsheet_finds_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(Layout.CSV, capsys))))
    assert [row["name"] for row in rows][:2] == ["alice", "'=cmd()"]
    assert rows[1]["tokens"] == "12"


@pytest.mark.parametrize(("layout", "expected"), [("table", "nothing\n"), ("csv", ""), ("json", "[]\n")])
def test_where_there_is_nothing_it_says_so(layout: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], Layout(layout), "nothing")
    assert capsys.readouterr().out == expected
