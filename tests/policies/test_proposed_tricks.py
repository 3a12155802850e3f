"""Answers that tell a call in two ways, for two readers: whatever a client could take it for is held to the rules.

Rules:
- The rule is `args.page < 3`; page 7 is what must not be put together by anybody.

Not here: calls that are told in one way (test_proposed_calls.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.testing import Played
from gatehouse_policies.tool_access import Parameters, ToolAccess
from tests.policies.proposing import WAYS, answered
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_building as o
from tests.unit.codecs import openai_responses_building as r

RULES: list[dict[str, Any]] = [{"tools": ["read"], "allow": "args.page < 3"}]
LOW, HIGH = '{"page": 1}', '{"page": 7}'


def judged(name: str, body: bytes, proposals: str = "deny", rules: Any = None) -> Played:
    parameters = {"rules": RULES if rules is None else rules, "proposals": proposals}
    return answered(WAYS[name], body, ToolAccess("access", Parameters.model_validate(parameters)))


def left(played: Played) -> bytes:
    assert played.client is not None
    return played.client.body


def item(arguments: str) -> dict[str, Any]:
    called = {"id": "fc", "type": "function_call", "call_id": "c", "name": "read", "arguments": arguments}
    return {**called, "status": "completed"}


def told(last: str, **members: Any) -> dict[str, Any]:
    return r.event(f"response.function_call_arguments.{last}", item_id="fc", output_index=0, **members)


def responses(*late: Any, inner: Any = (), done: str = LOW, last: str = LOW) -> bytes:
    return r.stream(
        *r.begins({**item(""), "status": "in_progress"}),
        told("delta", delta=LOW),
        *inner,
        r.event("response.output_item.done", output_index=0, item=item(done)),
        *late,
        r.event("response.completed", response=r.answer(item(last))),
    )


def block(page: int | None = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": "t", "name": "read", "input": {} if page is None else {"page": page}}


def piece(text: str, kind: str = "input_json_delta") -> dict[str, Any]:
    return a.delta(0, type=kind, partial_json=text)


def chat(**call: Any) -> dict[str, Any]:
    return o.chunk({"tool_calls": [{"index": 0, **call}]})


ENDED = o.chunk(finish="tool_calls")
TRICKS: dict[str, tuple[str, bytes]] = {
    "the whole answer says it otherwise": ("responses streamed", responses(last=HIGH)),
    "the item says it otherwise": ("responses streamed", responses(done=HIGH)),
    "the item is done twice": (
        "responses streamed",
        responses(r.event("response.output_item.done", output_index=0, item=item(HIGH))),
    ),
    "told again by name, later": ("responses streamed", responses(told("done", name="read", arguments=HIGH))),
    "told again without a name, later": ("responses streamed", responses(told("done", arguments=HIGH))),
    "told again without a name, at once": ("responses streamed", responses(inner=[told("done", arguments=HIGH)])),
    "told again by another name": ("responses streamed", responses(told("done", name="search", arguments=HIGH))),
    "pieces that clients pass over, around one that they take": (
        "anthropic streamed",
        a.story(a.begin(block()), piece('{"page":1,"x":', "x_delta"), piece(HIGH), piece("}", "x_delta"), a.ends()),
    ),
    "only a piece that clients pass over": (
        "anthropic streamed",
        a.story(a.begin(block(7)), piece(LOW, "x_delta"), a.ends()),
    ),
    "pieces behind what it began with": ("anthropic streamed", a.story(a.begin(block(7)), piece(LOW), a.ends())),
    "what it began with before pieces": ("anthropic streamed", a.story(a.begin(block(1)), piece(HIGH), a.ends())),
    "begun twice": ("anthropic streamed", a.story(a.begin(block(1)), a.begin(block(7)), a.ends())),
    "begun again": ("anthropic streamed", a.story(a.begin(block(1)), a.ends(), a.begin(block(7)), a.ends())),
    "plain input among the arguments": (
        "chat streamed",
        o.stream(
            chat(function={"name": "read", "arguments": " "}),
            chat(custom={"input": '{"page":1,"x":'}),
            chat(function={"arguments": HIGH}),
            chat(custom={"input": "}"}),
            ENDED,
        ),
    ),
    "named as both kinds": (
        "chat streamed",
        o.stream(
            chat(function={"name": "read", "arguments": HIGH}, custom={"name": "read", "input": LOW}),
            ENDED,
        ),
    ),
    "a call that goes on behind its choice": (
        "chat streamed",
        o.stream(chat(function={"name": "read", "arguments": LOW}), ENDED, chat(function={"arguments": HIGH})),
    ),
    "a call without a name of its own": (
        "gemini streamed",
        g.stream(
            g.answer(g.candidate({"functionCall": {"name": "read", "args": {"page": 1}}})),
            g.answer(g.candidate({"functionCall": {"args": {"page": 7}}})),
            g.says("", "STOP"),
        ),
    ),
}


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("proposals", ["deny", "strip"])
def test_no_reader_is_left_a_call_that_the_rules_deny(trick: str, proposals: str) -> None:
    name, body = TRICKS[trick]
    out = left(judged(name, body, proposals)).replace(b"\\", b"").replace(b" ", b"")
    assert b'"page":7' not in out


def test_an_input_beside_the_arguments_of_a_function_is_none() -> None:
    called = {"name": "read", "arguments": HIGH, "input": "x"}
    call = {"id": "c", "type": "function", "function": called}
    lenient = [{"tools": ["read"], "allow": "!has(args.page) || args.page < 3"}]
    body = o.encoded(o.whole({"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls"))
    assert b"read" not in left(judged("chat", body, "strip", lenient))


def test_what_was_taken_out_before_a_name_is_not_judged_with_what_came_behind_it() -> None:
    rules = [{"tools": ["shell"], "allow": "args.input.startsWith('#')"}]
    body = o.stream(chat(custom={"input": "# "}), chat(custom={"name": "shell", "input": "rm -rf /"}), ENDED)
    assert b"rm -rf" not in left(judged("chat streamed", body, "strip", rules))
