"""Compressed bodies are read through; what nobody changed leaves compressed as it came where that is possible."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.framing.content_encoding import encoder_for
from ext_proc.limits import Limits
from ext_proc.testing import HttpRequest, HttpResponse, Played, call, pass_through, request, rulebook_of
from tests.exchange.policies import DenyResult, DenyTool, HideTool, RenameTool, Watcher
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.test_requests import DONE
from tests.exchange.test_responses import LIST, PROGRESS, RESULT, TOOLS, listed, sse

CODINGS = ["gzip", "deflate", "br", "zstd", "gzip, br"]
JSON = {"content-type": "application/json"}


def coded(body: bytes, coding: str) -> bytes:
    encoder = encoder_for(coding)
    assert encoder is not None
    return encoder.feed(body) + encoder.close()


def answer(body: bytes, coding: str, content_type: str = "application/json", sized: bool = True) -> HttpResponse:
    headers = {"content-type": content_type, "content-encoding": coding}
    return HttpResponse(coded(body, coding), headers=headers, sized=sized)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("sized", [True, False])
def test_a_compressed_list_is_filtered_and_leaves_in_the_clear(coding: str, sized: bool) -> None:
    compressed = answer(msgspec.json.encode(TOOLS), coding, sized=sized)
    played = pass_through(rulebook_of(HideTool("delete_file")), request(LIST), compressed)
    assert listed(played) == ["search"]
    assert played.client is not None
    assert "content-encoding" not in played.client.headers


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_answer_that_is_only_read_leaves_as_it_came(coding: str) -> None:
    stream = answer(sse(PROGRESS, RESULT), coding, "text/event-stream", sized=False)
    for compressed in (answer(msgspec.json.encode(RESULT), coding), stream):
        watcher = Watcher()
        played = pass_through(rulebook_of(watcher), request(call("a")), compressed)
        assert played.client is not None
        assert played.client.body == compressed.body
        assert played.client.headers["content-encoding"] == coding
        assert played.trail.outcome == "ok"
        assert "response tool_result tools/call a" in watcher.seen


def test_a_compressed_answer_that_nobody_changed_leaves_compressed_where_it_was_held_whole() -> None:
    compressed = answer(msgspec.json.encode(TOOLS), "gzip")
    played = pass_through(rulebook_of(HideTool("no such")), request(LIST), compressed)
    assert played.client is not None
    assert played.client.body == compressed.body
    assert played.client.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("sized", [True, False])
def test_compressed_calls_are_decided(coding: str, sized: bool) -> None:
    def sent(tool: str) -> HttpRequest:
        body = coded(msgspec.json.encode(call(tool)), coding)
        return HttpRequest(body, headers={**JSON, "content-encoding": coding}, sized=sized)

    book = rulebook_of(DenyTool("delete_file"))
    assert pass_through(book, sent("delete_file"), DONE).upstream is None
    passed = pass_through(book, sent("search"), DONE).upstream
    assert passed is not None
    if sized:
        assert passed.body == sent("search").body
        assert passed.headers["content-encoding"] == coding
    else:
        assert msgspec.json.decode(passed.body)["params"]["name"] == "search"
        assert "content-encoding" not in passed.headers
    renamed = pass_through(rulebook_of(RenameTool()), sent("search"), DONE).upstream
    assert renamed is not None
    assert msgspec.json.decode(renamed.body)["params"]["name"] == "search-v2"
    assert "content-encoding" not in renamed.headers


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda body: body[:-6],
    "followed by more": lambda body: body + b"more",
    "corrupt": lambda body: body[:20] + b"XXXX" + body[24:],
    "not compressed": lambda body: b"plain",
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_decompressed_is_malformed(breaks: Callable[[bytes], bytes]) -> None:
    body = breaks(gzip.compress(msgspec.json.encode(call("search"))))
    sent = HttpRequest(body, headers={**JSON, "content-encoding": "gzip"})
    played = pass_through(rulebook_of(DenyTool("x")), sent, DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 400
    untouched = pass_through(rulebook_of(Watcher()), sent, DONE).upstream
    assert untouched is not None
    assert untouched.body == body
    bad = HttpResponse(breaks(gzip.compress(msgspec.json.encode(TOOLS))), headers={**JSON, "content-encoding": "gzip"})
    refused = pass_through(rulebook_of(HideTool("x")), request(LIST), bad)
    assert refused.client is not None
    assert refused.client.status == 502


def test_a_bomb_is_refused() -> None:
    body = gzip.compress(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"A" * 30_000_000 + b'"}}')
    sent = HttpRequest(body, headers={**JSON, "content-encoding": "gzip"})
    played = pass_through(rulebook_of(DenyTool("x"), limits=Limits(expansion=50)), sent, DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status in (400, 413)


@given(
    st.sampled_from(CODINGS),
    st.sampled_from([Watcher, lambda: HideTool("delete_file"), lambda: DenyResult(b"secret")]),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_any_cutting_of_a_compressed_answer_gives_the_same_bytes_and_the_same_trail(
    coding: str, policy: Callable[[], Watcher], stream: bool, where: list[int]
) -> None:
    if stream:
        compressed = answer(sse(PROGRESS, TOOLS), coding, "text/event-stream", sized=False)
    else:
        compressed = answer(msgspec.json.encode(TOOLS), coding, sized=False)

    def run(cut: Callable[[bytes], list[bytes]]) -> Played:
        return pass_through(rulebook_of(policy()), request(LIST), compressed, cut=cut)

    assert seen(run(lambda data: cut_at(data, where))) == seen(run(lambda data: [data]))
