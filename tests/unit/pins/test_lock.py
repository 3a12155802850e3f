"""lock: the file says the same after writing and reading, sorted, and what is wrong with it is told in a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.pins.lock import Lock, LockedServer, parse_lock, render_lock

A, B = "a" * 64, "b" * 64

digests = st.lists(st.sampled_from([A, B]), max_size=2).map(tuple)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
locks = st.dictionaries(
    names, st.builds(LockedServer, st.none() | digests, st.dictionaries(names, digests, max_size=3)), max_size=3
).map(Lock)


@given(locks)
def test_what_is_written_is_read_again(lock: Lock) -> None:
    text = render_lock(lock)
    assert parse_lock(text.encode()) == lock
    assert text.isascii()


def test_equal_content_is_equal_text_with_a_line_for_each_tool() -> None:
    one = Lock({"docs": LockedServer((A,), {"search": (A,), "add": (B, A)})})
    other = Lock({"docs": LockedServer((A,), {"add": (B, A), "search": (A,)})})
    assert render_lock(one) == render_lock(other)
    changed = set(render_lock(one.approving("docs", "search", (B,))).splitlines()) - set(render_lock(one).splitlines())
    assert len(changed) <= 1


def test_json_is_a_lock_file_too_and_one_digest_needs_no_list() -> None:
    tree = {"apiVersion": "gatehouse/v1", "kind": "ToolLock", "servers": {"docs": {"tools": {"search": f"sha256:{A}"}}}}
    lock = parse_lock(json.dumps(tree).encode())
    assert lock.tool("docs", "search") == (A,)
    assert (lock.tool("docs", "other"), lock.tool("mail", "search"), lock.instructions("docs")) == (None, None, None)


def test_approving_changes_one_tool_or_the_instructions() -> None:
    lock = Lock().approving("docs", "search", (A,)).approving("docs", None, (B,)).approving("docs", "add", ())
    assert lock == Lock({"docs": LockedServer((B,), {"search": (A,), "add": ()})})


HEAD = "apiVersion: gatehouse/v1\nkind: ToolLock\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a mapping"),
        ("[]", "expected a mapping"),
        ("kind: ToolLock", "expected apiVersion"),
        ("{", "line 2"),
        ("\x00", "it is no YAML|not allowed"),
        (HEAD + "server: {}", "unknown key 'server'"),
        (HEAD + "servers: {docs: {tool: {}}}", r"servers\.docs: unknown key"),
        (HEAD + "servers: {docs: {tools: {search: [abc]}}}", r"servers\.docs\.tools\.search: expected sha256:"),
        (HEAD + f"servers: {{docs: {{tools: {{search: [sha256:{A.upper()}]}}}}}}", "expected sha256:"),
        (HEAD + f"servers: {{docs: {{instructions: {{x: sha256:{A}}}}}}}", r"servers\.docs\.instructions"),
        (HEAD + "servers: {docs: {tools: {1: []}}}", "texts as keys"),
        (HEAD + f"servers: {{docs: {{tools: {{a: [], a: [sha256:{A}]}}}}}}", "a key stands twice"),
        (HEAD + "servers: !!python/name:os.system", "constructor|YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_lock(text.encode())
