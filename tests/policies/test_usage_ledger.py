"""usage with a ledger: one record per exchange, opened before the request goes on, whatever becomes of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.bundle.load import examine
from ext_proc.engine.pipeline import Binding
from ext_proc.ledger.ledger import Ledger
from ext_proc.ledger.record import Counted, LedgerError, State, UsageRecord, decode
from ext_proc.messages import Generation
from ext_proc.policy import Context, Deny, NoParameters, Policy, Secret, Verdict
from ext_proc.secret import CONTEXT_KEY
from ext_proc.testing import HttpResponse, call, in_force, pass_through, request, response
from gatehouse_policies.usage import Parameters, UsageMeter
from tests.policies.chats import PATH, book, chat
from tests.unit.codecs.openai_building import asking, chunk, says, stream, whole
from tests.unit.ledger.keeping import kept

COUNTED = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
ANSWER = whole({"content": "hi"}, usage=COUNTED, model="gpt-5.1-2025-11-13")
TRACE = "0af7651916cd43dd8448eb211c80319c"
CLAIMS = {
    "sub": "alice",
    "iss": "https://idp.example",
    "tenant": "acme",
    "act": {"sub": "agent-7"},
    "azp": "the-app",
}
PRICES = {"currency": "EUR", "rows": [{"model": "gpt-5.1*", "input": "1", "output": "10"}]}


class Refuses(Policy[NoParameters, None]):
    """Denies every request."""

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        return Deny("never", "not here")


class Loops(Policy[NoParameters, None]):
    """Measures what another policy would know of loops."""

    def on_request(self, message: Generation, ctx: Context[None]) -> None:
        ctx.measure("loops", 3)


def meter(path: Path, *, others: Mapping[str, Any] | None = None, **ledger: Any) -> UsageMeter:
    key = {"hash": Secret("hash", b"0123456789abcdef")}
    written = {"ledger": {"sink": "sqlite", "path": str(path), "timeout": "5s", **ledger}, **(others or {})}
    return UsageMeter("meter", Parameters.model_validate(written, context={CONTEXT_KEY: key}))


def bound(policy: Policy[Any, Any], **binding: Any) -> Binding:
    return Binding(policy, timeout=10.0, **binding)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def only(path: Path) -> UsageRecord:
    (found,) = kept(path).values()
    return found


def test_an_exchange_has_one_record_with_who_asked_for_what_and_what_it_took(path: Path) -> None:
    policy = meter(
        path,
        others={"prices": PRICES},
        workflow={"by": "header", "name": "x-workflow"},
        parent={"by": "baggage", "name": "parent"},
        project={"by": "header", "name": "x-project"},
    )
    headers = {
        "x-workflow": "w-1",
        "x-project": "search",
        "baggage": "parent=p%201,other=x",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "x-stainless-retry-count": "2",
    }
    played = chat(Loops("loops", NoParameters()), bound(policy), claims=CLAIMS, headers=headers, answer=ANSWER)
    found = only(path)
    assert (found.id, found.revision, found.route, found.server) == (played.trail.id, "r1", "models", "models")
    assert (found.workflow, found.parent, found.project, found.trace) == ("w-1", "p 1", "search", TRACE)
    assert (found.tenant, found.subject, found.actor, found.client) == ("acme", "alice", "agent-7", "the-app")
    assert len(found.principal) == 43
    assert (found.model_asked, found.model_served) == (asking()["model"], "gpt-5.1-2025-11-13")
    assert (found.input_tokens, found.output_tokens, found.cached_tokens, found.reasoning_tokens) == (12, 30, 8, 20)
    assert (found.counted, found.state) == (Counted.REPORTED, State.CLOSED)
    assert (found.cost, found.currency) == ("0.000312", "EUR")
    assert (found.client_retries, found.retries, found.loops) == (2, None, 3)
    assert (found.status, found.outcome, found.cause) == (200, "ok", "complete")
    assert set(found.path) == {"loops:allow", "meter:allow"}
    assert found.total_seconds is not None
    assert found.queue_seconds is not None


def test_nothing_of_the_payload_is_in_it(path: Path) -> None:
    sent = asking(messages=[{"role": "user", "content": "the-secret-plan"}])
    chat(bound(meter(path)), sent=sent, answer=whole({"content": "the-secret-answer"}, usage=COUNTED))
    data = b"".join(file.read_bytes() for file in path.parent.glob("usage.db*") if file.is_file())
    assert b"meter:allow" in data
    assert b"the-secret" not in data


def test_a_streams_record_says_when_its_first_token_came(path: Path) -> None:
    body = stream(says("hel"), says("lo"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": COUNTED})
    chat(bound(meter(path)), sent=asking(stream=True), answer=body)
    found = only(path)
    assert found.first_token is not None
    assert found.first_token >= found.opened
    assert found.seconds_per_output_token is not None


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60))
def test_however_a_stream_is_cut_it_has_the_same_record(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "usage.db"
    body = stream(says("hel"), says("lo"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": COUNTED})
    chat(
        bound(meter(path)),
        sent=asking(stream=True),
        answer=body,
        cut=lambda sent: [sent[at : at + size] for at in range(0, len(sent), size)] or [b""],
    )
    found = only(path)
    assert (found.input_tokens, found.output_tokens, found.counted, found.state) == (12, 30, "reported", "closed")


def test_a_stream_that_broke_off_is_estimated_and_says_so(path: Path) -> None:
    asked = request(asking(stream=True), path=PATH)
    body = stream(says("hello"))[: -len(b"data: [DONE]\n\n")]
    came = HttpResponse(body, 200, {"content-type": "text/event-stream"}, sized=False, complete=False)
    pass_through(book(bound(meter(path))), asked, came)
    found = only(path)
    assert (found.state, found.counted, found.outcome) == (State.CLOSED, Counted.ESTIMATED, "truncated")
    assert found.output_tokens > 0
    assert found.cause == "cancelled"


def test_the_figures_of_a_stream_are_written_while_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[UsageRecord] = []
    before = Ledger.checkpoint

    def checkpoint(ledger: Ledger, record: UsageRecord) -> bool:
        written.append(record)
        return before(ledger, record)

    monkeypatch.setattr(Ledger, "checkpoint", checkpoint)
    events = [says("word " * 20) for _ in range(5)]
    policy = meter(path, checkpoint="0.001ms")
    played = chat(
        bound(policy), sent=asking(stream=True), answer=stream(*events, chunk(finish="stop")), cut=one_event_each
    )
    assert played.client is not None
    tokens = [record.output_tokens for record in written]
    assert len(tokens) > 1
    assert tokens == sorted(tokens)
    assert 0 < tokens[0] < tokens[-1]
    assert {str(record.counted) for record in written} == {"estimated"}
    assert all(record.checkpointed is not None for record in written)


def one_event_each(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def test_an_answer_that_is_asked_for_its_usage_has_a_record_too(path: Path) -> None:
    body = stream(says("hello"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": COUNTED})
    policy = meter(path, others={"include_usage": "add-and-hide"})
    played = chat(bound(policy), sent=asking(stream=True), answer=body)
    assert played.upstream is not None
    assert msgspec.json.decode(played.upstream.body)["stream_options"] == {"include_usage": True}
    assert played.client is not None
    assert b"completion_tokens" not in played.client.body
    assert (only(path).output_tokens, only(path).counted) == (30, "reported")


def test_a_request_that_was_denied_before_it_has_no_record_and_one_denied_after_it_has_no_figures(path: Path) -> None:
    chat(Refuses("no", NoParameters()), bound(meter(path)))
    assert kept(path) == {}
    chat(bound(meter(path)), Refuses("no", NoParameters()))
    found = only(path)
    assert (found.outcome, found.counted, found.path) == ("refused", Counted.NOT, ("meter:allow", "no:deny"))


def test_an_error_of_the_providers_has_a_record_without_figures(path: Path) -> None:
    chat(bound(meter(path)), answer={"error": {"message": "no"}}, status=429)
    found = only(path)
    assert (found.status, found.outcome, found.counted) == (429, "protocol_error", Counted.NOT)


def test_envoys_retries_are_told_where_envoy_tells_them(path: Path) -> None:
    asked = request(asking(), path=PATH)
    came = response(ANSWER, headers={"content-type": "application/json", "x-envoy-attempt-count": "3"})
    pass_through(book(bound(meter(path))), asked, came)
    assert only(path).retries == 2


def test_what_is_no_generation_has_no_record(path: Path) -> None:
    result = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    pass_through(book(bound(meter(path))), request(call("search")), response(result))
    assert kept(path) == {}


def test_exchanges_of_one_policy_each_have_their_record(path: Path) -> None:
    policy = meter(path)
    with in_force(policy):
        for id in ("t-1", "t-2", "t-2"):
            pass_through(book(bound(policy)), request(asking(), path=PATH), response(ANSWER), trail_id=id)
    assert sorted(kept(path)) == ["t-1", "t-2"]


@pytest.mark.parametrize("deny", [True, False])
def test_where_no_record_can_be_opened_on_error_decides(
    path: Path, monkeypatch: pytest.MonkeyPatch, deny: bool
) -> None:
    async def fails(ledger: Ledger, record: UsageRecord) -> bool:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Ledger, "open", fails)
    played = chat(bound(meter(path), deny_on_error=deny))
    assert (played.upstream is None) is deny
    assert "error" in {str(entry.verdict) for entry in played.trail.entries if entry.policy == "meter"}


def test_what_cannot_be_read_is_denied_where_records_are_kept(path: Path) -> None:
    sent = request(b"x", path="/v1/anything")
    assert pass_through(book(bound(meter(path))), sent, response({})).upstream is None
    assert pass_through(book(UsageMeter("meter", Parameters())), sent, response({})).upstream is not None


def test_without_a_ledger_no_exchange_waits() -> None:
    hooks = Binding(UsageMeter("meter", Parameters())).hooks.values()
    assert [hook.is_async for hook in hooks] == [False, False]


def test_a_shadow_meter_has_records_too(path: Path) -> None:
    chat(bound(meter(path), enforce=False), answer=ANSWER)
    found = only(path)
    assert (found.output_tokens, found.path) == (30, ("meter:allow:shadow",))


def test_equal_requests_have_equal_hashes_with_a_key_and_none_without(path: Path) -> None:
    with in_force(policy := meter(path, hash_key="hash")):
        for id, text in (("1", "hello"), ("2", "hello"), ("3", "other")):
            sent = request(asking(messages=[{"role": "user", "content": text}]), path=PATH)
            pass_through(book(bound(policy)), sent, response(ANSWER), trail_id=id)
    one, two, three = (found.prompt_hash for _, found in sorted(kept(path).items()))
    assert one == two != three
    assert len(one) == 32
    plain = path.with_name("plain.db")
    chat(bound(meter(plain)))
    assert only(plain).prompt_hash == ""


def test_lines_of_json_are_a_ledger_too(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    policy = UsageMeter("meter", Parameters.model_validate({"ledger": {"sink": "jsonl", "path": str(path)}}))
    chat(bound(policy), answer=ANSWER)
    assert decode(path.read_bytes()).output_tokens == 30


@pytest.mark.parametrize(
    ("ledger", "message"),
    [
        ({"sink": "sqlite"}, "expected `path` with sqlite and jsonl"),
        ({"sink": "stdout", "path": "x"}, "expected `path` with sqlite and jsonl"),
        ({"sink": "otlp"}, "expected `endpoint` with otlp"),
        ({"sink": "otlp", "endpoint": "collector:4317"}, "match"),
        ({"sink": "stdout", "send": [{"sink": "stdout"}]}, "expected `send` with sqlite only"),
        ({"sink": "sqlite", "path": "x", "send": [{"sink": "jsonl"}]}, "expected `path` with jsonl"),
        ({"sink": "stdout", "workflow": {"by": "header"}}, "expected `name`"),
        ({"sink": "stdout", "workflow": {"by": "header", "name": "X-Up"}}, "lower case"),
        ({"sink": "stdout", "hash_key": "short"}, "at least 16 bytes"),
        ({"sink": "stdout", "path": ""}, "expected the path of a file"),
    ],
)
def test_what_makes_no_sense_is_a_problem_of_the_bundle(ledger: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Parameters.model_validate({"ledger": ledger}, context={CONTEXT_KEY: {"short": Secret("short", b"0123")}})


@pytest.mark.parametrize(
    ("ledger", "weakness"),
    [
        ({"sink": "sqlite", "path": "/var/lib/gatehouse/usage.db"}, ""),
        ({"sink": "sqlite", "path": "/tmp/usage.db"}, "/tmp is often emptied"),
        ({"sink": "sqlite", "path": "/tmp/usage.db", "send": [{"sink": "stdout"}]}, ""),
        ({"sink": "stdout"}, "lost when the process ends"),
        ({"sink": "otlp", "endpoint": "http://127.0.0.1:4317"}, "lost when the process ends"),
    ],
)
def test_where_records_may_be_lost_it_says_so(ledger: dict[str, Any], weakness: str) -> None:
    said = UsageMeter("meter", Parameters.model_validate({"ledger": ledger})).weaknesses()
    assert [weakness in sentence for sentence in said] == ([True] if weakness else [])


def test_figures_that_are_none_are_left_out_of_a_record(path: Path) -> None:
    class Lies(Policy[NoParameters, None]):
        def on_request(self, message: Generation, ctx: Context[None]) -> None:
            ctx.measure("loops", "many")
            ctx.measure("input_tokens", -4)
            ctx.measure("user_tokens", True)

    chat(Lies("lies", NoParameters()), bound(meter(path)), answer={"error": {"message": "no"}})
    found = only(path)
    assert (found.loops, found.input_tokens, found.user_tokens) == (None, 0, None)


CHECKED = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: metered}
routes: [{name: models, match: {path: /v1}, protocol: openai, policies: [meter]}]
policies: [{name: meter, type: usage, mode: MODE, parameters: {ledger: {sink: jsonl, path: logs/usage.jsonl}}}]
"""


def test_check_warns_of_records_that_may_be_lost_and_opens_nothing(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(CHECKED.replace("MODE", "enforce"))
    (warning,) = examine(bundle).warnings
    assert warning.path == "policies[0].parameters"
    assert "with sink jsonl the records of exchanges that run are lost" in warning.message
    bundle.write_text(CHECKED.replace("MODE", '"off"'))
    assert [found.path for found in examine(bundle).warnings if "ledger" in found.message] == []
    assert list(tmp_path.iterdir()) == [bundle]
