"""A step is as expected only if both what the client saw and what is on record are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ext_proc.demo.asks import ADMIN, NOBODY, Seen
from ext_proc.demo.stack import Stack
from ext_proc.demo.steps import STEPS, Step
from tests.unit.demo.admin_stub import called


async def nothing(stack: Stack) -> Seen:
    return Seen("")


ALLOWED = Step("search", NOBODY, nothing, "runbook", ("tools/call", "search"), reason="rules[1]")
REFUSED = Step("search", NOBODY, nothing, "error", ("tools/call", "search"), "refused", "tool-not-allowed")
PASSED = Step("chat", NOBODY, nothing, "model-a", None)


def on_record(**changes: Any) -> dict[str, Any]:
    return called("t", **changes).as_dict()


def test_an_allowed_step_is_fulfilled_by_its_answer_and_its_decision() -> None:
    assert ALLOWED.is_fulfilled(Seen("the runbook"), on_record())


@pytest.mark.parametrize(
    ("seen", "decision"),
    [
        (Seen("nothing found"), on_record()),
        (Seen("the runbook"), None),
        (Seen("the runbook"), on_record(tool="docs.read")),
        (Seen("the runbook"), on_record(reason="default")),
        (Seen("the runbook"), on_record(denied=True)),
        (Seen("the runbook", trail="t"), on_record()),
    ],
    ids=["another answer", "not recorded", "another tool", "another reason", "denied", "a trail where none is due"],
)
def test_an_allowed_step_is_not_fulfilled_if_one_thing_differs(seen: Seen, decision: dict[str, Any] | None) -> None:
    assert not ALLOWED.is_fulfilled(seen, decision)


def test_a_refused_client_must_have_been_told_the_decision_s_trail() -> None:
    decision = on_record(reason="tool-not-allowed", denied=True)
    assert REFUSED.is_fulfilled(Seen("error", trail="t"), decision)
    assert not REFUSED.is_fulfilled(Seen("error", trail="another"), decision)
    assert not REFUSED.is_fulfilled(Seen("error"), decision)


def test_the_facts_that_a_step_demands_must_be_on_record_among_others() -> None:
    counting = replace(ALLOWED, facts={"input_tokens": 3})
    assert counting.is_fulfilled(Seen("runbook"), on_record() | {"facts": {"input_tokens": 3, "output_tokens": 8}})
    for facts in ({}, {"input_tokens": 4}, {"output_tokens": 3}):
        assert not counting.is_fulfilled(Seen("runbook"), on_record() | {"facts": facts})


def test_a_step_that_no_route_governs_must_have_left_no_decision() -> None:
    assert PASSED.is_fulfilled(Seen("This is model-a"), None)
    assert not PASSED.is_fulfilled(Seen("This is model-b"), None)
    assert not PASSED.is_fulfilled(Seen("This is model-a"), on_record())


def test_the_tour_shows_every_kind_of_end_on_both_wires() -> None:
    assert {"ok", "refused", "tool_error"} <= {step.outcome for step in STEPS}
    assert any(step.exchange is None for step in STEPS)
    # The same request of two callers ends in two ways: it is the caller that decides.
    deletions = {step.caller: step.outcome for step in STEPS if step.asked == "delete a file"}
    assert deletions.pop(ADMIN) == "ok"
    assert set(deletions.values()) == {"refused"}
    # Models are routed, and their tokens are counted, whole and streamed.
    chats = [step for step in STEPS if step.exchange is not None and step.exchange[0] == "chat"]
    assert {step.facts.get("upstream") for step in chats} >= {"model-a", "model-b"}
    assert sum("output_tokens" in step.facts for step in chats) == 2


def test_every_step_demands_something_of_the_answer_and_of_the_record() -> None:
    for step in STEPS:
        assert step.sees
        assert step.exchange is None or step.reason
