"""Every recorded exchange through a real Envoy: what the server sent is what the client gets, to the byte.

Rules:
- The upstream answers with the recorded status, content type and body, cut at random places; the same ones each time.
- The header `x-way` chooses the route; without it Gatehouse does not govern. What a route's codecs do not read is
  listed in `allow_opaque`.
- All of a test goes over one connection of the client's, and over the upstream's pool: a byte too many or too few of
  one exchange would be in the way of the next.

Not here: the same without Envoy, at any cutting (tests/exchange/test_recorded.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest
import yaml

from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import Connection, Request, Script, keeping
from tests.exchange.recordings import RECORDINGS, Recording

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: recorded, revision: "1"}
limits: {hold_back: 1MiB}
routes:
  - name: watched
    match: {headers: {x-way: watched}}
    protocol: auto
    policies: [watcher, tokens]
    allow_opaque: [{method: POST}]
  - name: guarded
    match: {headers: {x-way: guarded}}
    protocol: auto
    policies: [guard, access]
    allow_opaque: [{method: POST}]
  - name: held
    match: {headers: {x-way: held}}
    protocol: openai
    policies: [tokens, sentences]
    allow_opaque: [{method: POST}]
policies:
  - {name: watcher, type: "tests.envoy.policies:Watcher"}
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: sentences, type: "tests.envoy.policies:Sentences"}
  - {name: tokens, type: usage}
  - {name: access, type: tool-access, parameters: {default: allow}}
"""
DECIDING = ["guarded", "held"]
WAYS = ["ungoverned", "watched", *DECIDING]
APIS = sorted({recording.api for recording in RECORDINGS.values()})
GOOGLE = {"generateContent", "streamGenerateContent", "google_batchEmbedContents"}
OPENAI = {"chat_completions", "responses", "completions_legacy", "embeddings"}
ALL = OPENAI | GOOGLE | {"messages", "count_tokens", "mcp"}
READ = {"watched": ALL, "guarded": ALL, "held": OPENAI}


def with_every_path(bootstrap: str) -> str:
    """The bootstrap with a route for the paths of every provider."""
    config = yaml.safe_load(bootstrap)
    (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    routes = manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    routes.append({"name": "any", "match": {"prefix": "/"}, "route": {"cluster": "model-a", "timeout": "0s"}})
    return str(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=with_every_path)


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.stack.url, trust_env=False, timeout=20.0) as made:
        yield made


def in_pieces(body: bytes, dice: random.Random) -> list[bytes]:
    """The body cut at a hundred random places."""
    bounds = sorted({0, len(body), *(dice.randrange(len(body)) for _ in range(100))})
    return [body[start:end] for start, end in pairwise(bounds)]


def replaying(recording: Recording, pieces: Sequence[bytes], *, sized: bool) -> Script:
    """Answers as the server did."""
    length = ("content-length", str(len(recording.response))) if sized else ("transfer-encoding", "chunked")

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(recording.status, *recording.response_headers.items(), length)
        for piece in pieces:
            await (connection.send if sized else connection.chunk)(piece)
        if not sized:
            await connection.end()

    return keeping(script)


def asking(
    client: httpx.Client, recording: Recording, way: str, pieces: Sequence[bytes] | None = None
) -> httpx.Request:
    """The recorded request; in chunks, if there are pieces."""
    headers = {**recording.request_headers, "host": recording.host, "x-way": way}
    content: Any = recording.request if pieces is None else iter(pieces)
    return client.build_request(recording.method, recording.path, headers=headers, content=content)


def goes(recording: Recording, way: str) -> bool:
    """Whether a recording goes this way as it is: what a policy decides about must be whole."""
    return not (way in DECIDING and recording.interrupted and recording.api in READ[way])


# With a length where a body is buffered for it; the two others differ in nothing else.
SENT = [(way, sized) for way in WAYS for sized in ((True, False) if way in ("watched", "guarded") else (False,))]


@pytest.mark.parametrize(
    ("way", "sized"), SENT, ids=[f"{way} {'sized' if sized else 'in chunks'}" for way, sized in SENT]
)
@pytest.mark.parametrize("api", APIS)
def test_every_recorded_exchange_passes_byte_for_byte(
    running: Running, client: httpx.Client, api: str, way: str, sized: bool
) -> None:
    for recording in RECORDINGS.values():
        if recording.api != api or not goes(recording, way):
            continue
        dice = random.Random(f"{recording.name} {way} {sized}")
        running.upstream.answer_with(replaying(recording, in_pieces(recording.response, dice), sized=sized))
        sent = asking(client, recording, way, None if sized else in_pieces(recording.request, dice))
        answer = client.send(sent)
        assert (answer.status_code, recording.name) == (recording.status, recording.name)
        assert answer.content == recording.response
        assert answer.headers["content-type"] == recording.response_headers["content-type"]
        (reached,) = running.upstream.requests
        assert (reached.method, reached.path) == (recording.method, recording.path)
        assert reached.body == recording.request
        kept = {name: reached.header(name) for name in recording.request_headers}
        assert kept == recording.request_headers
        assert running.upstream.failures == []


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("api", APIS)
def test_a_recorded_exchange_is_read_where_the_routes_protocol_is_its_own_and_noted_where_it_is_not(
    running: Running, client: httpx.Client, api: str, way: str
) -> None:
    recording = next(r for r in RECORDINGS.values() if r.api == api and r.status == 200 and not r.interrupted)
    running.upstream.answer_with(replaying(recording, [recording.response], sized=not recording.streams))
    since = mark(running)
    assert client.send(asking(client, recording, way)).content == recording.response
    (decision,) = decisions(running, since)
    # What asked for a few tokens of legacy completions got no more.
    assert (decision["route"], decision["outcome"]) == (way, "truncated" if api == "completions_legacy" else "ok")
    notes = [] if api in READ[way] else ["passed unread: not-this-protocol"]
    assert decision.get("notes", []) == notes
    assert bool(decision["method"]) == (api in READ[way])


def collect(answer: httpx.Response, arrived: bytearray, then: Callable[[], None]) -> None:
    """Takes what comes until it ends or breaks off, and does something each time."""
    for data in answer.iter_raw():
        arrived += data
        then()


# A chat, which some ways read, cut inside an event; other APIs, cut inside a character and between two events.
CUT_SHORT = [
    *(("082-openai-interrupted", way) for way in ("guarded", "held")),
    *(("084-openai-interrupted", way) for way in ("ungoverned", "watched")),
    ("087-anthropic-interrupted", "guarded"),
]


@pytest.mark.parametrize(("name", "way"), CUT_SHORT)
def test_an_answer_that_breaks_off_breaks_off_for_the_client_with_nothing_added(
    running: Running, name: str, way: str
) -> None:
    recording = RECORDINGS[name]
    pieces = in_pieces(recording.response, random.Random(recording.name))

    async def script(request: Request, connection: Connection) -> None:
        headers = (*recording.response_headers.items(), ("transfer-encoding", "chunked"))
        await connection.head(recording.status, *headers)
        for piece in pieces[:-1]:
            await connection.chunk(piece)
        await connection.gate("the client has the beginning")

    running.upstream.answer_with(script, ["the client has the beginning"])
    arrived = bytearray()
    with httpx.Client(base_url=running.stack.url, trust_env=False, timeout=20.0) as client:
        answer = client.send(asking(client, recording, way), stream=True)
        assert answer.status_code == recording.status
        with pytest.raises(httpx.RemoteProtocolError):
            collect(answer, arrived, lambda: running.upstream.open("the client has the beginning"))
    assert arrived
    assert recording.response.startswith(arrived)
