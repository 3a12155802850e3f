"""The codecs' benchmark: it reads what it says it reads, and its figures are medians."""

from __future__ import annotations

import json

import pytest

from tests.bench.codecs import FORMATS, Case, Figure, cases, main, measure, table


def test_every_format_every_way_requests_and_mcp_have_a_case() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    assert {f"{name} event, {way}" for name in FORMATS for way in ("decode", "usage", "guard")} < set(names)
    assert {"chat request, model read", "chat request, hosted tools read"} < set(names)
    assert {"tools/call request", "tools/call answer, JSON", "tools/call answer, SSE"} < set(names)


def test_every_case_runs_and_so_does_its_yardstick() -> None:
    for case in cases():
        figure = measure(case, rounds=1, passes=1)
        assert (figure.units, figure.bytes_each) == (case.units, case.size // case.units)
        assert figure.micros > 0, case.name
        assert figure.yardstick > 0, case.name


def test_a_figure_is_the_median_over_the_rounds_per_unit() -> None:
    took = iter([9_000_000, 2_000, 90_000, 4_000])  # the first is what is made once
    figure = measure(Case("one", lambda: next(took), lambda: 1_000, units=2, size=20), rounds=3, passes=1)
    assert figure == Figure("one", units=2, bytes_each=10, micros=2.0, yardstick=0.5, ratio=4.0)


def test_a_table_has_a_row_for_each_figure() -> None:
    assert "| one | 2 | 10 | 2.0 | 0.50 | 4.0 |" in table([Figure("one", 2, 10, 2.0, 0.5, 4.0)])


def test_the_figures_are_json_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1", "--passes", "1", "--only", "tools/call", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [figure["units"] for figure in figures] == [1, 1, 1]
    assert all(figure["micros"] > 0 for figure in figures)
