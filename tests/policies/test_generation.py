"""generation-policy: settings are set, given a default, clamped or forbidden; the upstream never sees more."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import Generation, RequestHead, Setting
from ext_proc.policy import Context, Deny, Exchanged
from ext_proc.testing import Played
from ext_proc.trail import Trail
from gatehouse_policies.generation import GenerationPolicy, Parameters
from tests.policies.chats import chat, reasons, refusal, went_on
from tests.unit.codecs.openai_building import asking, encoded


def policy(**rules: dict[str, Any]) -> GenerationPolicy:
    return GenerationPolicy("limits", Parameters.model_validate(rules))


def settings(played: Played) -> dict[str, Any]:
    """What the upstream was asked, without model and messages."""
    return {name: value for name, value in went_on(played).items() if name not in ("model", "messages")}


@pytest.mark.parametrize(
    ("rule", "asked", "wanted"),
    [
        pytest.param({"max": 100}, 5000, 100, id="too many"),
        pytest.param({"max": 100}, 100, 100, id="just as many"),
        pytest.param({"min": 10}, 1, 10, id="too few"),
        pytest.param({"min": 10, "max": 100}, 50, 50, id="between"),
        pytest.param({"set": 7}, 5000, 7, id="set"),
        pytest.param({"default": 7}, 5000, 5000, id="a default is no limit"),
    ],
)
@pytest.mark.parametrize("spelling", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_are_moved_to_what_may_be_asked_in_the_callers_spelling(
    rule: dict[str, Any], asked: int, wanted: int, spelling: str
) -> None:
    assert settings(chat(policy(max_tokens=rule), sent=asking(**{spelling: asked}))) == {spelling: wanted}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        pytest.param({"max": 100}, {"max_completion_tokens": 100}, id="no limit is more than any"),
        pytest.param({"max": 100, "default": 30}, {"max_completion_tokens": 30}, id="default"),
        pytest.param({"set": 7}, {"max_completion_tokens": 7}, id="set"),
        pytest.param({"min": 10}, {}, id="no limit is above any minimum"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"max_completion_tokens": None}], ids=["absent", "null"])
def test_a_request_without_max_tokens_gets_the_default_or_the_most(
    rule: dict[str, Any], wanted: dict[str, Any], asked: dict[str, Any]
) -> None:
    assert settings(chat(policy(max_tokens=rule), sent=asking(**asked))) == (wanted or asked)


def test_no_second_spelling_gets_past_the_limit() -> None:
    both = asking(max_completion_tokens=50, max_tokens=5000)
    played = chat(policy(max_tokens={"max": 100}), sent=both)
    assert settings(played) == {"max_completion_tokens": 50, "max_tokens": 50}
    assert reasons(played) == ["changed a second spelling"]


@pytest.mark.parametrize(
    ("setting", "rule", "asked", "wanted"),
    [
        ("temperature", {"max": 1}, 1.7, 1.0),
        ("temperature", {"set": 0}, 0.7, 0.0),
        ("temperature", {"min": 0.5}, 0, 0.5),
        ("top_p", {"max": 0.9}, 1, 0.9),
        ("seed", {"set": 0}, 42, 0),
        ("seed", {"min": -5, "max": 5}, -42, -5),
        ("n", {"max": 1}, 128, 1),
        ("reasoning_effort", {"max": "medium"}, "xhigh", "medium"),
        ("reasoning_effort", {"max": "medium"}, "minimal", "minimal"),
        ("reasoning_effort", {"min": "low"}, "none", "low"),
        ("reasoning_effort", {"set": "high"}, "something new", "high"),
    ],
)
def test_every_setting_has_its_rule(setting: str, rule: dict[str, Any], asked: Any, wanted: Any) -> None:
    assert settings(chat(policy(**{setting: rule}), sent=asking(**{setting: asked}))) == {setting: wanted}


@pytest.mark.parametrize(
    ("setting", "rule"),
    [("temperature", {"max": 0.5}), ("n", {"max": 1}), ("reasoning_effort", {"max": "low"}), ("seed", {"min": 1})],
)
def test_what_was_not_asked_stays_the_providers_own_choice(setting: str, rule: dict[str, Any]) -> None:
    assert settings(chat(policy(**{setting: rule}), sent=asking())) == {}


def test_a_default_is_sent_where_nothing_was_asked() -> None:
    rules: dict[str, Any] = {"seed": {"default": 7}, "reasoning_effort": {"default": "low", "max": "medium"}}
    assert settings(chat(policy(**rules), sent=asking())) == {"seed": 7, "reasoning_effort": "low"}
    asked = asking(seed=0, reasoning_effort="high")
    assert settings(chat(policy(**rules), sent=asked)) == {"seed": 0, "reasoning_effort": "medium"}


@pytest.mark.parametrize("setting", [setting for setting in Setting if setting is not Setting.REASONING_EFFORT])
def test_a_forbidden_setting_is_refused_and_named(setting: Setting) -> None:
    played = chat(policy(**{setting: {"forbid": True}}), sent=asking(**{setting: 1}))
    status, error = refusal(played)
    assert status == 400
    assert (error["type"], error["code"]) == ("invalid_request_error", "setting-not-allowed")
    assert error["message"] == f"{setting} may not be set here"
    assert error["trail"] == "trail-1"


def test_a_forbidden_setting_is_refused_in_each_spelling_and_not_missed() -> None:
    strict = policy(max_tokens={"forbid": True})
    assert refusal(chat(strict, sent=asking(max_completion_tokens=1)))[0] == 400
    assert went_on(chat(strict, sent=asking(max_completion_tokens=None))) == asking(max_completion_tokens=None)


def test_an_effort_that_nobody_knows_cannot_be_clamped() -> None:
    status, error = refusal(chat(policy(reasoning_effort={"max": "low"}), sent=asking(reasoning_effort="ultra")))
    assert (status, error["code"]) == (400, "setting-invalid")
    assert "ultra" not in str(error)


def test_all_else_of_a_changed_request_keeps_its_bytes() -> None:
    turns = b'[{"role":"user","content":"gr\\u00fc\xc3\x9fe"}]'
    body = b'{ "model":"m" ,"n" : 4,"x":1e0, "messages":' + turns + b', "temperature":0.70}'
    played = chat(policy(n={"max": 1}, temperature={"max": 1}), sent=body)
    assert played.upstream is not None
    assert played.upstream.body == body.replace(b"4", b"1", 1)
    assert reasons(played) == ["changed n"]


def test_a_request_that_keeps_the_rules_leaves_as_it_came() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}] , "max_tokens" : 50, "temperature":0.70}'
    rules: dict[str, Any] = {"max_tokens": {"max": 100}, "temperature": {"max": 1}, "seed": {"forbid": True}}
    played = chat(policy(**rules), sent=body)
    assert played.upstream is not None
    assert played.upstream.body == body
    assert [str(entry.verdict) for entry in played.trail.entries] == ["allow"]


def test_the_reason_names_what_was_changed_and_no_value() -> None:
    asked = asking(max_tokens=99999, temperature=2, n=1)
    rules: dict[str, Any] = {"max_tokens": {"max": 100}, "temperature": {"set": 0}, "n": {"max": 1}}
    assert reasons(chat(policy(**rules), sent=asked)) == ["changed max_tokens, temperature"]


def test_an_api_without_a_setting_that_must_be_written_is_refused() -> None:
    head = RequestHead("POST", "/v1/other", "models.example", Headers())
    context: Context[None] = Context(Exchanged(UNKNOWN, "models", "other", head, Trail("t")), None)
    other = Generation({"model": "m"}, encoded({"model": "m"}))
    verdict = policy(seed={"set": 7}).on_request(other, context)
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.status) == ("setting-unsupported", 400)
    assert policy(seed={"max": 7}).on_request(other, context) is None


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"max_tokens": {}},
        {"max_tokens": {"forbid": False}},
        {"max_tokens": {"forbid": True, "max": 5}},
        {"max_tokens": {"set": 5, "max": 5}},
        {"max_tokens": {"min": 6, "max": 5}},
        {"max_tokens": {"default": 6, "max": 5}},
        {"max_tokens": {"max": 0}},
        {"max_tokens": {"max": 5.5}},
        {"max_tokens": {"max": "5"}},
        {"max_tokens": {"max": True}},
        {"max_tokens": {"maximum": 5}},
        {"temperature": {"max": float("nan")}},
        {"temperature": {"max": float("inf")}},
        {"temperature": {"max": -1}},
        {"temperature": {"set": True}},
        {"reasoning_effort": {"max": "medium", "min": "high"}},
        {"reasoning_effort": {"set": "ultra"}},
        {"reasoning_effort": {"set": 1}},
        {"top_k": {"max": 1}},
    ],
)
def test_rules_that_mean_nothing_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(rules)
