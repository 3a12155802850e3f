"""What a policy may answer is looked at all the way down."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc import policy
from ext_proc.engine.verdicts import is_verdict
from ext_proc.headers import HeaderMutation
from ext_proc.messages import ToolCall
from ext_proc.testing import call

# Untyped here, for what a type checker would not let through is what is looked for.
Deny: Any = policy.Deny
Edit: Any = policy.Edit
Mutation: Any = policy.Mutation
Respond: Any = policy.Respond
Text: Any = policy.Text
TextDeny: Any = policy.TextDeny
Changes: Any = HeaderMutation

GOOD: list[Any] = [
    None,
    Mutation(),
    Mutation(Changes(set=(("x-a", b"1"), (":path", b"/x")), remove=("x-b",))),
    Mutation(message=ToolCall(call("a")), metadata={"a": [1, 2.5, None, {"b": True}]}, facts={"team": "search"}),
    Mutation(drop=True),
    Deny("no", "no"),
    Deny("no", "no", status=429, code=-1, data={"a": 1}, headers=(("Retry-After", "5"),), as_result=True),
    Respond(204, (("x", "y"),), b"body"),
]
BAD: list[Any] = [
    "yes",
    True,
    Text(1),
    Mutation(message="x"),
    Mutation(headers="x"),
    Mutation(Changes(set=(("X A", b"1"),))),
    Mutation(Changes(set=(("x-a", "text"),))),
    Mutation(Changes(remove=(5,))),
    Mutation(drop="yes"),
    Mutation(facts={"n": 5}),
    Mutation(facts={"N n": "x"}),
    Mutation(metadata={"n": 1j}),
    Mutation(metadata={5: "x"}),
    Deny(5, "no"),
    Deny("", "no"),
    Deny("no", None),
    Deny("no", "no", status=42),
    Deny("no", "no", code="x"),
    Deny("no", "no", data={"x": 1j}),
    Deny("no", "no", headers=(("a b", "c"),)),
    Deny("no", "no", headers=(("a", b"c"),)),
    Deny("\ud83d", "no"),
    Deny("no", "\ud83d"),
    Deny("no", "no", data={"x": ["\ud83d"]}),
    Deny("no", "no", headers=(("a", "\ud83d"),)),
    Deny("no", "no", headers=(("a", "b\r\nc: d"),)),
    Respond(200, body="text"),
    Respond(200, headers=(("a", "\ud83d"),)),
    Respond(200, reason="\ud83d"),
    Respond("200"),
]


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_a_verdict_is_one(value: Any) -> None:
    assert is_verdict(value, text=False)


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_what_could_not_be_written_is_none(value: Any) -> None:
    assert not is_verdict(value, text=False)


def test_metadata_that_holds_itself_is_none() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert not is_verdict(Mutation(metadata=endless), text=False)


def test_text_has_verdicts_of_its_own() -> None:
    for good in (None, Text(3), Text(float("inf"), (Edit(0, 1, "x"),)), TextDeny("no")):
        assert is_verdict(good, text=True)
    for bad in (
        Mutation(),
        Text("3"),
        Text(3, ("x",)),
        Text(3, None),
        Text(3, (Edit(0.5, 1, "x"),)),
        Text(3, (Edit(0, 1, "\ud83d"),)),
        Text(float("nan")),
        TextDeny(5),
        TextDeny("no", None),
        TextDeny("no", "no", "\ud83d"),
    ):
        assert not is_verdict(bad, text=True)
