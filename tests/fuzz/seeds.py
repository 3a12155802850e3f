"""What fuzzing starts from: for each target, inputs that already get far into the code.

Rules:
- Everything is made from tests/data/ and a few lines here, the same in every run.
- No part of a seed is longer than LONGEST: what is slow to read finds little.
- Where an input begins with choices, the first seeds choose what is ordinary, and each body comes with others too.

Not here: what must hold of them (*_laws.py), how they are changed (mutations.py, or libFuzzer).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from ext_proc.wire.pb.external_processor_pb2 import ProcessingRequest
from ext_proc.wire.pb.processing_mode_pb2 import ProcessingMode
from tests.fuzz.framing_laws import CODINGS, coded
from tests.fuzz.inputs import joined

DATA = Path(__file__).parents[1] / "data"
LONGEST = 4096  # bytes
_CHOICES = 16  # bytes
Exchange = tuple[bytes, bytes]  # the bodies of a request and of its answer


@cache
def _recorded(folder: str, pattern: str, api: str = "") -> Sequence[Exchange]:
    """Recorded exchanges, of one API or of any."""
    found = []
    for path in sorted((DATA / folder).glob(pattern)):
        value = json.loads(path.read_text(encoding="utf-8"))
        if api and value["api"] != api:
            continue
        asked = (value["request_body"] or "").encode()
        found.append((asked[:LONGEST], _shortened(base64.b64decode(value["response_body_base64"]))))
    return found


def _shortened(answer: bytes) -> bytes:
    """An answer whose stream keeps its first events and its last."""
    events = [event + end for event, end in re.findall(rb"(.*?)(\n\n|\r\n\r\n|\Z)", answer, re.DOTALL)]
    if len(answer) <= LONGEST or len(events) < 4:
        return answer[:LONGEST]
    first, last = b"", b""
    while events and len(first) + len(last) + len(events[0]) <= LONGEST:
        first += events.pop(0)
        if events and len(first) + len(last) + len(events[-1]) <= LONGEST:
            last = events.pop() + last
    return first + last


def chats() -> Sequence[Exchange]:
    """Recorded chat completions, whole and streamed."""
    return _recorded("streams", "*.json")


@cache
def responses() -> Sequence[Exchange]:
    """Recorded responses, and one made up with every copy of a text."""
    return [*_recorded("recorded", "0[67]?-*.json", api="responses"), (_json({"model": "m", "input": "the"}), _talk())]


def _talk() -> bytes:
    """A stream of one message, as OpenAI sends it."""
    where, part = {"output_index": 0, "content_index": 0}, {"type": "output_text", "text": "the secret"}
    item = {"type": "message", "id": "i", "content": [part]}
    answer = {"object": "response", "id": "r", "model": "m", "status": "completed", "output": [item]}
    values = [
        {"type": "response.created", "response": {**answer, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        *({"type": "response.output_text.delta", **where, "delta": text} for text in ("the se", "cret")),
        {"type": "response.output_text.done", **where, "text": "the secret"},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": answer},
    ]
    return b"".join(b"data: " + _json(value) + b"\n\n" for value in values)


def completions() -> Sequence[Exchange]:
    """Recorded completions of the older API, and some made up."""
    choices = [{"index": 0, "text": "the secret", "logprobs": {"tokens": ["the"]}, "finish_reason": "stop"}]
    asked = {"model": "m", "prompt": ["the", "secret"], "suffix": "the", "max_tokens": 5}
    answer = _json({"object": "text_completion", "model": "m", "choices": choices})
    found = _recorded("recorded", "*.json", api="completions_legacy")
    return [*found, (_json(asked), answer), (_json({**asked, "prompt": [1, 2]}), answer)]


def vectors() -> Sequence[Exchange]:
    """Recorded embeddings, and some made up."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    answer = _json({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    inputs: list[Any] = ["the", ["the", "a"], [1, 2], [[1], [2]], [{"content": [{"type": "text", "text": "the"}]}]]
    made_up = [(_json({"model": "m", "input": each}), answer) for each in inputs]
    return [*_recorded("recorded", "*.json", api="embeddings"), *made_up]


def messages() -> Sequence[Exchange]:
    """Recorded exchanges of Anthropic's format."""
    return _recorded("recorded", "*-anthropic*.json")


@cache
def contents() -> Sequence[Exchange]:
    """Recorded exchanges of Gemini's format; the streams as arrays too."""
    found = list(_recorded("recorded", "*-google*.json"))
    streams = [(asked, answer) for asked, answer in found if answer.startswith(b"data:")]
    return found + [(asked, b"[" + b",".join(re.findall(rb"data: (.*)\r", answer)) + b"]") for asked, answer in streams]


@cache
def tool_calls() -> Sequence[Exchange]:
    """Exchanges of MCP, recorded and made up, in JSON and in events."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {"q": "é"}}}
    lists = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    tools = {"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": "delete_file"}, {"name": "search"}]}}
    result = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "a secret"}]}}
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "broken"}}
    notes = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    exchanges: list[tuple[Any, list[Any]]] = [
        (call, [result]),
        (call, [notes, result]),
        (call, [error]),
        (lists, [tools]),
        ([call, lists], [[result, tools]]),
        ([call, lists], [tools, notes, result]),
        (notes, []),
    ]
    found = list(_recorded("mcp", "stream-*.json"))
    for asked, answers in exchanges:
        found.append((_json(asked), b"".join(b"data: " + _json(answer) + b"\r\n\r\n" for answer in answers)))
        found += [(_json(asked), _json(answer)) for answer in answers]
    return found


@cache
def agent_tasks() -> Sequence[Exchange]:
    """Exchanges of A2A, made up, of both versions, in JSON and in events."""
    said = {"messageId": "m", "contextId": "c", "parts": [{"text": "the secret"}, {"data": {"a": ["the"]}}]}
    working, done = ({"state": f"TASK_STATE_{word}", "message": said} for word in ("WORKING", "COMPLETED"))
    task = {"id": "t", "contextId": "c", "status": working, "artifacts": [said], "history": [said]}
    update = {"taskId": "t", "contextId": "c", "status": done}
    artifact = {"taskId": "t", "contextId": "c", "artifact": said}
    push = {"taskId": "t", "id": "n", "url": "https://a.example/", "authentication": {"scheme": "Bearer"}}
    old: list[Any] = [{**each, "kind": kind} for kind, each in (("task", task), ("artifact-update", artifact))]
    old += [{**update, "kind": "status-update", "status": {"state": "failed"}, "final": True}]
    new = [{"task": task}, {"artifactUpdate": artifact}, {"statusUpdate": update}]
    sent = {"message": {**said, "taskId": "t"}, "configuration": {"taskPushNotificationConfig": push}}
    exchanges: list[tuple[str, Any, list[Any]]] = [
        ("SendStreamingMessage", sent, new),
        ("message/stream", {"message": said}, old),
        ("SendMessage", sent, [{"message": said}]),
        ("message/send", {"message": said}, old[:1]),
        ("GetTask", {"id": "t"}, [task]),
        ("tasks/cancel", {"id": "t"}, old[:1]),
        ("ListTasks", {"contextId": "c"}, [{"tasks": [task, task], "totalSize": 2}]),
        ("CreateTaskPushNotificationConfig", push, [push]),
        ("tasks/pushNotificationConfig/delete", {"id": "t", "pushNotificationConfigId": "n"}, [None]),
        ("GetExtendedAgentCard", {}, [{"name": "A", "url": "https://a.example/", "signatures": [{"protected": "x"}]}]),
    ]
    found = []
    for method, params, results in exchanges:
        asked = _json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        answers = [_json({"jsonrpc": "2.0", "id": 1, "result": each}) for each in results]
        answers.append(_json({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "the task is unknown"}}))
        found.append((asked, b"".join(b"data: " + answer + b"\r\n\r\n" for answer in answers)))
        found += [(asked, answer) for answer in answers]
    return found


@cache
def _examples() -> Sequence[bytes]:
    """The examples of MCP's specification."""
    lines = (DATA / "mcp" / "examples_2026-07-28.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"].encode()[:LONGEST] for line in lines]


def _asked() -> list[bytes]:
    """Requests of all formats."""
    return [asked for asked, _ in (*tool_calls(), *agent_tasks(), *chats(), *messages(), *contents())]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _sse() -> list[bytes]:
    lines = (DATA / "sse" / "eventsource_parser_fixtures.jsonl").read_text("utf-8").splitlines()
    streams = [answer for _, answer in (*tool_calls(), *chats()) if not answer.startswith((b"{", b"["))]
    return [base64.b64decode(json.loads(line)["bytes_base64"])[:LONGEST] for line in lines] + streams


def _documents() -> list[bytes]:
    lines = (DATA / "json" / "jsontestsuite.jsonl").read_text("utf-8").splitlines()
    suite = [base64.b64decode(json.loads(line)["bytes_base64"])[:LONGEST] for line in lines]
    bodies = [body for exchange in (*tool_calls(), *chats()) for body in exchange if body.startswith((b"{", b"["))]
    return [*suite, *_examples(), *bodies, b'{"a": [1, -0.5e3, "\\ud83d\\ude00", {}]}', b'["\\ud83d"]']


def _encoded() -> list[bytes]:
    """Texts plain and in each coding."""
    texts = [b"", b"hello", b"hello " * 100, *_examples()[:3]]
    # Far more than a body may expand to, and as much at first that becomes less.
    bombs = [bytes(200_000), bytes(100_000) + Random(0).randbytes(3000)]
    return texts + [coded(text, coding) for coding in CODINGS for text in texts + bombs]


def _wire() -> list[bytes]:
    """One of each kind of ProcessingRequest, with all that is read of it."""
    head = ProcessingRequest()
    for name, value in ((":method", b"POST"), (":path", b"/mcp"), ("Content-Type", b"application/json")):
        head.request_headers.headers.headers.add(key=name, raw_value=value)
    head.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"].update({"payload": {"sub": "a", "n": [1.5]}})
    head.attributes["envoy.filters.http.ext_proc"].update({"source.port": 8080, "xds.route_name": "r", "x": None})
    head.protocol_config.request_body_mode = ProcessingMode.STREAMED
    back = ProcessingRequest()
    back.response_headers.headers.headers.add(key=":status", value="200")
    back.response_headers.end_of_stream = True
    body = ProcessingRequest()
    body.request_body.body = b"{}"
    body.request_body.end_of_stream = True
    chunk = ProcessingRequest()
    chunk.response_body.body = b"data: 1\n\n"
    trailers = ProcessingRequest()
    trailers.response_trailers.trailers.headers.add(key="grpc-status", raw_value=b"0")
    return [message.SerializeToString(deterministic=True) for message in (head, back, body, chunk, trailers)]


def _chosen(bodies: Iterable[Sequence[bytes]]) -> list[bytes]:
    """Inputs of these parts: all as it is ordinary, then each with choices that differ from one to the next."""
    found = list(bodies)
    return [joined(b"", *each) for each in found] + [
        joined(Random(number).randbytes(_CHOICES), *each) for number, each in enumerate(found)
    ]


def _events() -> list[bytes]:
    """Whole exchanges as lists of events: bodies in one piece, in pieces, and many times over."""
    # By the positions of their codecs in event_run.py.
    exchanges = [(0, each) for each in tool_calls()] + [(1, each) for each in chats()]
    exchanges += [(4, each) for each in agent_tasks()]
    exchanges += [(5, each) for each in messages()[::3]] + [(6, each) for each in contents()[::3]]
    exchanges += [(7, each) for each in responses()[::3]]
    found = []
    for number, (codec, exchange) in enumerate(exchanges * 2):
        any_of = Random(number).choice
        fixed = any_of(((0, 0), (0, 0), (0, 0), (1, 1), (3, 3), (1, 3), (3, 1)))
        setting = (codec, number % 9, any_of((0, 0, 1)), any_of((0, 1)), *fixed, any_of((0, 0, 0, 1)), 0)
        found.append(_event_list(setting, any_of, exchange, any_of((0, 0, 2)), any_of((0, 1))))
    watched = [(mode, other) for mode in range(4) for other in range(4)]
    for number, fixed in enumerate(watched):
        for codec, exchange in (exchanges[number], exchanges[-number]):
            setting = (codec, 4, 0, number % 2, *fixed, 0, 0)
            found.append(_event_list(setting, Random(number).choice, exchange, 2, 1))
    for number, exchange in enumerate(tool_calls()):
        found.append(_event_list((0, number % 2 * 2, 0, 0, 0, 0, 0, 0), lambda options: options[0], exchange, 0, 0))
        if exchange[0].startswith(b"["):  # a batch, of which one is denied, whose answer gets long
            found.append(_event_list((0, 8, 0, 0, 1, 3, 0, 0), lambda options: options[-2], exchange, 2, 1))
    return found


def _event_list(
    setting: Sequence[int], any_of: Callable[[Sequence[int]], int], exchange: Exchange, often: int, unsized: int
) -> bytes:
    """One of them; its numbers are positions among the options of event_run.py and event_lists.py."""
    asked, answered = exchange
    kind, orderly = 0 if answered.startswith((b"{", b"[")) else 1, not setting[-2]
    steps: list[tuple[int, ...]] = [
        (0, 0, 0, unsized, any_of((0, 0, 3, 4, 5)), 0),
        (1, 4, often, 0),
        (1, 0, 0, 1),
        (3, any_of((0, 0, 0, 2)), kind, unsized, any_of((0, 0, 0, 1)), 0),
        (4, 3, 0, 0),
        (4, 4, any_of((often, 2)), 0),
        (4, 0, 0, 1),
    ]
    if not orderly:
        out_of_order = ((0, 0, 0, 0, 0, 0), (1, 1, 0, 0), (4, 1, 0, 0), (5,))[any_of((0, 1, 2, 3))]
        steps.insert(any_of(range(1, len(steps) + 1)), out_of_order)
    return joined(bytes((*setting, *(number for step in steps for number in step), 7, 0)), asked, answered)


def _texts() -> list[bytes]:
    """Texts of tools: attacks, and honest ones, in many scripts."""
    lines = [
        line for path in sorted((DATA / "scanning").glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    told = [json.loads(line)["text"].encode() for line in lines]
    return [
        *told[::4],
        *(text for text in told if not text.isascii() or b"\x1b" in text),
        "\x1b7\ufe0f\u20e3\x1b]0;a\x07".encode(),
        b"\xff\x1b[0;1m",
    ]


_MAKERS: Mapping[str, Callable[[], list[bytes]]] = {
    "sse": _sse,
    "json": _documents,
    "content_encoding": _encoded,
    "texts": _texts,
    "wire": _wire,
    "mcp_request": lambda: _chosen([(body,) for body in (*_examples(), *(asked for asked, _ in tool_calls()))]),
    "mcp_answer": lambda: _chosen([(body,) for body in (*_examples(), *(answer for _, answer in tool_calls()))]),
    "a2a_request": lambda: _chosen([(asked,) for asked, _ in agent_tasks()]),
    "a2a_answer": lambda: _chosen([(answer,) for _, answer in agent_tasks()]),
    "openai_request": lambda: _chosen([(asked,) for asked, _ in chats()]),
    "openai_answer": lambda: _chosen([(answer,) for _, answer in chats()]),
    "responses_request": lambda: _chosen([(asked,) for asked, _ in responses()]),
    "responses_answer": lambda: _chosen([(answer,) for _, answer in responses()]),
    "completions_request": lambda: _chosen([(asked,) for asked, _ in completions()]),
    "completions_answer": lambda: _chosen([(answer,) for _, answer in completions()]),
    "embeddings_request": lambda: _chosen([(asked,) for asked, _ in vectors()]),
    "embeddings_answer": lambda: _chosen([(answer,) for _, answer in vectors()]),
    "anthropic_request": lambda: _chosen([(asked,) for asked, _ in messages()]),
    "anthropic_answer": lambda: _chosen([(answer,) for _, answer in messages()]),
    "gemini_request": lambda: _chosen([(asked,) for asked, _ in contents()]),
    "gemini_answer": lambda: _chosen([(answer,) for _, answer in contents()]),
    "auto": lambda: _chosen([(body,) for body in (*_examples(), *_asked())]),
    "mcp_exchange": lambda: _chosen(tool_calls()),
    "a2a_exchange": lambda: _chosen(agent_tasks()),
    "openai_exchange": lambda: _chosen(chats()),
    "responses_exchange": lambda: _chosen(responses()),
    "anthropic_exchange": lambda: _chosen(messages()),
    "gemini_exchange": lambda: _chosen(contents()),
    "events": _events,
}


@cache
def seeds(target: str) -> Sequence[bytes]:
    """The seeds of a target, by its name in `targets.TARGETS`; never none."""
    return tuple(_MAKERS[target]())
