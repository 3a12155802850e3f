"""usage: what the provider counted is on record, what it did not is counted here and marked, and what it costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken import Encoding

from ext_proc.codecs.llm_prompts import BEFORE_ANSWER, PER_MESSAGE
from ext_proc.codecs.openai_chat_messages import ChatChunk
from ext_proc.engine.hooks import hooks_of
from ext_proc.engine.pipeline import Binding
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import Completion, Generation, RequestHead, ResponseHead, ResponseText, Usage, encode_json
from ext_proc.policy import Context, Deny, Exchanged, Mutation, NoParameters, Policy, TextDeny, TextVerdict, Verdict
from ext_proc.testing import Played, call, pass_through, request, response
from ext_proc.tokens.counting import count
from ext_proc.tokens.encodings import load
from ext_proc.tokens.estimating import estimate
from ext_proc.trail import Trail
from gatehouse_policies.usage import Parameters, UsageMeter
from gatehouse_policies.usage_prices import PriceTable
from gatehouse_policies.usage_tokens import Tokenizer
from tests.exchange.test_cutting import cut_at
from tests.exchange.text_policies import Replace
from tests.policies.chats import ANSWER, PATH, book, chat, went_on
from tests.unit.codecs.openai_building import asking, chunk, encoded, read_request, says, stream, whole

COUNTED = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
FIGURES = {
    "usage_reported": True,
    "usage_estimated": False,
    "input_tokens": 12,
    "output_tokens": 30,
    "total_tokens": 42,
    "cached_tokens": 8,
    "cache_write_tokens": 3,
    "reasoning_tokens": 20,
    "input_audio_tokens": 0,
    "output_audio_tokens": 0,
}
UNTOLD = {"usage_reported": False}
HEAD = RequestHead("POST", "/v1/chat/completions", "models.example", Headers())
EXACT = Tokenizer(default="o200k_base")
PRICES = PriceTable.model_validate({"currency": "EUR", "rows": [{"model": "m", "input": 2, "output": 10, "cached": 1}]})
SAID = {"role": "user", "content": "hello there, you"}
HELLO = count("hello", load("o200k_base"))
PROMPT = PER_MESSAGE + HELLO + BEFORE_ANSWER  # what `asking()` says


def policy(**parameters: Any) -> UsageMeter:
    return UsageMeter("usage", Parameters(**parameters))


def asks(**parameters: Any) -> UsageMeter:
    """The policy that asks for what the client did not."""
    return policy(include_usage="add-and-hide", **parameters)


def figures(played: Played) -> dict[str, Any]:
    """What the trail has of usage, which must be what Envoy was told."""
    found = {name: value for name, value in played.trail.facts.items() if "usage" in name or "tokens" in name}
    assert {name: played.metadata[name] for name in found} == found
    return found


class Refusing(Policy[NoParameters, None]):
    """Denies every request."""

    def __init__(self) -> None:
        super().__init__("refusing", NoParameters())

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        return Deny("no", "no")


class Stopping(Policy[NoParameters, None]):
    """Ends an answer at the word "stop"."""

    def __init__(self) -> None:
        super().__init__("stopping", NoParameters())

    def on_text(self, text: ResponseText, ctx: Context[None]) -> TextVerdict:
        return TextDeny("stopped") if "stop" in text.text else None


def said(**usage: Any) -> dict[str, Any]:
    """The event that tells usage and nothing else."""
    return {**chunk(), "choices": [], "usage": usage}


def test_what_the_provider_counted_is_in_the_trail_and_in_envoys_metadata() -> None:
    assert figures(chat(policy(), answer=whole({"content": "hi"}, usage=COUNTED))) == FIGURES


def test_a_streams_usage_is_read_and_no_byte_of_it_changed() -> None:
    body = stream(says("hello"), chunk(finish="stop"), said(**COUNTED))
    played = chat(policy(), sent=asking(stream=True), answer=body, cut=lambda sent: [sent[:40], sent[40:]])
    assert figures(played) == FIGURES
    assert played.client is not None
    assert played.client.body == body


def test_with_an_encoding_too_no_text_of_a_stream_is_counted_that_the_provider_tells_of() -> None:
    told = stream(*[says("Once upon a time there was a fox. " * 30)] * 20, chunk(finish="stop"), said(**COUNTED))
    with patch.object(Encoding, "encode_ordinary") as counts:
        assert figures(chat(policy(tokenizer=EXACT), sent=asking(stream=True), answer=told)) == FIGURES
    assert not counts.called


def test_of_running_totals_the_last_counts() -> None:
    totals = [says("a", usage={"prompt_tokens": 5, "completion_tokens": count}) for count in (1, 2, 3)]
    found = figures(chat(policy(), sent=asking(stream=True), answer=stream(*totals, chunk(finish="stop"))))
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, 3, 8)


def test_a_total_is_not_undone_by_an_event_that_says_less() -> None:
    body = stream(
        says("a", usage={"prompt_tokens": 5, "completion_tokens": 0}),
        says("b", usage={"prompt_tokens": 0, "completion_tokens": 7}),
        chunk(finish="stop", usage={}),
    )
    found = figures(chat(policy(), sent=asking(stream=True), answer=body))
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, 7, 12)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        whole({"content": "hello"}, usage=None),
        whole({"content": "hello"}, usage={"prompt_tokens": "12", "completion_tokens": 1}),
        whole({"content": "hello"}, usage={"prompt_tokens": -1, "completion_tokens": 1}),
        whole({"content": "hello"}, usage={"prompt_tokens": 10**12, "completion_tokens": 1}),
        stream(says("hel"), says("lo"), chunk(finish="stop")),
    ],
    ids=["none", "null", "text", "negative", "implausible", "a stream that was not asked to tell"],
)
def test_where_the_provider_did_not_say_the_tokens_are_counted_here_and_marked(answer: Any) -> None:
    played = chat(policy(tokenizer=EXACT), answer=answer)
    assert figures(played) == {
        **{"usage_reported": False, "usage_estimated": True},
        **{"input_tokens": PROMPT, "output_tokens": HELLO, "total_tokens": PROMPT + HELLO},
    }
    assert played.trail.facts["tokenizer"] == "o200k_base"


def test_without_an_encoding_they_are_estimated_by_kinds_of_characters() -> None:
    played = chat(policy(), answer=whole({"content": "hello " * 100}))
    assert played.trail.facts["tokenizer"] == "estimate"
    assert figures(played)["output_tokens"] == estimate("hello " * 100)


@pytest.mark.parametrize(
    ("answer", "status"), [({"error": {"message": "no"}}, 200), (ANSWER, 500), ({"error": {"message": "no"}}, 429)]
)
def test_an_error_has_no_figures(answer: Any, status: int) -> None:
    assert figures(chat(policy(), answer=answer, status=status)) == UNTOLD


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (asking(), encoded(whole({"content": "hello"}))[:-9]),
        (asking(), encoded(whole({"content": "hello"}))[:-1] + b',"id":"x"}'),
        (asking(), b"<html>all is well</html>"),
        (asking(stream=True), stream(says("hello"))[:40]),
    ],
    ids=["cut off", "a key twice", "no JSON", "a stream before its first event"],
)
@pytest.mark.parametrize("enforced", [False, True])
def test_of_an_answer_that_came_and_cannot_be_read_the_prompt_is_counted(
    sent: Any, answer: bytes, enforced: bool
) -> None:
    others = [Replace("nothing", "x")] if enforced else []
    kind = "text/event-stream" if sent.get("stream") else "application/json"
    came = response(answer, headers={"content-type": kind}, sized=kind.endswith("json"))
    played = pass_through(book(policy(tokenizer=EXACT), *others), request(sent, path=PATH), came)
    assert played.trail.outcome in ({"refused"} if enforced else {"truncated", "invalid"})
    found = figures(played)
    assert (found["usage_reported"], found["usage_estimated"]) == (False, True)
    assert (found["input_tokens"], found["output_tokens"]) == (PROMPT, 0)


def test_a_request_that_a_policy_denied_used_nothing() -> None:
    played = chat(policy(), Refusing())
    assert played.upstream is None
    assert figures(played) == UNTOLD


def test_of_a_stream_that_was_cut_off_what_came_is_counted() -> None:
    body = stream(says("hello"), says("hello"), says("never came"))
    cut_off = body[: body.index(b"never")]
    found = figures(chat(policy(tokenizer=EXACT), sent=asking(stream=True), answer=cut_off))
    assert (found["usage_estimated"], found["input_tokens"]) == (True, PROMPT)
    assert found["output_tokens"] == count("hellohello", load("o200k_base"))


def test_what_was_reported_before_a_stream_was_cut_off_stays_and_the_rest_is_counted() -> None:
    told = says("hello", usage={"prompt_tokens": 500, "completion_tokens": 7})
    body = stream(told, says("hello"), says("never came"))
    found = figures(chat(policy(tokenizer=EXACT), sent=asking(stream=True), answer=body[: body.index(b"never")]))
    assert (found["usage_reported"], found["usage_estimated"]) == (False, True)
    assert (found["input_tokens"], found["output_tokens"]) == (500, 7 + HELLO)


def test_of_a_stream_that_a_policy_stopped_what_came_is_counted() -> None:
    body = stream(says("hello"), says("stop"), says("hello"), chunk(finish="stop"), said(**COUNTED))
    played = chat(Stopping(), policy(tokenizer=EXACT), sent=asking(stream=True), answer=body)
    assert played.trail.outcome == "refused"
    found = figures(played)
    assert (found["usage_reported"], found["usage_estimated"]) == (False, True)
    assert HELLO < found["output_tokens"] <= 3 * HELLO


def test_a_server_that_never_writes_a_reason_is_believed_where_its_usage_covers_all() -> None:
    events = [says("hello"), said(**COUNTED)]
    for event in events:
        for choice in event["choices"]:
            del choice["finish_reason"]
    assert figures(chat(policy(), sent=asking(stream=True), answer=stream(*events))) == FIGURES


def test_a_copy_of_a_text_in_another_field_is_not_counted_twice() -> None:
    delta = {
        "content": "hello",
        "reasoning": "hello",
        "reasoning_details": [{"type": "reasoning.text", "text": "hello"}],
    }
    events = stream(chunk(delta, finish="stop"))
    found = figures(chat(policy(tokenizer=EXACT), sent=asking(stream=True), answer=events))
    assert found["output_tokens"] == 2 * HELLO


def test_the_parts_of_a_prompt_are_counted_where_that_is_asked_for() -> None:
    turns = [
        {"role": "system", "content": "hello"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "hello"},
    ]
    meter = policy(split_prompt=True, tokenizer=EXACT)
    found = figures(chat(meter, sent=asking(messages=turns)))
    one = HELLO + PER_MESSAGE
    assert {name: found[name] for name in ("system_tokens", "history_tokens", "user_tokens")} == {
        **{"system_tokens": one + BEFORE_ANSWER, "history_tokens": 2 * one, "user_tokens": one}
    }
    assert (found["tool_result_tokens"], found["tool_definition_tokens"]) == (0, 0)


@pytest.mark.parametrize("told", [0, 1, 12, 13, 1_000_003])
def test_of_a_prompt_whose_tokens_the_provider_says_the_parts_are_shares_by_their_lengths(told: int) -> None:
    turns = [
        {"role": "system", "content": "word " * 300},
        {"role": "user", "content": "word " * 100},
        {"role": "assistant", "content": "word " * 100},
        {"role": "user", "content": "word " * 500},
    ]
    answer = whole({"content": "hello"}, usage={"prompt_tokens": told, "completion_tokens": 1})
    with patch.object(Encoding, "encode", side_effect=AssertionError("counted")):
        found = chat(policy(split_prompt=True, tokenizer=EXACT), sent=asking(messages=turns), answer=answer).trail.facts
    parts = [found[f"{name}_tokens"] for name in ("system", "history", "user", "tool_result", "tool_definition")]
    assert sum(parts) == found["input_tokens"] == told
    assert all(
        abs(part - told * share) <= max(1, told * 0.01) for part, share in zip(parts[:3], (0.3, 0.2, 0.5), strict=True)
    )


LONGER = "a sentence that Gatehouse puts into a prompt"


class Adding(Policy[NoParameters, None]):
    """Puts words of its own before the caller's."""

    def __init__(self) -> None:
        super().__init__("adding", NoParameters())

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        value = {**message.value, "messages": [{"role": "system", "content": LONGER}, *message.value["messages"]]}
        return Mutation(message=type(message)(value, encode_json(value)))


@pytest.mark.parametrize("before", [True, False])
def test_what_policies_added_to_the_prompt_is_synthetic_wherever_they_stand(before: bool) -> None:
    meter = policy(split_prompt=True, tokenizer=EXACT)
    first: Any
    last: Any
    first, last = (Adding(), meter) if before else (meter, Adding())
    played = chat(first, last)
    added = count(LONGER, load("o200k_base")) + PER_MESSAGE
    assert played.trail.facts["synthetic_tokens"] == added
    assert played.trail.facts["input_tokens"] == PROMPT + added
    assert played.trail.facts["system_tokens"] == added + BEFORE_ANSWER


def test_what_policies_took_out_is_counted_against_what_they_added() -> None:
    meter = policy(split_prompt=True, tokenizer=EXACT)
    assert chat(meter).trail.facts["synthetic_tokens"] == 0
    longer = chat(meter, Replace("hello", "hello there, you")).trail.facts
    assert longer["synthetic_tokens"] == count("hello there, you", load("o200k_base")) - HELLO
    assert longer["user_tokens"] == longer["synthetic_tokens"] + HELLO + PER_MESSAGE
    shorter = chat(meter, Replace("hello there, you", "x"), sent=asking(messages=[SAID])).trail.facts
    assert shorter["synthetic_tokens"] == 0
    aliased = chat(meter, asks()).trail.facts  # another member of the request is no word of the prompt
    assert aliased["synthetic_tokens"] == 0


def test_an_agents_rounds_are_counted_unless_another_policy_has() -> None:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = [{"role": "assistant", "tool_calls": [called]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    sent = asking(messages=[SAID, *turn, *turn])
    assert chat(policy(split_prompt=True), sent=sent).trail.facts["loops"] == 2
    assert "loops" not in chat(policy(), sent=sent).trail.facts

    class Knowing(Policy[NoParameters, None]):
        def on_request(self, message: Generation, ctx: Context[None]) -> None:
            ctx.measure("loops", 7)

    assert chat(Knowing("k", NoParameters()), policy(split_prompt=True), sent=sent).trail.facts["loops"] == 7


def test_a_cost_is_a_decimal_beside_its_currency() -> None:
    played = chat(policy(prices=PRICES), answer=whole({"content": "hi"}, usage=COUNTED))
    cost = Decimal(4 * 2 + 8 * 1 + 30 * 10).scaleb(-6)  # 12 of input, 8 of them cached
    assert (played.trail.facts["cost"], played.trail.facts["currency"]) == (f"{cost:f}", "EUR")
    assert (played.metadata["cost"], played.metadata["currency"]) == (f"{cost:f}", "EUR")
    assert "price_unknown" not in played.trail.facts


def test_what_was_estimated_has_a_cost_too() -> None:
    facts = chat(policy(prices=PRICES, tokenizer=EXACT)).trail.facts
    assert facts["cost"] == f"{Decimal(PROMPT * 2 + HELLO * 10).scaleb(-6):f}".rstrip("0")
    assert facts["usage_estimated"] is True


def test_a_model_without_a_price_is_named_and_not_free() -> None:
    facts = chat(policy(prices=PRICES), sent=asking(model="n"), answer=whole({"content": "hi"}, model="o")).trail.facts
    assert facts["price_unknown"] == "o"
    assert facts["model_served"] == "o"
    assert not {"cost", "currency"} & facts.keys()


def test_a_models_name_that_no_text_can_carry_is_written_so_that_one_can() -> None:
    answer = stream(says("hi", model="m\ud83d" + "m" * 500), chunk(finish="stop"))
    played = chat(policy(prices=PRICES), sent=asking(model="n", stream=True), answer=answer)
    assert played.metadata["price_unknown"] == played.metadata["model_served"] == "m?" + "m" * 126


def test_a_cost_of_fewer_tokens_is_taken_back_where_the_price_of_the_others_is_unknown() -> None:
    meter = policy(prices=PriceTable.model_validate({"currency": "EUR", "rows": [{"model": "m", "input": 1}]}))
    exchanged = Exchanged(UNKNOWN, "models", "openai", HEAD, Trail("t"), response=ResponseHead(200, Headers()))
    context = Context(exchanged, meter.new_state())
    meter.on_request(read_request(asking(stream=True)), context)  # type: ignore[arg-type]  # it is a chat request
    meter.on_response(ChatChunk(said(prompt_tokens=3), b""), context)
    meter.settle(context)
    assert (exchanged.measures["cost"], exchanged.measures["currency"]) == ("0.000003", "EUR")
    meter.on_response(ChatChunk(said(prompt_tokens=3, completion_tokens=1), b""), context)
    meter.settle(context)
    assert {name: exchanged.measures[name] for name in ("cost", "currency", "price_unknown")} == {
        **{"cost": "", "currency": "", "price_unknown": "m"}
    }


def test_what_was_counted_before_the_provider_told_is_replaced_by_what_it_told() -> None:
    meter = policy(tokenizer=EXACT)
    exchanged = Exchanged(UNKNOWN, "models", "openai", HEAD, Trail("t"), response=ResponseHead(200, Headers()))
    context = Context(exchanged, meter.new_state())
    meter.on_request(read_request(asking(stream=True)), context)  # type: ignore[arg-type]  # it is a chat request
    meter.on_response(ChatChunk(chunk(finish="stop"), b""), context)
    meter.settle(context)
    assert (exchanged.measures["usage_estimated"], exchanged.measures["input_tokens"]) == (True, PROMPT)
    meter.on_response(ChatChunk(said(**COUNTED), b""), context)
    meter.settle(context)
    assert exchanged.measures.items() >= {**FIGURES, "tokenizer": ""}.items()


def test_an_asked_stream_is_exact_and_the_client_sees_nothing_of_the_asking() -> None:
    text = [says("hello", usage=None), chunk(finish="stop", usage=None), said(**COUNTED)]
    played = chat(asks(), sent=asking(stream=True), answer=stream(*text))
    assert went_on(played) == asking(stream=True, stream_options={"include_usage": True})
    assert figures(played) == FIGURES
    assert played.client is not None
    assert played.client.body == stream(says("hello"), chunk(finish="stop"))


def test_a_client_that_asked_sees_all_to_the_byte() -> None:
    sent = asking(stream=True, stream_options={"include_usage": True})
    body = stream(says("hello", usage=None), chunk(finish="stop", usage=None), said(**COUNTED))
    played = chat(asks(), sent=sent, answer=body)
    assert (went_on(played), figures(played)) == (sent, FIGURES)
    assert played.client is not None
    assert played.client.body == body


def test_what_a_client_said_of_its_stream_stays_beside_the_asking() -> None:
    sent = b'{"model":"m", "stream": true,"x":1.50,"stream_options":{"include_obfuscation":false,"include_usage":false}'
    sent += b',"messages":[{"role":"user","content":"hello"}]}'
    played = chat(asks(), sent=sent, answer=stream(says("hello"), chunk(finish="stop"), said(**COUNTED)))
    assert played.upstream is not None
    assert played.upstream.body == sent.replace(b'"include_usage":false', b'"include_usage":true')
    assert played.client is not None
    assert b"usage" not in played.client.body


@pytest.mark.parametrize("sent", [asking(), asking(stream=False), asking(stream=True, stream_options=7)])
def test_what_streams_nothing_or_cannot_be_asked_goes_on_as_it_is(sent: dict[str, Any]) -> None:
    answer = whole({"content": "hi"}, usage=COUNTED)
    played = chat(asks(), sent=sent, answer=answer)
    assert (went_on(played), figures(played)) == (sent, FIGURES)
    assert played.client is not None
    assert played.client.json == answer


def test_usage_beside_choices_is_its_servers_own_and_stays() -> None:
    body = stream(says("hello"), chunk(finish="stop", usage=COUNTED))
    played = chat(asks(), sent=asking(stream=True), answer=body)
    assert figures(played) == FIGURES
    assert played.client is not None
    assert played.client.body == body


def test_an_event_that_says_more_than_usage_loses_its_usage_alone() -> None:
    filtered = {"prompt_filter_results": [{"prompt_index": 0}]}
    first, last = {**chunk(), "choices": [], **filtered}, {**said(**COUNTED), **filtered}
    played = chat(asks(), sent=asking(stream=True), answer=stream({**first, "usage": None}, says("hello"), last))
    assert played.client is not None
    assert played.client.body == stream(first, says("hello"), first)


def test_in_shadow_nothing_is_asked_and_nothing_hidden() -> None:
    body = stream(says("hello", usage=None), chunk(finish="stop"), said(**COUNTED))
    played = chat(Binding(asks(), enforce=False), sent=asking(stream=True), answer=body)
    assert went_on(played) == asking(stream=True)
    assert played.client is not None
    assert played.client.body == body


def test_only_the_policy_that_asks_may_change_anything() -> None:
    plain, asking_ = hooks_of(policy(prices=PRICES, split_prompt=True)), hooks_of(asks())
    assert all(hook.observes for hook in plain.values())
    assert not any(hook.observes for hook in asking_.values())


hiding = stream(says("grüße 🦊", usage=None), chunk(finish="stop", usage=None), said(**COUNTED))


@given(st.lists(st.integers(0, len(hiding)), max_size=8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_at_any_cutting_the_same_is_measured_and_hidden(cuts: list[int], hides: bool) -> None:
    options = {} if hides else {"stream_options": {"include_usage": True}}
    sent = asking(stream=True, **options)
    played = chat(asks(), sent=sent, answer=hiding, cut=lambda body: cut_at(body, cuts))
    assert figures(played) == FIGURES
    assert played.client is not None
    assert played.client.body == (stream(says("grüße 🦊"), chunk(finish="stop")) if hides else hiding)


@given(st.lists(st.integers(0, len(hiding)), max_size=8), st.integers(0, len(hiding)))
@settings(max_examples=60, deadline=None)
def test_at_any_cutting_a_stream_that_ends_anywhere_has_the_same_figures(cuts: list[int], end: int) -> None:
    meter = policy(tokenizer=EXACT, prices=PRICES)
    whole_ = chat(meter, sent=asking(stream=True), answer=hiding[:end])
    cut = chat(meter, sent=asking(stream=True), answer=hiding[:end], cut=lambda body: cut_at(body, cuts))
    assert (cut.trail.facts, cut.metadata["outcome"]) == (whole_.trail.facts, whole_.metadata["outcome"])


def test_what_somebody_estimated_is_not_what_the_provider_counted() -> None:
    class Estimated(Completion):
        __slots__ = ()

        @property
        def usage(self) -> Usage:
            return Usage(1, 2, estimated=True)

    exchanged = Exchanged(UNKNOWN, "models", "openai", HEAD, Trail("t"))
    meter = policy()
    context = Context(exchanged, meter.new_state())
    meter.on_response(Estimated({}, b""), context)
    assert not context.state.told


def test_it_has_no_say_so_that_what_is_no_chat_passes_too() -> None:
    played = pass_through(book(policy()), request(b"x", path="/v1/embeddings"), response({"data": []}))
    assert played.upstream is not None
    assert "usage_reported" not in played.trail.facts


def test_it_says_nothing_about_mcp_on_the_same_route() -> None:
    result = {"content": [{"type": "text", "text": "found"}], "usage": COUNTED}
    answer = response({"jsonrpc": "2.0", "id": 1, "result": result})
    played = pass_through(book(policy()), request(call("search")), answer)
    assert (played.trail.method, played.trail.outcome) == ("tools/call", "ok")
    assert figures(played) == {}
