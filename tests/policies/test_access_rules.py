"""access_rules: the first rule that is about something, however many there are and however many names are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse_policies.access_rules import AmbiguousUri, Rule, Rules, Subject

CALL, GET, READ = "tools/call", "prompts/get", "resources/read"


def rules(*written: Mapping[str, object]) -> Rules:
    return Rules([Rule.model_validate({"allow": True, **rule}) for rule in written])


def label(found: Rules, method: str, subject: Subject, server: str = "s") -> str:
    rule = found.first(method, subject, server)
    return "" if rule is None else rule.label


MIXED = rules(
    {"tools": ["a", "b*"]},
    {"prompts": ["a"], "servers": ["other"]},
    {"resources": ["file:///srv/*"], "prompts": ["b"]},
    {"tools": ["*"], "methods": ["tools/list"]},
    {"methods": ["*/get", "ping"]},
    {"hosted": ["web_search*", "mcp:https://a.example/*"], "servers": ["s"]},
    {"hosted": ["mcp:*"], "tools": ["c"]},
)


@pytest.mark.parametrize(
    ("method", "subject", "expected"),
    [
        (CALL, Subject("tool", "a"), "rules[0]"),
        (CALL, Subject("tool", "bc"), "rules[0]"),
        (CALL, Subject("tool", "c"), "rules[6]"),
        (CALL, Subject("tool", "d"), ""),
        ("", Subject("hosted-tool", "web_search_preview"), "rules[5]"),
        ("", Subject("hosted-tool", "mcp:https://a.example/x"), "rules[5]"),
        ("", Subject("hosted-tool", "mcp:https://b.example/x"), "rules[6]"),
        ("", Subject("hosted-tool", "c"), ""),
        ("", Subject("hosted-tool", "ping"), ""),
        (GET, Subject("prompt", "a"), "rules[4]"),
        (GET, Subject("prompt", "b"), "rules[2]"),
        (READ, Subject("resource", "file:///srv/x"), "rules[2]"),
        (READ, Subject("resource", "FILE:/srv/x"), "rules[2]"),
        (READ, Subject("resource", "file:///x"), ""),
        ("ping", Subject(), "rules[4]"),
        ("tools/list", Subject(), ""),
        ("vendor/get", Subject(), "rules[4]"),
        ("vendor/put", Subject(), ""),
    ],
)
def test_the_first_rule_that_is_about_it_is_found(method: str, subject: Subject, expected: str) -> None:
    for _ in range(2):  # looked for, then remembered
        assert label(MIXED, method, subject) == expected


def test_the_same_name_on_another_server_is_another() -> None:
    assert label(MIXED, GET, Subject("prompt", "a"), "other") == "rules[1]"
    assert label(MIXED, GET, Subject("prompt", "a"), "s") == "rules[4]"
    assert label(MIXED, "", Subject("hosted-tool", "web_search"), "other") == ""


def test_a_uri_without_one_meaning_is_told_each_time() -> None:
    for _ in range(2):
        with pytest.raises(AmbiguousUri):
            MIXED.first(READ, Subject("resource", "file:///srv/../x"), "s")


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_found_again() -> None:
    for number in range(40_000):
        MIXED.first(CALL, Subject("tool", f"b{number}"), "s")
        MIXED.first(f"vendor/{number}", Subject(), "s")
    MIXED.first(CALL, Subject("tool", "b" * 1000), "s")
    assert len(MIXED._remembered) <= 16_384
    assert len(MIXED._finders) < 50
    assert not any(len(subject.name) > 256 for _, subject, _ in MIXED._remembered)
    assert label(MIXED, CALL, Subject("tool", "b0")) == "rules[0]"


globs = st.text(alphabet="ab*?[]!.\n", min_size=1, max_size=5)


@given(st.lists(st.lists(globs, min_size=1, max_size=3), max_size=5), st.text(alphabet="ab.[]\n", max_size=6))
def test_looking_for_all_rules_at_once_finds_the_same_as_one_by_one(written: list[list[str]], name: str) -> None:
    together = rules(*({"tools": names} for names in written))
    subject = Subject("tool", name)
    one_by_one = (f"rules[{at}]" for at, names in enumerate(written) if label(rules({"tools": names}), CALL, subject))
    assert label(together, CALL, subject) == next(one_by_one, "")
