"""agent-access: who may ask an agent for what, where it may send notifications, which cards go through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from ext_proc.messages import A2aRequest, AgentCard, ExtendedCard, MessageSend, PushConfigRequest, encode_json
from ext_proc.policy import Deny, Mutation
from gatehouse_policies.agent_access import AgentAccess, Parameters
from tests.policies.agent_exchanges import (
    Office,
    answer,
    ask,
    extended_card_request,
    hands_out,
    on_list,
    on_task,
    replies,
    send,
)
from tests.policies.signed_cards import as_served, key_file, signed_by
from tests.policies.town import ANN, BOB
from tests.unit.credentials.minting import Minter, jwks

MINTER, STRANGER = Minter("ES256", "k1"), Minter("ES256", "k1")
KEYS = key_file(jwks(MINTER))
VERSIONS = ["1.0", "0.3"]
IMDS = "https://169.254.169.254/latest/meta-data/iam"


def wish(skill: Any, version: str = "1.0") -> MessageSend:
    return send(version, metadata={"skillId": skill})


def notifying(url: str, version: str = "1.0", *, inline: bool) -> A2aRequest:
    """A request that a task's events be sent to a URL: by itself, or along with a message."""
    config = {"url": url, "token": "t"}
    if inline:
        name = "taskPushNotificationConfig" if version == "1.0" else "pushNotificationConfig"
        return send(version, configuration={name: config})
    if version == "1.0":
        return ask(PushConfigRequest, "CreateTaskPushNotificationConfig", taskId="t1", **config)
    params = {"taskId": "t1", "pushNotificationConfig": config}
    return ask(PushConfigRequest, "CreateTaskPushNotificationConfig", version, **params)


def denial(here: Office, message: A2aRequest) -> Deny:
    verdict = asyncio.run(here.policy.on_request(message, here.context(ANN)))
    assert isinstance(verdict, Deny)
    return verdict


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_rule_that_fits_decides(version: str) -> None:
    rules = [
        {"methods": ["CancelTask"], "allow": "identity.subject == 'bob'", "message": "only bob cancels"},
        {"methods": ["message/send", "GetTask"], "allow": True},
        {"methods": ["message/send"], "allow": False},
    ]
    here = Office(rules=rules)
    for who in (ANN, BOB):
        here.answers(hands_out(f"t-{who['sub']}"), who)
    assert here.asks(send(version), ANN) == ""
    assert here.asks(on_task("CancelTask", "t-bob", version), BOB) == ""
    assert here.asks(on_task("CancelTask", "t-ann", version), ANN) == "method-not-allowed"
    assert denial(here, on_task("CancelTask", "t-ann", version)).message == "only bob cancels"
    assert here.asks(send(version, stream=True), ANN) == "method-not-allowed"


def test_what_no_rule_names_falls_to_the_default() -> None:
    assert Office(rules=[]).asks(send()) == "method-not-allowed"
    assert Office(rules=[], default="allow").asks(send()) == ""


def test_a_condition_that_cannot_be_evaluated_denies() -> None:
    assert Office(rules=[{"methods": ["*"], "allow": "identity.claims.level > 3"}]).asks(send()) == "method-not-allowed"


def test_what_was_allowed_still_has_to_be_the_callers_own() -> None:
    assert Office(rules=[], default="allow").asks(on_task("GetTask", "t1")) == "task-unknown"


@pytest.mark.parametrize("rules", [[], [{"methods": ["*"], "allow": True}], [{"methods": ["tasks/*"], "allow": True}]])
def test_a_method_that_nobody_knows_is_denied_unless_it_is_named_itself(rules: list[dict[str, Any]]) -> None:
    unknown = ask(A2aRequest, "tasks/steal", id="t1")
    for default in ("allow", "deny"):
        here = Office(rules=rules, default=default)
        assert (here.asks(unknown), denial(here, unknown).code) == ("method-unknown", -32601)
    assert Office(rules=[{"methods": ["tasks/steal"], "allow": True}]).asks(unknown) == ""
    assert Office(rules=[{"methods": ["tasks/steal"], "allow": False}]).asks(unknown) == "method-not-allowed"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_skill_is_asked_for_by_who_may(version: str) -> None:
    rules = [
        {"skills": ["payroll"], "allow": "identity.subject == 'bob'", "message": "ask the payroll office"},
        {"skills": ["book*"], "allow": True},
        {"methods": ["SendMessage"], "servers": ["chat"], "allow": True},
    ]
    here = Office(rules=rules)
    assert here.asks(wish("booking", version)) == ""
    assert here.asks(wish("payroll", version), BOB) == ""
    assert here.asks(wish("payroll", version), ANN) == "skill-not-allowed"
    assert here.asks(wish("other", version)) == "method-not-allowed"
    assert here.asks(send(version)) == "method-not-allowed", "a message without a skill is no message for one"
    assert here.asks(send(version), server="chat") == ""


def test_a_skill_becomes_a_fact_for_routing() -> None:
    here = Office(rules=[{"skills": ["*"], "allow": True}, {"methods": ["*"], "allow": True}])
    verdict = asyncio.run(here.policy.on_request(wish("book"), here.context()))
    assert isinstance(verdict, Mutation)
    assert verdict == Mutation(facts={"skill": "book"})
    assert asyncio.run(here.policy.on_request(send(), here.context())) is None
    unread = Office()
    assert asyncio.run(unread.policy.on_request(wish("book"), unread.context())) is None, "no rule asks for it"


def test_a_skill_is_looked_for_where_the_bundle_says() -> None:
    rules = [{"skills": ["book"], "allow": True}]
    here = Office(rules=rules, skill_at=["/message/metadata/skill", "/metadata/skill"])
    request = send(metadata={"skill": "book"})
    assert here.asks(request) == ""
    twice = MessageSend({**request.value, "params": {**request.params, "metadata": {"skill": "payroll"}}})
    assert here.asks(twice) == "skill-ambiguous"
    assert here.asks(send(metadata={"skill": ["book"]})) == "skill-invalid"
    assert here.asks(send(metadata={"skillId": "book"})) == "method-not-allowed"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("inline", [False, True], ids=["by itself", "with a message"])
def test_without_a_list_push_notifications_are_not_supported(inline: bool, version: str) -> None:
    here = Office()
    here.answers(hands_out("t1"))
    refused = denial(here, notifying("https://hooks.example.com/a", version, inline=inline))
    assert (refused.reason, refused.code) == ("push-not-supported", -32003)
    assert here.asks(send(version, configuration={"historyLength": 1})) == ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("inline", [False, True], ids=["by itself", "with a message"])
def test_notifications_go_to_listed_hosts_only(inline: bool, version: str) -> None:
    here = Office(push_notifications={"hosts": ["hooks.example.com", "*.notify.example.com"]})
    here.answers(hands_out("t1"))
    assert here.asks(notifying("https://hooks.example.com/a", version, inline=inline)) == ""
    assert here.asks(notifying("https://eu.notify.example.com/a", version, inline=inline)) == ""
    for url, reason in (
        ("https://evil.example/a", "push-url-not-listed"),
        (IMDS, "push-url-address"),
        ("https://2852039166/", "push-url-ambiguous"),
        ("http://hooks.example.com/a", "push-url-not-https"),
        ("https://hooks.example.com@evil.example/", "push-url-ambiguous"),
        ("", "push-url-ambiguous"),
    ):
        refused = denial(here, notifying(url, version, inline=inline))
        assert (refused.reason, refused.code) == (reason, -32602)
        assert url == "" or url not in refused.message


def test_configurations_are_listed_and_deleted_without_a_list_of_hosts() -> None:
    here = Office()
    here.answers(hands_out("t1"))
    for operation in ("ListTaskPushNotificationConfigs", "DeleteTaskPushNotificationConfig"):
        assert here.asks(on_task(operation, "t1")) == ""


def public(card: dict[str, Any]) -> AgentCard:
    return AgentCard(card, encode_json(card))


def extended(card: dict[str, Any]) -> ExtendedCard:
    return ExtendedCard({"jsonrpc": "2.0", "id": 1, "result": card}, request=extended_card_request())


@pytest.mark.parametrize("kind", [public, extended])
def test_cards_go_through_as_far_as_somebody_vouches_for_them(kind: Any) -> None:
    good, forged = as_served(signed_by(MINTER)), as_served(signed_by(STRANGER))
    unsigned = {name: value for name, value in good.items() if name != "signatures"}
    wanted = {
        "off": {"good": "", "forged": "", "unsigned": ""},
        "if-signed": {"good": "", "forged": "card-unverified", "unsigned": ""},
        "required": {"good": "", "forged": "card-unverified", "unsigned": "card-unsigned"},
    }
    for verify, reasons in wanted.items():
        here = Office(cards={"verify": verify, "keys": [KEYS]})
        cards = {"good": good, "forged": forged, "unsigned": unsigned}
        assert {name: here.answers(kind(card)) for name, card in cards.items()} == reasons


@pytest.mark.parametrize("kind", [public, extended])
def test_a_card_that_goes_through_is_not_touched(kind: Any) -> None:
    for verify in ("off", "if-signed", "required"):
        here = Office(cards={"verify": verify, "keys": [KEYS]})
        verdict = asyncio.run(here.policy.on_response(kind(as_served(signed_by(MINTER))), here.context()))
        assert verdict is None


@pytest.mark.parametrize(("kind", "status"), [(public, 502), (extended, None)])
def test_a_card_that_nobody_vouches_for_is_an_invalid_answer_of_the_agents(kind: Any, status: int | None) -> None:
    here = Office(cards={"verify": "required", "keys": [KEYS]})
    verdict = asyncio.run(here.policy.on_response(kind(as_served(signed_by(STRANGER))), here.context()))
    assert isinstance(verdict, Deny)
    assert (verdict.status, verdict.code) == (status, -32006)


def test_a_card_past_the_limit_is_not_verified_and_does_not_go_through() -> None:
    here = Office(cards={"verify": "required", "keys": [KEYS], "max_bytes": 64})
    assert here.answers(public(as_served(signed_by(MINTER)))) == "card-too-large"


def test_an_answer_that_names_nothing_goes_through() -> None:
    here = Office()
    assert here.answers(answer({})) == ""
    assert here.answers(replies("")) == ""
    results: list[Any] = [None, [], {"configs": []}, {"taskId": "t1", "id": "c1", "url": "x"}]
    for result in results:
        assert here.answers(answer(result, on_task("ListTaskPushNotificationConfigs", "t1"))) == ""
    assert here.asks(on_task("GetTask", "t1")) == "task-unknown", "a configuration gives nobody its task"


def test_a_list_is_asked_for_by_who_may() -> None:
    assert Office(rules=[{"methods": ["ListTasks"], "allow": True}]).asks(on_list()) == ""
    assert Office(rules=[{"methods": ["GetTask"], "allow": True}]).asks(on_list()) == "method-not-allowed"


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"cards": {"verify": "required"}}, "`verify` needs `keys`"),
        (
            {"cards": {"verify": "if-signed", "keys": [key_file(b"{}")]}},
            "agents.jwks.json: expected a JSON Web Key Set",
        ),
        (
            {"cards": {"keys": [key_file(jwks(MINTER.private_jwk()))]}},
            "agents.jwks.json: expected at least one public key",
        ),
        ({"push_notifications": {"hosts": ["10.0.0.1"]}}, "no address"),
        ({"push_notifications": {"hosts": ["*"]}}, "expected"),
        ({"skill_at": ["skillId"]}, "JSON Pointers"),
        ({"rules": [{"allow": True}]}, "`methods` or `skills`"),
        ({"task": {}}, "Extra inputs"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_told_when_the_bundle_is_loaded(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Parameters.model_validate(parameters)


def test_it_keeps_state_beyond_an_exchange() -> None:
    assert AgentAccess.keeps_state
