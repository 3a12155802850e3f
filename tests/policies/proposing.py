"""Answers that propose calls, in every format, whole and streamed; and which calls a client finds in what came back.

Rules:
- What a client finds is read as official clients read it: pieces go together by their index.

Not here: what is decided (test_proposed_calls.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.policy import Policy
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through
from tests.exchange.test_cutting import cut_at
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_building as o
from tests.unit.codecs import openai_responses_building as r
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import encoded

Call = tuple[str, Mapping[str, Any]]
CHAT = Format(o.CODEC, "/v1/chat/completions", o.asking(), frozenset({"chat_completions"}))


@dataclass(frozen=True)
class Way:
    """A format, whole or streamed.

    Attributes:
        says: the body of an answer that says "hello" and proposes calls.
        found: the calls in what a client got, and why its answer ended.
    """

    form: Format
    path: str
    streams: bool
    says: Callable[[Sequence[Call]], bytes]
    found: Callable[[bytes], tuple[list[Call], str]]
    kind: str = "application/json"
    ended: tuple[str, str] = ("", "")  # with calls, and without


def function(name: str, arguments: Mapping[str, Any], index: int) -> dict[str, Any]:
    called = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": called}


def data_of(body: bytes) -> list[Any]:
    """The values of a stream's events."""
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def chat_whole(calls: Sequence[Call]) -> bytes:
    listed = [function(name, arguments, n) for n, (name, arguments) in enumerate(calls)]
    message = {"role": "assistant", "content": "hello", "tool_calls": listed}
    return encoded(o.whole(message, finish="tool_calls"))


def chat_stream(calls: Sequence[Call]) -> bytes:
    values = [o.chunk({"role": "assistant", "content": "hello"})]
    for index, (name, arguments) in enumerate(calls):
        begun = function(name, arguments, index)
        begun["function"] = {"name": name, "arguments": ""}
        values.append(o.chunk({"tool_calls": [begun]}))
        text = json.dumps(arguments)
        for part in (text[:3], text[3:]):
            values.append(o.chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    return o.stream(*values, o.chunk(finish="tool_calls"))


def chat_found(body: bytes) -> tuple[list[Call], str]:
    choice = json.loads(body)["choices"][0]
    calls = [each["function"] for each in choice["message"].get("tool_calls") or ()]
    return [(call["name"], json.loads(call["arguments"])) for call in calls], choice["finish_reason"]


def chat_stream_found(body: bytes) -> tuple[list[Call], str]:
    calls: list[list[str]] = []
    finish = ""
    for value in data_of(body):
        for choice in value["choices"]:
            finish = choice["finish_reason"] or finish
            for piece in choice["delta"].get("tool_calls") or ():
                assert piece["index"] <= len(calls), "clients count without gaps"
                if piece["index"] == len(calls):
                    calls.append(["", ""])
                calls[piece["index"]][0] += piece["function"].get("name") or ""
                calls[piece["index"]][1] += piece["function"].get("arguments") or ""
    return [(name, json.loads(text or "{}")) for name, text in calls], finish


def tool_use(name: str, arguments: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}


def anthropic_whole(calls: Sequence[Call]) -> bytes:
    blocks = [tool_use(name, arguments, n) for n, (name, arguments) in enumerate(calls)]
    return encoded(a.whole(a.text("hello"), *blocks, stop="tool_use"))


def anthropic_stream(calls: Sequence[Call]) -> bytes:
    inner = [a.begin(a.text("")), a.says("hello"), a.ends()]
    for index, (name, arguments) in enumerate(calls, 1):
        text = json.dumps(arguments)
        inner.append(a.begin(tool_use(name, {}, index), index))
        inner += [a.delta(index, type="input_json_delta", partial_json=part) for part in (text[:3], text[3:])]
        inner.append(a.ends(index))
    return a.story(*inner, stop="tool_use")


def anthropic_found(body: bytes) -> tuple[list[Call], str]:
    value = json.loads(body)
    calls = [(block["name"], block["input"]) for block in value["content"] if block["type"] == "tool_use"]
    return calls, value["stop_reason"]


def anthropic_stream_found(body: bytes) -> tuple[list[Call], str]:
    blocks: list[dict[str, Any]] = []
    stop = ""
    for value in data_of(body):
        if value["type"] == "content_block_start":
            assert value["index"] == len(blocks), "clients count without gaps"
            blocks.append({**value["content_block"], "json": ""})
        elif value["type"] == "content_block_delta":
            blocks[value["index"]]["json"] += value["delta"].get("partial_json", "")
        elif value["type"] == "message_delta":
            stop = value["delta"]["stop_reason"]
    return [(block["name"], json.loads(block["json"] or "{}")) for block in blocks if block["type"] == "tool_use"], stop


def item(name: str, arguments: Mapping[str, Any], number: int, **fields: Any) -> dict[str, Any]:
    called = {"call_id": f"call_{number}", "name": name, "arguments": json.dumps(arguments), "status": "completed"}
    return {"id": f"fc_{number}", "type": "function_call", **called, **fields}


def responses_whole(calls: Sequence[Call]) -> bytes:
    return encoded(r.answer(r.says("hello"), *(item(*call, n) for n, call in enumerate(calls, 1))))


def responses_stream(calls: Sequence[Call]) -> bytes:
    values = r.talk("hello")[:-1]
    items = [item(*call, n) for n, call in enumerate(calls, 1)]
    for index, each in enumerate(items, 1):
        where = {"output_index": index, "item_id": each["id"]}
        text, stem = each["arguments"], "response.function_call_arguments"
        begun = {**each, "arguments": "", "status": "in_progress"}
        values.append(r.event("response.output_item.added", output_index=index, item=begun))
        values += [r.event(f"{stem}.delta", **where, delta=part) for part in (text[:3], text[3:])]
        values.append(r.event(f"{stem}.done", **where, name=each["name"], arguments=text))
        values.append(r.event("response.output_item.done", output_index=index, item=each))
    return r.stream(*values, r.event("response.completed", response=r.answer(r.says("hello"), *items)))


def responses_found(body: bytes) -> tuple[list[Call], str]:
    value = json.loads(body)
    return _called(value["output"]), value["status"]


def _called(items: Sequence[Any]) -> list[Call]:
    return [(each["name"], json.loads(each["arguments"])) for each in items if each["type"] == "function_call"]


def responses_stream_found(body: bytes) -> tuple[list[Call], str]:
    items: dict[int, Any] = {}
    status, last = "", None
    for value in data_of(body):
        kind = value["type"]
        if "item" in value:
            items[value["output_index"]] = dict(value["item"])
        elif kind == "response.function_call_arguments.delta":
            items[value["output_index"]]["arguments"] += value["delta"]
        elif kind in ("response.completed", "response.incomplete"):
            status, last = value["response"]["status"], _called(value["response"]["output"])
    found = _called([items[index] for index in sorted(items)])
    assert status != "completed" or last == found, "the whole answer says the same"
    return found, status


def gemini_parts(calls: Sequence[Call]) -> list[Any]:
    return [
        {"functionCall": {"name": name, "args": arguments}, "thoughtSignature": "c2ln"} for name, arguments in calls
    ]


def gemini_whole(calls: Sequence[Call]) -> bytes:
    return encoded(g.answer(g.candidate({"text": "hello"}, *gemini_parts(calls), finish="STOP")))


def _gemini_values(calls: Sequence[Call]) -> list[Any]:
    return [g.says("hello"), *(g.answer(g.candidate(part)) for part in gemini_parts(calls)), g.says("", "STOP")]


def gemini_found(body: bytes) -> tuple[list[Call], str]:
    values = (
        [json.loads(body)] if body.startswith(b"{") else json.loads(body) if body.startswith(b"[") else data_of(body)
    )
    calls: list[Call] = []
    finish = ""
    for value in values:
        for candidate in value["candidates"]:
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts", ()):
                if "functionCall" in part:
                    calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
    return calls, finish


def offered(name: str, functions: Mapping[str, Any]) -> Any:
    """Functions with their schemas, as a way's format offers them."""
    listed = functions.items()
    match name.split(" ")[0]:
        case "chat":
            return [{"type": "function", "function": {"name": each, "parameters": schema}} for each, schema in listed]
        case "responses":
            return [{"type": "function", "name": each, "parameters": schema} for each, schema in listed]
        case "anthropic":
            return [{"name": each, "input_schema": schema} for each, schema in listed]
        case _:
            own = [{"name": each, "parametersJsonSchema": schema} for each, schema in listed]
            return [{"functionDeclarations": own}]


EVENTS = "text/event-stream"
_CHAT, _CLAUDE, _DONE = ("tool_calls", "stop"), ("tool_use", "end_turn"), ("completed", "completed")
_STOP = ("STOP", "STOP")
WAYS: dict[str, Way] = {
    "chat": Way(CHAT, CHAT.path, False, chat_whole, chat_found, ended=_CHAT),
    "chat streamed": Way(CHAT, CHAT.path, True, chat_stream, chat_stream_found, EVENTS, _CHAT),
    "responses": Way(r.RESPONSES, "/v1/responses", False, responses_whole, responses_found, ended=_DONE),
    "responses streamed": Way(
        r.RESPONSES, "/v1/responses", True, responses_stream, responses_stream_found, EVENTS, _DONE
    ),
    "anthropic": Way(a.ANTHROPIC, "/v1/messages", False, anthropic_whole, anthropic_found, ended=_CLAUDE),
    "anthropic streamed": Way(
        a.ANTHROPIC, "/v1/messages", True, anthropic_stream, anthropic_stream_found, EVENTS, _CLAUDE
    ),
    "gemini": Way(g.GEMINI, g.WHOLE, False, gemini_whole, gemini_found, ended=_STOP),
    "gemini streamed": Way(
        g.GEMINI, g.STREAMED, True, lambda calls: g.stream(*_gemini_values(calls)), gemini_found, EVENTS, _STOP
    ),
    "gemini in an array": Way(
        g.GEMINI, g.STREAMED, True, lambda calls: g.array(*_gemini_values(calls)), gemini_found, ended=_STOP
    ),
}


def answered(
    way: Way,
    body: bytes,
    *policies: Policy[Any, Any] | Binding,
    where: Sequence[int] = (),
    claims: Mapping[str, Any] | None = None,
    server: str = "",
    tools: Any = None,
) -> Played:
    """Plays one exchange whose answer is `body`, and whose request offers `tools`, as its format writes them."""
    bound = [policy if isinstance(policy, Binding) else Binding(policy) for policy in policies]
    pipeline = Pipeline(bound, lambda: 0.0)
    route = Route("llm", RouteMatch(path="/"), way.form.codec.name, (way.form.codec,), pipeline, server=server)
    asked = way.form.asked if tools is None else {**way.form.asked, "tools": tools}
    sent = HttpRequest(encoded(asked), path=way.path, headers={"content-type": "application/json"})
    if claims is not None:
        sent.claims = dict(claims)
    answer = HttpResponse(body, headers={"content-type": way.kind}, sized=not way.streams)
    return pass_through(Rulebook("test", "r1", (route,)), sent, answer, lambda raw: cut_at(raw, list(where)))
