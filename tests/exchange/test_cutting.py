"""The cutting property: any cutting of any body gives the same bytes, the same outcome and the same trail."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.policy import Policy
from ext_proc.testing import HttpResponse, Played, call, pass_through, request, response, rulebook_of
from tests.exchange.policies import DenyResult, Guard, HideTool, Watcher
from tests.exchange.test_responses import LIST, PROGRESS, RESULT, SSE, TOOLS, sse


def cut_at(body: bytes, positions: Sequence[int]) -> list[bytes]:
    """The body cut at these positions; empty chunks occur, as they do in Envoy."""
    bounds = [0, *sorted(position % (len(body) + 1) for position in positions), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(bounds)]


def seen(played: Played) -> Any:
    """All that must not depend on the cutting: durations do, how often a hook was called does not."""
    entries = [{k: v for k, v in e.as_dict().items() if k != "duration_ms"} for e in played.trail.entries]
    client = None if played.client is None else (played.client.status, played.client.body, played.client.headers)
    return client, str(played.trail.outcome), entries, played.trail.notes, played.metadata


noise = st.sampled_from(
    [
        b": comment\n\n",
        b"retry: 5\r\n\r\n",
        b"id: 9\ndata:\n\n",
        b"\n",
        b"\r\n",
        b"data: {broken\n\n",
        b"data: \xff\n\n",
    ]
)
values = st.sampled_from([PROGRESS, RESULT, TOOLS, {"jsonrpc": "2.0", "id": 2, "method": "ping"}, {"jsonrpc": "2.0"}])
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A server-sent stream with good events, bad ones, and noise between them, in any of the three line ends."""
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            body += draw(noise)
        else:
            body += sse(draw(values)).replace(b"\n", draw(ends))
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


policies: st.SearchStrategy[type[Policy[Any, Any]] | Any] = st.sampled_from(
    [Watcher, lambda: HideTool("delete_file"), lambda: DenyResult(b"secret"), lambda: Guard(b"secret")]
)
asked = st.sampled_from([LIST, call("search")])
positions = st.lists(st.integers(0, 10_000), max_size=12)


@given(streams(), policies, asked, positions)
@settings(max_examples=300, deadline=None)
def test_any_cutting_of_a_stream_gives_the_same_bytes_and_the_same_trail(
    body: bytes, policy: Any, sent: Any, where: list[int]
) -> None:
    answer = HttpResponse(body, headers=dict(SSE), sized=False)
    whole = pass_through(rulebook_of(policy()), request(sent), answer)
    cut = pass_through(rulebook_of(policy()), request(sent), answer, cut=lambda data: cut_at(data, where))
    assert seen(cut) == seen(whole)
    bytewise = pass_through(
        rulebook_of(policy()), request(sent), answer, cut=lambda data: cut_at(data, range(len(data)))
    )
    assert seen(bytewise) == seen(whole)


@given(st.sampled_from([TOOLS, RESULT, [TOOLS], {"jsonrpc": "2.0"}, "x"]), policies, asked, positions, st.data())
@settings(max_examples=200, deadline=None)
def test_any_cutting_of_a_json_answer_gives_the_same_bytes_and_the_same_trail(
    value: Any, policy: Any, sent: Any, where: list[int], data: st.DataObject
) -> None:
    body = msgspec.json.encode(value)
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(1, len(body)))]
    answer = response(body, sized=False)
    whole = pass_through(rulebook_of(policy()), request(sent), answer)
    cut = pass_through(rulebook_of(policy()), request(sent), answer, cut=lambda piece: cut_at(piece, where))
    assert seen(cut) == seen(whole)
