"""The rules of agent-access: methods by either version's names, skills by convention."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ext_proc.messages import A2aRequest, MessageSend
from ext_proc.messages.a2a import OPERATIONS_03
from gatehouse_policies.agent_rules import AgentRule, AgentRules, SkillError, SkillPlaces

AT = "/message/metadata/skillId"


def asked(method: str, **params: Any) -> A2aRequest:
    kind = MessageSend if method in ("SendMessage", "message/send") else A2aRequest
    return kind({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def label(method: str, *rules: dict[str, Any], skill: str = "", server: str = "travel") -> str:
    """The first rule about a request; "" for none."""
    found = AgentRules([AgentRule.model_validate({"allow": True, **rule}) for rule in rules])
    first = found.first(asked(method), skill, server)
    return "" if first is None else first.label


@pytest.mark.parametrize(("name_03", "operation"), OPERATIONS_03.items())
def test_either_versions_name_of_a_method_is_about_both(name_03: str, operation: str) -> None:
    for written in (name_03, operation):
        for method in (name_03, operation):
            assert label(method, {"methods": [written]}) == "rules[0]"
        assert label("ListTasks", {"methods": [written]}) == ""


def test_a_glob_fits_if_it_fits_either_name() -> None:
    assert label("GetTask", {"methods": ["tasks/*"]}) == "rules[0]"
    assert label("tasks/cancel", {"methods": ["*Task"]}) == "rules[0]"
    assert label("SendMessage", {"methods": ["tasks/*", "*Task"]}) == ""
    assert label("tasks/explode", {"methods": ["tasks/*"]}) == "rules[0]"


def test_the_first_rule_that_fits_is_taken() -> None:
    rules = [{"methods": ["CancelTask"], "servers": ["billing*"]}, {"methods": ["*"], "servers": ["travel"]}]
    assert label("CancelTask", *rules, server="billing-eu") == "rules[0]"
    assert label("CancelTask", *rules) == "rules[1]"
    assert label("CancelTask", *rules, server="other") == ""


def test_a_rule_with_skills_is_about_messages_that_name_one() -> None:
    rule = {"skills": ["summar*", "translate"]}
    assert label("SendMessage", rule, skill="summarize") == "rules[0]"
    assert label("message/send", rule, skill="translate") == "rules[0]"
    assert label("SendMessage", rule, skill="Translate") == ""
    assert label("SendMessage", rule) == ""
    assert label("GetTask", rule) == ""
    assert label("SendMessage", {**rule, "methods": ["SendStreamingMessage"]}, skill="translate") == ""


@pytest.mark.parametrize(
    ("allow", "wanted"),
    [(True, True), (False, False), ("identity.who == 'ann'", True), ("identity.other == 'ann'", False)],
)
def test_a_condition_that_cannot_be_evaluated_allows_nothing(allow: Any, wanted: bool) -> None:
    first = AgentRules([AgentRule(methods=["*"], allow=allow)]).first(asked("GetTask"), "", "")
    assert first is not None
    assert first.allows({"identity": {"who": "ann"}}) is wanted


def test_a_rule_names_methods_or_skills() -> None:
    with pytest.raises(ValidationError, match="a rule needs `methods` or `skills`"):
        AgentRule.model_validate({"allow": True, "servers": ["travel"]})


@pytest.mark.parametrize(
    ("params", "skill"),
    [
        ({}, ""),
        ({"message": None}, ""),
        ({"message": {"metadata": {}}}, ""),
        ({"message": {"metadata": {"skillId": None}}}, ""),
        ({"message": {"metadata": {"skillId": ""}}}, ""),
        ({"message": {"metadata": ["skillId"]}}, ""),
        ({"message": {"metadata": {"skillId": "translate"}}}, "translate"),
        ({"metadata": {"skillId": "translate"}}, ""),
    ],
)
def test_a_skill_is_where_the_bundle_says(params: dict[str, Any], skill: str) -> None:
    assert SkillPlaces([AT]).skill_of(params) == skill


def test_of_several_places_those_that_hold_a_skill_hold_the_same() -> None:
    places = SkillPlaces([AT, "/metadata/a~1b~0c"])
    assert places.skill_of({"metadata": {"a/b~c": "x"}}) == "x"
    assert places.skill_of({"message": {"metadata": {"skillId": "x"}}, "metadata": {"a/b~c": "x"}}) == "x"
    with pytest.raises(SkillError, match="skill-ambiguous"):
        places.skill_of({"message": {"metadata": {"skillId": "x"}}, "metadata": {"a/b~c": "y"}})


@pytest.mark.parametrize("value", [7, True, ["translate"], {"id": "translate"}, "x" * 257])
def test_a_skill_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(SkillError, match="skill-invalid"):
        SkillPlaces([AT]).skill_of({"message": {"metadata": {"skillId": value}}})


@pytest.mark.parametrize("pointer", ["", "message", "message/metadata", "/a~2", "/a~"])
def test_what_is_no_pointer_is_told_when_the_bundle_is_loaded(pointer: str) -> None:
    with pytest.raises(ValueError, match="JSON Pointers"):
        SkillPlaces([pointer])
