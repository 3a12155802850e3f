"""model-routing: names and aliases to upstreams; the client sees its own name; weights and stickiness hold."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN, Identity, Kind
from ext_proc.messages import Generation, RequestHead
from ext_proc.policy import Context, Exchanged, Mutation
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through
from ext_proc.trail import Trail
from gatehouse_policies.model_routing import ModelRouting, Parameters, State
from tests.policies.chats import book, chat, reasons, refusal, went_on
from tests.unit.codecs.openai_building import asking, chunk, says, stream, whole

MODELS: dict[str, Any] = {
    "model-a": {"upstreams": [{"name": "model-a"}]},
    "small": {"upstreams": [{"name": "model-b", "model": "model-b-mini"}]},
}
SPLIT = {"m": {"upstreams": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}, {"name": "off", "weight": 0}]}}


def policy(models: Mapping[str, Any] = MODELS, **parameters: Any) -> ModelRouting:
    return ModelRouting("routing", Parameters.model_validate({"models": models, **parameters}))


def header(played: Played, name: str) -> str | None:
    assert played.upstream is not None
    return played.upstream.headers.get(f"x-gatehouse-{name}")


def names(body: bytes) -> set[str]:
    """The models that a stream's events name."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    return {json.loads(line)["model"] for line in lines}


def test_a_models_name_leads_to_its_upstream_and_its_bytes_stay() -> None:
    body = b'{"model" : "model-a", "messages":[{"role":"user","content":"hi"}]}'
    played = chat(policy(), sent=body)
    assert (header(played, "upstream"), header(played, "model")) == ("model-a", "model-a")
    assert played.upstream is not None
    assert played.upstream.body == body
    assert reasons(played)[0] == "upstream model-a"


def test_an_alias_becomes_the_upstreams_name_and_the_client_sees_its_own() -> None:
    played = chat(policy(), sent=asking(model="small"), answer=whole({"content": "hi"}, model="model-b-mini-0718"))
    assert went_on(played) == asking(model="model-b-mini")
    assert (header(played, "upstream"), header(played, "model")) == ("model-b", "model-b-mini")
    assert played.client is not None
    assert played.client.json == whole({"content": "hi"}, model="small")
    assert (played.trail.target, played.trail.facts["model"]) == ("small", "model-b-mini")
    assert (played.metadata["upstream"], played.metadata["model"]) == ("model-b", "model-b-mini")


@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_every_event_of_a_stream_has_the_clients_name_however_it_was_cut(cuts: Sequence[int]) -> None:
    events = [says("grüße 🦊"), says("!", model="model-b-mini-0718"), chunk(finish="stop"), chunk(usage={})]
    body = stream(*[{**event, "model": event["model"].replace("m", "model-b-mini", 1)} for event in events])

    def cut(sent: bytes) -> Sequence[bytes]:
        ends = [0, *sorted(at for at in cuts if at < len(sent)), len(sent)]
        return [sent[start:end] for start, end in itertools.pairwise(ends)]

    played = chat(policy(), sent=asking(model="small", stream=True), answer=body, cut=cut)
    assert played.client is not None
    assert names(played.client.body) == {"small"}
    assert played.client.body == stream(*[{**event, "model": "small"} for event in events])


def test_an_event_that_names_no_model_stays_as_it_is() -> None:
    first = b'data: {"choices":[],"model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    body = first + b'data: {"choices":[]}\n\n' + stream(says("hi", model="small"), chunk(finish="stop", model="small"))
    played = chat(policy(), sent=asking(model="small", stream=True), answer=body)
    assert played.client is not None
    assert played.client.body == body


def test_what_an_upstream_makes_of_a_name_that_was_not_changed_stays() -> None:
    answer = whole({"content": "hi"}, model="model-a-2026-01-01")
    played = chat(policy(), sent=asking(model="model-a"), answer=answer)
    assert played.client is not None
    assert played.client.json == answer


def test_an_upstreams_error_reaches_the_client_as_it_is() -> None:
    played = chat(policy(), sent=asking(model="small"), answer={"error": {"message": "busy"}}, status=429)
    assert played.client is not None
    assert (played.client.status, played.client.json) == (429, {"error": {"message": "busy"}})


def test_a_clients_copies_of_our_headers_are_removed_or_overwritten() -> None:
    forged = {"x-gatehouse-upstream": "model-b", "x-gatehouse-model": "x", "x-gatehouse-tenant": "acme"}
    named = chat(policy(), sent=asking(model="model-a"), headers=forged)
    assert [header(named, name) for name in ("upstream", "model", "tenant")] == ["model-a", "model-a", None]
    unlisted = chat(policy(unlisted="pass"), sent=asking(model="other"), headers=forged)
    assert [header(unlisted, name) for name in ("upstream", "model", "tenant")] == [None, "other", None]


def test_an_unlisted_name_is_denied_as_openai_denies_it() -> None:
    for name in ("other", "Model-a", "model-a ", ""):
        status, error = refusal(chat(policy(), sent=asking(model=name)))
        assert (status, error["type"], error["code"]) == (404, "invalid_request_error", "model-unknown")
        assert error["trail"] == "trail-1"


def test_an_unlisted_name_can_pass_without_a_choice() -> None:
    played = chat(policy(unlisted="pass"), sent=asking(model="other"))
    assert went_on(played) == asking(model="other")
    assert reasons(played)[0] == "unlisted"
    assert "upstream" not in played.trail.facts


def test_the_list_of_models_is_nobodys_choice() -> None:
    asked = HttpRequest(method="GET", path="/v1/models", headers={"x-gatehouse-upstream": "model-b"})
    listed = HttpResponse(b'{"object":"list","data":[{"id":"model-a","object":"model"}]}')
    played = pass_through(book(policy()), asked, listed)
    assert played.client is not None
    assert played.client.body == listed.body
    assert header(played, "upstream") is None


def chosen(
    routing: ModelRouting, trail: str, *, subject: str = "", tenant: str = "", model: str = "m", **headers: str
) -> tuple[str, str]:
    """The upstream that is chosen in an exchange, and the model's name there."""
    kind = Kind.HUMAN if subject else Kind.UNKNOWN
    head = RequestHead("POST", "/v1/chat/completions", "models.example", Headers.of(**headers))
    identity = Identity(kind, subject, tenant=tenant) if subject else UNKNOWN
    context: Context[State] = Context(Exchanged(identity, "models", "openai", head, Trail(trail)), State())
    verdict = routing.on_request(_Asked({"model": model}, b""), context)
    assert isinstance(verdict, Mutation)
    return verdict.facts["upstream"], verdict.facts.get("model", "")


class _Asked(Generation):
    __slots__ = ()

    def with_model(self, name: str) -> _Asked:
        return _Asked({"model": name}, b"")


def counted(routing: ModelRouting, count: int = 4000) -> Counter[tuple[str, str]]:
    return Counter(chosen(routing, f"trail-{number}") for number in range(count))


def test_weights_are_honoured_and_weight_0_takes_an_upstream_out() -> None:
    found = counted(policy(SPLIT))
    assert set(found) == {("a", ""), ("b", "")}
    assert 2850 < found["a", ""] < 3150  # 3000 of 4000; five standard deviations are 137


def test_two_models_of_one_upstream_share_by_their_weights() -> None:
    upstreams = [{"name": "a", "model": "old", "weight": 3}, {"name": "a", "model": "new"}]
    found = counted(policy({"m": {"upstreams": upstreams}}))
    assert set(found) == {("a", "old"), ("a", "new")}
    assert 2850 < found["a", "old"] < 3150


@pytest.mark.parametrize(
    ("sticky", "key"),
    [
        ({"by": "subject"}, lambda number: {"subject": f"user-{number}"}),
        ({"by": "tenant"}, lambda number: {"subject": "any", "tenant": f"tenant-{number}"}),
        ({"by": "header", "header": "x-session"}, lambda number: {"x_session": f"session-{number}"}),
    ],
)
def test_who_has_the_same_key_stays_with_the_same_upstream(sticky: dict[str, str], key: Any) -> None:
    routing = policy(SPLIT, sticky=sticky)
    homes = [{chosen(routing, f"trail-{trail}", **key(number))[0] for trail in range(5)} for number in range(400)]
    assert all(len(home) == 1 for home in homes)
    assert 250 < homes.count({"a"}) < 350  # and over all keys the weights hold


def test_without_a_key_every_exchange_is_weighed_by_itself() -> None:
    for sticky in ({"by": "subject"}, {"by": "tenant"}, {"by": "header", "header": "x-session"}):
        routing = policy(SPLIT, sticky=sticky)
        assert {chosen(routing, f"trail-{trail}")[0] for trail in range(50)} == {"a", "b"}


def test_any_text_is_a_key() -> None:
    routing = policy(SPLIT, sticky={"by": "subject"})
    for subject in ("\ud800", "\udcff", "🦊", "\0"):
        assert chosen(routing, "t", subject=subject) == chosen(routing, "another", subject=subject)


def test_taking_one_upstream_out_moves_only_its_own_callers() -> None:
    three = [{"name": name} for name in ("a", "b", "c")]
    before = policy({"m": {"upstreams": three}}, sticky={"by": "subject"})
    after = policy({"m": {"upstreams": [*three[:2], {"name": "c", "weight": 0}]}}, sticky={"by": "subject"})
    moved = set()
    for number in range(300):
        was, now = (chosen(routing, "t", subject=f"user-{number}")[0] for routing in (before, after))
        moved |= {was} if was != now else set()
    assert moved == {"c"}


def test_a_repeated_exchange_is_decided_alike() -> None:
    assert {chosen(policy(SPLIT), "trail-7") for _ in range(20)} == {chosen(policy(SPLIT), "trail-7")}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"models": {}},
        {"models": {"": {"upstreams": [{"name": "a"}]}}},
        {"models": {"m": {"upstreams": []}}},
        {"models": {"m": {"upstreams": [{"name": "a", "weight": 0}]}}},
        {"models": {"m": {"upstreams": [{"name": "a", "weight": -1}]}}},
        {"models": {"m": {"upstreams": [{"name": "a", "weight": float("nan")}]}}},
        {"models": {"m": {"upstreams": [{"name": "a", "weight": float("inf")}]}}},
        {"models": {"m": {"upstreams": [{"name": "a"}, {"name": "a", "weight": 2}]}}},
        {"models": {"m": {"upstreams": [{"name": "a b"}]}}},
        {"models": {"m": {"upstreams": [{"name": "é"}]}}},
        {"models": {"m": {"upstreams": [{"name": "a\n"}]}}},
        {"models": {"m": {"upstreams": [{"name": "a", "model": ""}]}}},
        {"models": MODELS, "unlisted": "allow"},
        {"models": MODELS, "sticky": {"by": "header"}},
        {"models": MODELS, "sticky": {"by": "subject", "header": "x-session"}},
        {"models": MODELS, "sticky": {"by": "header", "header": "X-Session"}},
        {"models": MODELS, "sticky": {}},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)
