"""scanning/rules.py: every rule can be raised, by each of its lines, in the spelling that texts are folded to."""

from __future__ import annotations

from pathlib import Path

import pytest

from ext_proc.scanning.folding import END, Words, readings
from ext_proc.scanning.instructions import ALL_RULES, flag
from ext_proc.scanning.phrases import parse
from ext_proc.scanning.rules import RULES, SETS

DOCUMENT = Path(__file__).parents[3] / "docs" / "scanning.md"
LINES = [(rule.id, line.strip()) for rule in RULES for line in rule.phrases.strip().splitlines()]
LITERALS = [(rule.id, literal) for rule in RULES for literal in rule.literals.split()]


def test_ids_are_unique_and_fit_for_a_trail() -> None:
    ids = [rule.id for rule in ALL_RULES]
    assert len(set(ids)) == len(ids)
    assert all(id.replace("-", "").isalpha() and id.islower() for id in ids)


def test_a_rule_says_why_in_one_clause() -> None:
    for rule in ALL_RULES:
        assert rule.why
        assert rule.why[-1] not in ".,;"


@pytest.mark.parametrize(("rule", "line"), LINES, ids=[f"{rule}: {line}" for rule, line in LINES])
def test_a_phrase_raises_its_rule(rule: str, line: str) -> None:
    phrase = parse(line, SETS)
    text = " ".join(min(element.words) for element in phrase.elements if not element.optional)
    assert rule in {each.rule for each in flag(text)}


@pytest.mark.parametrize(("rule", "literal"), LITERALS, ids=[literal for _, literal in LITERALS])
def test_a_literal_raises_its_rule(rule: str, literal: str) -> None:
    assert rule in {each.rule for each in flag(f"Adds. {literal.upper()} More.")}


def test_words_of_phrases_are_words_as_texts_are_read() -> None:
    words = {word for _, line in LINES for element in parse(line, SETS).elements for word in element.words}
    assert sorted(word for word in words if Words(readings(word)[0]).texts != [word] or word == END) == []


def test_a_set_is_used() -> None:
    assert sorted(name for name in SETS if f"{{{name}}}" not in "\n".join(line for _, line in LINES)) == []


def test_the_document_lists_the_rules_as_they_are() -> None:
    rows = [f"| `{rule.id}` | {rule.severity.name} | {rule.why} |" for rule in ALL_RULES]
    assert "\n".join(rows) in DOCUMENT.read_text(encoding="utf-8")
