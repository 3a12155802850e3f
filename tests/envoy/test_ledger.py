"""The usage ledger through a real Envoy: one record per exchange, whoever breaks off, is killed or comes again.

Rules:
- The official OpenAI client asks; the upstream is scripted, so that a test decides where an answer stands still.
- What is in the ledger is read from its file, as `gatehouse usage` does.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from ext_proc.ledger.file import owners_of
from ext_proc.ledger.reading import Reading
from ext_proc.ledger.record import UsageRecord
from tests.envoy.bootstraps import patient
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import bundle_file, kill_gatehouse, nothing_left, restart_gatehouse, signal_gatehouse
from tests.envoy.upstream import Connection, Request, Script, json_body, pieces
from tests.unit.codecs.openai_building import chunk, says, stream, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: metered, revision: "1"}
routes:
  - {name: models, match: {path: /v1}, protocol: openai, policies: [meter]}
policies:
  - name: meter
    type: usage
    timeout: 5s
    parameters:
      ledger: {sink: sqlite, path: usage.db, timeout: 2s, checkpoint: 1ms, workflow: {by: header, name: x-workflow}}
limits: {decision: 5s}
"""
PRICES = '{currency: EUR, rows: [{model: "*", input: 1, output: 10}]}'
USAGE = {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42}
ANSWER = whole({"role": "assistant", "content": "hi"}, model="gpt-5.1-2025-11-13", usage=USAGE)
ASKED: dict[str, Any] = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "tell me a story"}]}


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=patient)


def ledger_of(running: Running) -> Path:
    return bundle_file(running).with_name("usage.db")


def records(running: Running, workflow: str) -> list[UsageRecord]:
    """The workflow's records: each test has one of its own."""
    return [record for record in Reading(ledger_of(running)).records() if record.workflow == workflow]


def ended(running: Running, workflow: str, count: int = 1) -> list[UsageRecord]:
    """The same, once there are as many and none is open."""

    def look() -> list[UsageRecord] | None:
        found = records(running, workflow)
        return found if len(found) == count and all(record.state != "open" for record in found) else None

    return wait_for(look, f"{count} records of {workflow} that are not open")


@contextmanager
def client(running: Running, workflow: str, retries: int = 0) -> Iterator[openai.OpenAI]:
    with (
        httpx2.Client(trust_env=False, timeout=10.0) as http,
        openai.OpenAI(
            api_key=running.stack.token("alice", {"act": {"sub": "agent-7"}}),
            base_url=running.stack.models_url,
            max_retries=retries,
            http_client=http,
            default_headers={"x-workflow": workflow},
        ) as made,
    ):
        yield made


def telling(gate: str) -> Script:
    """Streams twenty words, stands still at the gate, and ends."""
    body = [f"data: {json.dumps(says(f'word{number} '))}\n\n".encode() for number in range(20)]

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, ("content-type", "text/event-stream"), ("transfer-encoding", "chunked"))
        for event in body:
            await connection.chunk(event)
        await connection.gate(gate)
        await connection.chunk(stream(chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}))
        await connection.end()

    return script


def test_an_answer_has_one_record_with_the_providers_figures(running: Running) -> None:
    running.upstream.answer_with(json_body(ANSWER))
    with client(running, "plain") as models:
        answer = models.chat.completions.create(**ASKED)
    (found,) = ended(running, "plain")
    assert answer.usage is not None
    assert (found.input_tokens, found.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (found.state, found.counted, found.outcome, found.status) == ("closed", "reported", "ok", 200)
    assert (found.subject, found.actor) == ("alice", "agent-7")
    assert (found.model_asked, found.model_served) == ("gpt-5.1", "gpt-5.1-2025-11-13")


def test_a_stream_has_one_record_with_the_time_of_its_first_token(running: Running) -> None:
    body = stream(says("a"), says("b"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE})
    running.upstream.answer_with(pieces([body[:50], body[50:]]))
    with client(running, "streamed") as models:
        assert [one.choices for one in models.chat.completions.create(**ASKED, stream=True)]
    (found,) = ended(running, "streamed")
    assert (found.output_tokens, found.counted) == (30, "reported")
    assert found.first_token_seconds is not None
    assert found.total_seconds is not None
    assert found.first_token_seconds <= found.total_seconds


def test_retries_of_the_client_are_exchanges_of_their_own(running: Running) -> None:
    answers = [json_body({"error": {"message": "busy"}}, 503), json_body(ANSWER)]

    async def script(request: Request, connection: Connection) -> None:
        await answers.pop(0)(request, connection)

    running.upstream.answer_with(script)
    with client(running, "retried", retries=1) as models:
        models.chat.completions.create(**ASKED)
    first, second = ended(running, "retried", 2)
    assert (first.status, first.counted, first.client_retries) == (503, "not", 0)
    assert (second.status, second.counted, second.client_retries) == (200, "reported", 1)
    assert first.id != second.id


@contextmanager
def standing_still(running: Running, workflow: str) -> Iterator[Callable[[], None]]:
    """A stream of which twenty words have come and been written to the ledger; yields what makes its client leave."""
    running.upstream.answer_with(telling("end"), ["end"])
    leaves, came = threading.Event(), threading.Event()

    def read() -> None:
        with client(running, workflow) as models, models.chat.completions.create(**ASKED, stream=True) as answer:
            for number, _ in enumerate(answer):
                if number == 19:
                    came.set()
                    leaves.wait(10.0)
                    if left:
                        return

    left: list[bool] = []

    def leave() -> None:
        left.append(True)
        leaves.set()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            assert came.wait(10.0)
            wait_for(
                lambda: any(record.output_tokens for record in records(running, workflow)) or None,
                "a checkpoint of the stream",
            )
            yield leave
        finally:
            leaves.set()
            running.upstream.open("end")
            error = reading.exception(10.0)
            assert error is None or isinstance(error, openai.APIError | httpx2.HTTPError)


def test_a_client_that_leaves_has_one_record_of_what_came(running: Running) -> None:
    with standing_still(running, "left") as leave:
        leave()
        (found,) = ended(running, "left")
    assert (found.state, found.outcome, found.counted) == ("closed", "truncated", "estimated")
    assert found.cause != "complete"
    assert found.output_tokens >= 20


def test_a_process_that_is_killed_in_mid_stream_leaves_one_record_closed_as_interrupted_by_the_next(
    running: Running,
) -> None:
    with standing_still(running, "killed"):
        (open_,) = records(running, "killed")
        assert (open_.state, open_.counted) == ("open", "estimated")
        kill_gatehouse(running)
        (open_,) = records(running, "killed")
        assert open_.state == "open"
    restart_gatehouse(running)
    (found,) = ended(running, "killed")
    assert (found.id, found.state, found.counted) == (open_.id, "interrupted", "estimated")
    assert found.output_tokens == open_.output_tokens > 0
    assert found.closed == open_.checkpointed
    running.upstream.answer_with(json_body(ANSWER))
    with client(running, "killed-after") as models:
        models.chat.completions.create(**ASKED)
    assert [record.state for record in ended(running, "killed-after")] == ["closed"]
    assert len(records(running, "killed")) == 1
    assert len(list(owners_of(ledger_of(running)).iterdir())) == 1


def test_a_process_that_is_told_to_leave_closes_what_it_drained(running: Running) -> None:
    with standing_still(running, "drained") as leave:
        signal_gatehouse(running, signal.SIGTERM)
        leave()
        running.stack.processes["gatehouse"].process.wait(10.0)
    (found,) = ended(running, "drained")
    assert found.state in ("closed", "interrupted")
    assert found.output_tokens > 0
    restart_gatehouse(running)
    assert ended(running, "drained") == [found]
    nothing_left(running)


def test_a_reload_in_mid_stream_leaves_one_record(running: Running) -> None:
    file = bundle_file(running)
    before = file.read_text()
    with standing_still(running, "reloaded") as leave:
        file.write_text(before.replace('revision: "1"', 'revision: "2"'))
        signal_gatehouse(running, signal.SIGHUP)
        wait_for(lambda: len(list(owners_of(ledger_of(running)).iterdir())) == 2 or None, "two openings of the ledger")
        assert [record.state for record in records(running, "reloaded")] == ["open"]
        leave()
        (found,) = ended(running, "reloaded")
    assert (found.state, found.revision) == ("closed", "1")
    wait_for(lambda: len(list(owners_of(ledger_of(running)).iterdir())) == 1 or None, "one opening of the ledger")


def test_a_bundle_whose_ledger_cannot_be_opened_does_not_come_into_force(running: Running) -> None:
    file = bundle_file(running)
    before = file.read_text()
    file.write_text(before.replace("usage.db", "usage.db/usage.db"))
    try:
        signal_gatehouse(running, signal.SIGHUP)
        log = running.stack.processes["gatehouse"].log
        wait_for(lambda: "as a ledger" in log.read_text() or None, "the reason in the log")
    finally:
        file.write_text(before)
    running.upstream.answer_with(json_body(ANSWER))
    with client(running, "still") as models:
        models.chat.completions.create(**ASKED)
    assert [record.state for record in ended(running, "still")] == ["closed"]


def test_of_two_processes_that_share_the_ledger_only_the_dead_ones_records_are_closed(
    running: Running, gatehouse_stack: Stacks
) -> None:
    other = gatehouse_stack(BUNDLE.replace('revision: "1"', 'revision: "other"'), edit_bootstrap=patient)
    assert ledger_of(other) == ledger_of(running)
    with standing_still(running, "dies"), standing_still(other, "lives"):
        kill_gatehouse(running)
        restart_gatehouse(running)
        (dead,) = ended(running, "dies")
        (alive,) = records(running, "lives")
        assert (dead.state, alive.state) == ("interrupted", "open")
    (found,) = ended(other, "lives")
    assert (found.id, found.state, found.counted, found.revision) == (alive.id, "closed", "reported", "other")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_a_process_that_is_killed_before_anything_was_answered_leaves_what_the_prompt_took(
    gatehouse_stack: Stacks, streams: bool
) -> None:
    usual = BUNDLE.replace("checkpoint: 1ms", "checkpoint: 5s").replace("ledger:", f"prices: {PRICES}\n      ledger:")
    running = gatehouse_stack(usual.replace('revision: "1"', 'revision: "usual"'), edit_bootstrap=patient)
    workflow = f"waits-{streams}"

    async def script(request: Request, connection: Connection) -> None:
        await connection.gate(workflow)

    def ask() -> None:
        with client(running, workflow) as models, contextlib.suppress(openai.APIError):
            models.chat.completions.create(**ASKED, stream=streams)

    running.upstream.answer_with(script, [workflow])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        (open_,) = wait_for(
            lambda: [record for record in records(running, workflow) if record.input_tokens] or None,
            "the first checkpoint",
        )
        assert (open_.state, open_.counted, open_.output_tokens) == ("open", "estimated", 0)
        kill_gatehouse(running)
        running.upstream.open(workflow)
        asked.result()
    restart_gatehouse(running)
    (found,) = ended(running, workflow)
    assert (found.id, found.state, found.counted) == (open_.id, "interrupted", "estimated")
    assert found.input_tokens == open_.input_tokens > 0
    assert (float(found.cost), found.currency) == (found.input_tokens / 1_000_000, "EUR")
