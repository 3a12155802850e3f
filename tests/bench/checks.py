"""Before a figure is taken: each variant answers rightly, Gatehouse governs, and all processors get the same messages.

Rules:
- What passes is compared byte for byte with what the upstream sent.
- Gatehouse must deny what the default bundle denies, and hide it; the others must let it pass. So no figure is that of
  a filter that is not there.
- The plans are compared by Envoy's own counts: ext_proc messages per exchange, both ways.

Not here: how fast it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from tests.bench.cases import ALLOWED_TOOLS, DENIED_TOOLS, STAMP, Case, answers, call, event, post
from tests.bench.variants import Running

_EVENTS = 20
_EXCHANGES = 10
_PATIENCE = 5.0


class WrongAnswer(Exception):
    """A variant does not do what it is there for."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was seen.

    Attributes:
        lengths: bytes of each JSON case's answer, by case.
        messages: ext_proc messages (to, from the processor) per exchange, by JSON case; {} without a processor.
    """

    lengths: Mapping[str, int]
    messages: Mapping[str, tuple[float, float]]


def check(running: Running, cases: Sequence[Case]) -> Checked:
    """Tries one variant.

    Raises:
        WrongAnswer: what was wrong, in a sentence.
    """
    governs = running.variant.behind == "gatehouse"
    upstream = answers()
    lengths: dict[str, int] = {}
    messages: dict[str, tuple[float, float]] = {}
    with _client(running) as client:
        for case in cases:
            if case.streams:
                _check_stream(client, running, case)
                continue
            body = _send(client, running, case.request)
            if governs and case.answer == "list":
                _require(_tools(body) == set(ALLOWED_TOOLS), running, "the denied tools are not hidden")
            else:
                _require(body == upstream[case.answer], running, f"{case.name}: the answer's bytes were changed")
            lengths[case.name] = len(body)
            if running.variant.behind:
                messages[case.name] = _messages(client, running, case)
        denied = _send(client, running, post("/mcp", call(DENIED_TOOLS[0]), "call-small"))
        if governs:
            error = json.loads(denied)
            _require("error" in error and error["id"] == 1, running, "a denied call was not refused under its own id")
        else:
            _require(denied == upstream["call-small"], running, "a call was refused where nothing governs")
    return Checked(lengths, messages)


def require_same_plan(found: Mapping[str, Checked]) -> None:
    """Every processor exchanged as many messages as the others.

    Args:
        found: what `check` saw, by variant.

    Raises:
        WrongAnswer: the comparison would be between different plans.
    """
    plans = {name: checked.messages for name, checked in found.items() if checked.messages}
    if len({tuple(sorted(plan.items())) for plan in plans.values()}) > 1:
        raise WrongAnswer(f"the processors were asked different things (messages per exchange): {plans}")


def _check_stream(client: httpx.Client, running: Running, case: Case) -> None:
    method, url, headers, body = _parsed(running, case.request)
    seen = bytearray()
    with client.stream(method, url, headers=headers, content=body) as response:
        _require(response.status_code == 200, running, f"{case.name}: status {response.status_code}")
        for data in response.iter_raw():
            seen += data
            if seen.count(b"\n\n") >= _EVENTS:
                break
    whole = bytes(seen).split(b"\n\n")[:_EVENTS]
    stamps = [int(found[1]) for found in STAMP.finditer(b"\n\n".join(whole))]
    sent = [event(stamp).removesuffix(b"\n\n") for stamp in stamps]
    _require(whole == sent and stamps == sorted(stamps), running, f"{case.name}: events were changed")


def _messages(client: httpx.Client, running: Running, case: Case) -> tuple[float, float]:
    before = _counts(client, running)
    for _ in range(_EXCHANGES):
        _send(client, running, case.request)
    after = _counts(client, running)
    return (after[0] - before[0]) / _EXCHANGES, (after[1] - before[1]) / _EXCHANGES


def _counts(client: httpx.Client, running: Running) -> tuple[int, int]:
    stats = client.get(f"{running.envoy_admin}/stats", params={"filter": "ext_proc", "format": "json"}).json()["stats"]
    values = {item["name"].rpartition(".")[2]: item["value"] for item in stats if "name" in item}
    return values["stream_msgs_sent"], values["stream_msgs_received"]


def _send(client: httpx.Client, running: Running, request: bytes) -> bytes:
    method, url, headers, body = _parsed(running, request)
    response = client.request(method, url, headers=headers, content=body)
    _require(response.status_code == 200, running, f"{url}: status {response.status_code}")
    return response.content


def _parsed(running: Running, request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """The load's own bytes, as httpx wants them."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    return method, f"http://127.0.0.1:{running.port}{path}", headers, body


def _client(running: Running) -> httpx.Client:
    # The environment's proxy is not asked: all of it is on this machine.
    return httpx.Client(trust_env=False, timeout=_PATIENCE)


def _tools(body: bytes) -> set[str]:
    return {tool["name"] for tool in json.loads(body)["result"]["tools"]}


def _require(holds: bool, running: Running, problem: str) -> None:
    if not holds:
        raise WrongAnswer(f"{running.variant.name}: {problem}")
