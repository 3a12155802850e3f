"""What a provider keeps belongs to whom it was handed to, through a real Envoy, with official clients.

Rules:
- The provider behind knows no caller: it goes on with any response, item or conversation that anybody names.
- A thief has all that its victim has, but for the token.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import Connection, Request, Script, json_body, pieces
from tests.unit.codecs import anthropic_building as messages
from tests.unit.codecs.openai_responses_building import answer, encoded_event, event, says

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: stored, revision: "1"}
store: {hosts: one, embedded: {path: stored.db}}
routes:
  - {name: threads, match: {path: /v1/messages}, protocol: anthropic, policies: [stored]}
  - {name: models, match: {path: /v1}, protocol: openai, policies: [stored]}
policies:
  - {name: stored, type: session-binding, parameters: {affinity: session, anonymous: deny}}
"""
_NUMBERS = itertools.count(1)
AFFINITY = "x-gatehouse-affinity"
either_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def provider() -> Script:
    """Answers with ids that it never gave before."""

    async def script(request: Request, connection: Connection) -> None:
        if not request.body:
            return await kept_by_path(request, connection)
        asked, number = json.loads(request.body), next(_NUMBERS)
        if request.path == "/v1/conversations":
            kept = {"id": f"conv_{number}", "object": "conversation", "created_at": 1, "metadata": {}}
            return await json_body(kept)(request, connection)
        if request.path.startswith("/v1/messages"):
            return await json_body(messages.whole(messages.text("hello"), id=f"msg_{number}"))(request, connection)
        item = says("hello", id=f"msg_{number}")
        spoken = answer(item, id=f"resp_{number}", parallel_tool_calls=True, tool_choice="auto", tools=[])
        if asked.get("conversation"):
            spoken["conversation"] = {"id": asked["conversation"]}
        if not asked.get("stream"):
            return await json_body(spoken)(request, connection)
        values = [
            event("response.created", response={**spoken, "status": "in_progress", "output": []}),
            event("response.output_item.added", output_index=0, item={**item, "content": []}),
            event("response.output_item.done", output_index=0, item=item),
            event("response.completed", response=spoken),
        ]
        numbered = [{**value, "sequence_number": place} for place, value in enumerate(values)]
        return await pieces([encoded_event(value) for value in numbered])(request, connection)

    return script


async def kept_by_path(request: Request, connection: Connection) -> None:
    """Answers whoever knows an id."""
    id = request.path.partition("?")[0].removesuffix("/cancel").rpartition("/")[2]
    kept = answer(says("kept"), id=id, parallel_tool_calls=True, tool_choice="auto", tools=[])
    if request.method == "DELETE":
        return await json_body({"id": id, "object": "response", "deleted": True})(request, connection)
    if "stream=true" not in request.path:
        return await json_body(kept)(request, connection)
    values = [event("response.created", response=kept), event("response.completed", response=kept)]
    return await pieces([encoded_event(value) for value in values])(request, connection)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    found = gatehouse_stack(BUNDLE)
    found.upstream.answer_with(provider())
    return found


@contextmanager
def client(running: Running, caller: str) -> Iterator[openai.OpenAI]:
    """The official client as a caller; "" for one without a token."""

    def unnamed(request: httpx2.Request) -> None:
        if not caller:
            del request.headers["authorization"]

    key = running.stack.token(caller) if caller else "nobody"
    with (
        httpx2.Client(trust_env=False, timeout=20.0, event_hooks={"request": [unnamed]}) as http,
        openai.OpenAI(api_key=key, base_url=f"{running.stack.url}/v1", max_retries=0, http_client=http) as made,
    ):
        yield made


def respond(running: Running, caller: str, *, stream: bool = False, **fields: Any) -> Any:
    """The response that a caller gets."""
    with client(running, caller) as models:
        asked: Any = {"model": "gpt", "input": "hello", **fields}
        if not stream:
            return models.responses.create(**asked)
        with models.responses.stream(**asked) as events:
            return events.get_final_response()


@either_way
def test_a_response_is_gone_on_with_by_whom_it_was_given_to(running: Running, stream: bool) -> None:
    first = respond(running, "ann", stream=stream)
    second = respond(running, "ann", stream=stream, previous_response_id=first.id)
    assert second.output_text == "hello"
    sent = running.upstream.requests[-1]
    assert json.loads(sent.body)["previous_response_id"] == first.id
    assert sent.header(AFFINITY) == running.upstream.requests[-2].header(AFFINITY) is not None


@either_way
@pytest.mark.parametrize("thief", ["bob", "alice"])
def test_a_stolen_response_is_of_no_use(running: Running, thief: str, stream: bool) -> None:
    first = respond(running, "ann", stream=stream)
    seen = len(running.upstream.requests)
    errors = []
    for id in (first.id, "resp_never"):
        with pytest.raises(openai.BadRequestError) as refused:
            respond(running, thief, stream=stream, previous_response_id=id)
        error: Any = refused.value.body
        error.pop("trail")
        errors.append((refused.value.status_code, refused.value.code, error))
    assert errors[0] == errors[1], "what is another's and what never was are one"
    assert errors[0][:2] == (400, "previous_response_not_found")
    assert len(running.upstream.requests) == seen, "the provider does not hear of it"


@either_way
def test_an_item_is_referred_to_by_whom_it_was_given_to(running: Running, stream: bool) -> None:
    first = respond(running, "ann", stream=stream)
    asked: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "and?"}]
    assert respond(running, "ann", stream=stream, input=asked).output_text == "hello"
    seen = len(running.upstream.requests)
    with pytest.raises(openai.NotFoundError, match="item not found"):
        respond(running, "bob", stream=stream, input=asked)
    assert len(running.upstream.requests) == seen


def test_a_conversation_is_gone_on_with_by_whom_began_it(running: Running) -> None:
    with client(running, "ann") as models:
        conversation = models.conversations.create(items=[{"role": "user", "content": "hello"}])
    for _ in range(2):
        spoken = respond(running, "ann", conversation=conversation.id)
        assert spoken.conversation.id == conversation.id
    seen = len(running.upstream.requests)
    for named in (conversation.id, {"id": conversation.id}):
        with pytest.raises(openai.NotFoundError, match="conversation not found"):
            respond(running, "bob", conversation=named)
    assert len(running.upstream.requests) == seen


def test_the_record_says_whose_it_was_not_and_the_answer_does_not(running: Running) -> None:
    first = respond(running, "ann")
    since = mark(running)
    with pytest.raises(openai.BadRequestError) as refused:
        respond(running, "bob", previous_response_id=first.id)
    assert "another" not in str(refused.value)
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"
    assert "previous_response_not_found" in [entry.get("reason") for entry in decision["entries"]]
    assert decision["facts"]["stored_of_another"] is True


def test_who_is_not_known_gets_nothing_that_is_kept(running: Running) -> None:
    seen = len(running.upstream.requests)
    with pytest.raises(openai.PermissionDeniedError, match="for callers that are known"):
        respond(running, "")
    assert len(running.upstream.requests) == seen
    assert respond(running, "", store=False).output_text == "hello"


def test_a_thread_of_anthropics_is_gone_on_with_by_its_principal_and_begun_anew_by_another(running: Running) -> None:
    callers = ["ann", "ann", "bob", "bob"]

    def named(request: httpx2.Request) -> None:
        request.headers["authorization"] = f"Bearer {running.stack.token(callers.pop(0))}"

    with (
        httpx2.Client(trust_env=False, timeout=20.0, event_hooks={"request": [named]}) as http,
        anthropic.Anthropic(api_key="x", base_url=running.stack.url, max_retries=0, http_client=http) as models,
    ):
        thread = models.beta.messages.thread(model="m", max_tokens=9)
        for said in ("one", "two", "three"):
            thread.send({"role": "user", "content": said})
    sent = [json.loads(request.body) for request in running.upstream.requests[-3:]]
    assert [request["thread"]["type"] for request in sent] == ["create", "continue", "create"]
    assert [len(request["messages"]) for request in sent] == [1, 1, 5], (
        "what is not Bob's is not continued but told anew"
    )
    assert callers == [], "the third turn was refused once"


def test_a_response_in_the_background_is_fetched_cancelled_and_deleted_by_whom_it_was_given_to(
    running: Running,
) -> None:
    begun = respond(running, "ann", background=True)
    with client(running, "ann") as models:
        assert models.responses.retrieve(begun.id).output_text == "kept"
        with models.responses.retrieve(begun.id, stream=True) as events:
            assert [each.type for each in events] == ["response.created", "response.completed"]
        assert models.responses.cancel(begun.id).id == begun.id
        models.responses.delete(begun.id)
    assert [request.method for request in running.upstream.requests[-4:]] == ["GET", "GET", "POST", "DELETE"]


def test_nobody_else_fetches_cancels_or_deletes_it(running: Running) -> None:
    begun = respond(running, "ann", background=True)
    seen = len(running.upstream.requests)
    with client(running, "bob") as models:
        ways = (models.responses.retrieve, models.responses.cancel, models.responses.delete)
        for way in ways:
            for id in (begun.id, "resp_never"):
                with pytest.raises(openai.NotFoundError, match="response not found"):
                    way(id)
        with pytest.raises(openai.NotFoundError), models.responses.retrieve(begun.id, stream=True):
            pass
    assert len(running.upstream.requests) == seen
