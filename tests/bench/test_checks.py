"""The checks before the figures: they pass where all is right, and fail where a filter is not there."""

from __future__ import annotations

import pytest

from tests.bench.cases import cases
from tests.bench.checks import Checked, WrongAnswer, check, require_same_plan
from tests.bench.variants import DIRECT, GATEHOUSE, VARIANTS, Running


def _as_if(name: str, port: int) -> Running:
    """The bare upstream in the place of a variant's Envoy."""
    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    return Running(variant, port, "http://127.0.0.1:0", 0, None)


def test_an_envoy_that_changes_nothing_passes(upstream_port: int) -> None:
    found = check(_as_if(DIRECT, upstream_port), cases())
    assert found.lengths["tools/call 300 B"] == 300
    assert found.messages == {}


def test_a_gatehouse_that_lets_a_denied_call_pass_is_no_gatehouse(upstream_port: int) -> None:
    with pytest.raises(WrongAnswer, match="a denied call was not refused"):
        check(_as_if(GATEHOUSE, upstream_port), ())


def test_a_gatehouse_that_hides_no_tools_is_no_gatehouse(upstream_port: int) -> None:
    listing = [case for case in cases() if case.answer == "list"]
    with pytest.raises(WrongAnswer, match="not hidden"):
        check(_as_if(GATEHOUSE, upstream_port), listing)


def test_processors_that_are_asked_different_things_are_not_compared() -> None:
    same = {"a": Checked({}, {"call": (4.0, 4.0)}), "b": Checked({}, {"call": (4.0, 4.0)}), "direct": Checked({}, {})}
    require_same_plan(same)
    with pytest.raises(WrongAnswer, match="different things"):
        require_same_plan({**same, "c": Checked({}, {"call": (2.0, 2.0)})})
