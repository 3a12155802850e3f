"""The listener for pages of policies, by raw HTTP: who gets to a page, what a form needs, and what is told of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from ext_proc.bundle.load import examine_text
from ext_proc.credentials.api_keys import new_key
from ext_proc.credentials.chain import Chain
from ext_proc.credentials.source import KeyMissing, Presented, Rejected
from ext_proc.engine.identification import Identification
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Rulebook
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN, Identity, Kind
from ext_proc.messages import RequestHead
from ext_proc.policy import Context, Exchanged
from ext_proc.server.address import Address, TcpAddress
from ext_proc.server.http import HttpServer
from ext_proc.server.page_layout import HEADERS
from ext_proc.server.pages import FORM, MAX_FIELDS, MAX_PAGE, Pages, unserved
from ext_proc.server.stores import Stores
from ext_proc.stores.store import NO_STORE, Key
from ext_proc.telemetry.metrics import Metrics
from ext_proc.trail import Trail
from tests.asking import Asking, Shown
from tests.unit.credentials.minting import AUDIENCE, ISSUER, Minter, jwks
from tests.unit.server.fakes import MemoryLog, soon
from tests.unit.server.test_http import get, send, status

MINTER = Minter("ES256", "k1")
KEY, SHA256 = new_key()
HOST, ORIGIN = "gate.example.com", "https://gate.example.com"
BASE = "/gatehouse/ask"


def token(sub: str = "ann", client: str = "portal", **claims: Any) -> str:
    return MINTER.mint(sub=sub, client_id=client, **{"exp": int(time.time()) + 86400, **claims})


ANN, AGENT = token(), token(client="assistant")


def bundle(keys: Path, **changes: Any) -> str:
    ask = {"name": "ask", "type": "tests.asking:Asking"}
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "gatehouse/v1",
                "kind": "Bundle",
                "metadata": {"name": "pages", "revision": "r1"},
                "pages": {"url": f"{ORIGIN}/gatehouse"},
                "identity": [
                    {"jwt": {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": str(keys)}}},
                    {"api_keys": {"keys": [{"sha256": SHA256, "subject": "ci", "kind": "agent"}]}},
                ],
                "clients": [{"id": "portal", "kind": "interactive"}, {"id": "assistant", "kind": "agent"}],
                "routes": [{"name": "tools", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["ask"]}],
                "policies": [
                    ask,
                    {**ask, "name": "shadow", "mode": "shadow"},
                    {**ask, "name": "unused"},
                    {**ask, "name": "off", "mode": "off"},
                    {"name": "plain", "type": "usage"},
                ],
                **changes,
            }
        )
    )


@dataclass
class Site:
    """A running listener, and what it told."""

    address: Address
    pages: Pages
    stores: Stores
    metrics: Metrics
    rulebook: Rulebook
    log: MemoryLog = field(default_factory=MemoryLog)
    told: MemoryLog = field(default_factory=MemoryLog)

    async def get(self, path: str, credential: str = ANN, method: str = "GET", host: str = HOST) -> bytes:
        more = f"authorization: Bearer {credential}\r\n" if credential else ""
        return await send(self.address, get(path, method, host, more))

    async def post(
        self,
        fields: dict[str, str] | bytes,
        credential: str = ANN,
        path: str = BASE + "/",
        headers: Mapping[str, str | None] | None = None,
    ) -> bytes:
        """A form as a browser sends it; a header that is None is left out."""
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        lines: dict[str, str | None] = {
            "content-type": FORM,
            "content-length": str(len(body)),
            "origin": ORIGIN,
            "sec-fetch-site": "same-origin",
            "authorization": f"Bearer {credential}",
            **(headers or {}),
        }
        more = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return await send(self.address, get(path, "POST", HOST, more) + body)

    async def token(self, credential: str = ANN) -> str:
        """The one in the form."""
        found = re.search(rb'name=token value="([0-9a-f]+)"', await self.get(BASE + "/", credential))
        assert found is not None
        return found[1].decode()

    def visits(self) -> list[dict[str, Any]]:
        return [facts for _, event, facts in self.told.lines if event == "visit"]

    def last(self) -> tuple[int, str]:
        """Status and reason of the last visit."""
        visit = self.visits()[-1]
        return visit["status"], visit["reason"]


@contextlib.asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[Site]:
    keys = folder / "jwks.json"
    keys.write_bytes(jwks(MINTER))
    changes.setdefault("store", {"embedded": {"path": str(folder / "state.db"), "timeout": "5s"}})
    examined = examine_text(bundle(keys, **changes), origin=folder / "bundle.yaml")
    assert examined.problems == ()
    assert examined.rulebook is not None
    log, told, metrics = MemoryLog(), MemoryLog(), Metrics("eu")
    stores = Stores(metrics, log)
    stores.put_in_force(await stores.prepare(examined.rulebook.store, must_answer=True))
    pages = Pages(
        rulebook=lambda: running.rulebook, leases=stores, metrics=metrics, log=log, decisions=told, region="eu"
    )
    server = HttpServer(pages.handle, log, 5.0, pages.kind)
    address = await server.start(TcpAddress("127.0.0.1", 0))
    running = Site(address, pages, stores, metrics, examined.rulebook, log, told)
    try:
        yield running
    finally:
        await server.stop()
        await stores.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(tmp_path) as running:
        yield running


def header(answer: bytes, name: str) -> str | None:
    """The value of a header that stands at most once."""
    head = answer.partition(b"\r\n\r\n")[0].decode()
    found = [line.partition(": ")[2] for line in head.split("\r\n")[1:] if line.lower().startswith(name + ": ")]
    assert len(found) <= 1
    return found[0] if found else None


# --- a visit


async def test_a_person_sees_the_page_and_says_yes(site: Site) -> None:
    page = await site.get(BASE + "/")
    assert status(page) == 200
    assert b"<h1>Say yes, ann?</h1>" in page
    answer = await site.post({"token": await site.token(), "answer": "yes"})
    assert (status(answer), header(answer, "location")) == (303, BASE + "/done")
    assert b"<h1>Done</h1>" in await site.get(BASE + "/done")
    assert [visit["reason"] for visit in site.visits()] == ["", "", "confirmed", ""]


async def test_the_policy_finds_in_its_store_what_its_page_wrote(site: Site) -> None:
    await site.post({"token": await site.token(), "answer": "yes"})
    store = site.stores.lease("t")
    person = Identity(Kind.HUMAN, "ann", ISSUER)
    (entry,) = await store.read([Key(f"ask/{person.key}", "yes")])
    site.stores.release("t")
    assert entry is not None


async def test_the_first_page_is_found_with_and_without_a_slash(site: Site) -> None:
    assert status(await site.get(BASE)) == status(await site.get(BASE + "/")) == 200


async def test_a_page_knows_its_own_path_and_the_query(site: Site) -> None:
    page = await site.get(BASE + "/query?a=1&a=2&b=%C3%A4")
    assert f"{{'a': '2', 'b': 'ä'}} {BASE} {site.visits()[-1]['id']}".replace("'", "&#x27;").encode() in page


async def test_without_a_path_in_the_url_policies_are_at_the_root(tmp_path: Path) -> None:
    async with serving(tmp_path, pages={"url": ORIGIN}) as site:
        assert b'action="/ask/"' in await site.get("/ask/")


async def test_a_head_has_the_headers_of_the_page_alone(site: Site) -> None:
    whole, head = await site.get(BASE), await site.get(BASE, method="HEAD")
    assert (status(head), head.partition(b"\r\n\r\n")[2]) == (200, b"")
    assert header(head, "content-length") == header(whole, "content-length")
    assert site.visits()[-1]["method"] == "HEAD"


@pytest.mark.parametrize("host", ["GATE.example.com", "gate.example.com:443"])
async def test_the_host_may_be_written_otherwise(site: Site, host: str) -> None:
    assert status(await site.get(BASE, host=host)) == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "gate.example.com.", "gate.example.com:8443", "127.0.0.1", "localhost", ""]
)
async def test_under_another_name_there_are_no_pages(site: Site, host: str) -> None:
    assert status(await site.get(BASE, host=host)) == 421
    assert site.last() == (421, "host-unknown")
    assert site.visits()[-1]["subject"] == ""


# --- who visits


async def test_nobody_gets_a_sentence_and_a_challenge(site: Site) -> None:
    answer = await site.get(BASE, credential="")
    assert (status(answer), header(answer, "www-authenticate")) == (401, "Bearer")
    assert b"Please sign in" in answer
    assert site.last() == (401, "credential-missing")


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        (token(exp=1), "token-expired"),
        (token(aud="https://other.example"), "token-audience"),
        (ANN[:-4] + "AAAA", "token-signature"),
        (Minter("ES256", "k1").mint(exp=int(time.time()) + 86400), "token-signature"),
        ("nonsense", "credential-unknown"),
    ],
)
async def test_a_credential_that_does_not_hold_is_refused_and_only_the_log_says_why(
    site: Site, credential: str, reason: str
) -> None:
    answer = await site.get(BASE, credential)
    assert (status(answer), header(answer, "www-authenticate")) == (401, 'Bearer error="invalid_token"')
    assert reason.encode() not in answer
    assert site.last() == (401, reason)


async def test_who_is_not_known_does_not_learn_which_pages_there_are(site: Site) -> None:
    def text(answer: bytes) -> bytes:
        return re.sub(rb"<code>\w+</code>", b"", answer)

    there, not_there = await site.get(BASE, ""), await site.get("/gatehouse/nothing", "")
    assert text(there) == text(not_there)


async def test_an_agent_is_known_as_one_and_the_policy_shows_it_nothing(site: Site) -> None:
    for credential, kind, actor in ((AGENT, "delegated_agent", "assistant"), (KEY, "autonomous_agent", "")):
        more = f"authorization: Bearer {credential}\r\n" if credential is AGENT else f"x-api-key: {credential}\r\n"
        answer = await send(site.address, get(BASE + "/", "GET", HOST, more))
        assert status(answer) == 403
        assert b"token" not in answer
        assert site.last() == (403, "no-person")
        assert (site.visits()[-1]["kind"], site.visits()[-1]["actor"]) == (kind, actor)


async def test_what_envoy_tells_of_a_caller_cannot_be_written_as_a_header(site: Site) -> None:
    more = 'x-gatehouse-subject: ann\r\nx-jwt-payload: {"sub":"ann"}\r\nx-forwarded-client-cert: URI=spiffe://x/y\r\n'
    assert status(await send(site.address, get(BASE, "GET", HOST, more))) == 401


async def test_a_header_of_a_credential_that_stands_twice_is_refused(site: Site) -> None:
    more = f"authorization: Bearer {ANN}\r\nauthorization: Bearer {AGENT}\r\n"
    assert status(await send(site.address, get(BASE, "GET", HOST, more))) == 401
    assert site.last() == (401, "credential-repeated")


class Newer:
    """A chain whose keys come, or do not, when they are asked for."""

    def __init__(self, coming: Awaitable[None] | None, then: Any) -> None:
        self.coming, self.then, self.asked = coming, then, 0

    def refresh(self) -> Awaitable[None] | None:
        return self.coming

    def identify(self, presented: Presented) -> Any:
        self.asked += 1
        return KeyMissing(self, Rejected("credential-key")) if self.asked == 1 else self.then


def with_chain(site: Site, chain: Any, seconds: float = 5.0) -> None:
    assert isinstance(chain, Newer | Chain)
    identity: Any = Identification(chain, time.monotonic)  # type: ignore[arg-type]  # as far as it is asked here
    limits = replace(site.rulebook.limits, decision=seconds)
    site.rulebook = replace(site.rulebook, identity=identity, limits=limits)


async def test_keys_that_are_not_known_are_waited_for_once(site: Site) -> None:
    chain = Newer(asyncio.sleep(0), Identity(Kind.HUMAN, "ann", ISSUER))
    with_chain(site, chain)
    assert status(await site.get(BASE)) == 200
    assert chain.asked == 2


async def test_keys_that_still_do_not_fit_are_a_refusal(site: Site) -> None:
    chain = Newer(asyncio.sleep(0), None)
    chain.then = KeyMissing(chain, Rejected("credential-key"))
    with_chain(site, chain)
    assert status(await site.get(BASE)) == 401
    assert site.last() == (401, "credential-key")


async def test_keys_that_do_not_come_in_time_are_no_refusal(site: Site) -> None:
    with_chain(site, Newer(asyncio.Event().wait(), None), 0.01)  # type: ignore[arg-type]  # its True is not looked at
    answer = await site.get(BASE)
    assert (status(answer), header(answer, "retry-after")) == (503, "1")
    assert site.last() == (503, "keys-unavailable")


# --- forms


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": None},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://gate.example.com"},
        {"origin": "https://gate.example.com:8443"},
        {"origin": "https://gate.example.com/"},
        {"origin": "https://GATE.example.com"},
        {"origin": f"{ORIGIN} {ORIGIN}"},
        {"origin": f"{ORIGIN}\r\norigin: https://evil.example"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin\r\nsec-fetch-site: cross-site"},
    ],
)
async def test_a_form_from_elsewhere_is_refused_before_anybody_is_known(
    site: Site, headers: dict[str, str | None]
) -> None:
    answer = await site.post({"token": await site.token(), "answer": "yes"}, headers=headers)
    assert status(answer) == 403
    assert b"nothing was done" in answer
    assert site.last() == (403, "cross-origin")
    assert site.visits()[-1]["subject"] == ""
    assert b"Not done" in await site.get(BASE + "/done")


async def test_a_browser_that_does_not_tell_the_site_is_judged_by_its_origin(site: Site) -> None:
    assert (
        status(await site.post({"token": await site.token(), "answer": "yes"}, headers={"sec-fetch-site": None})) == 303
    )


async def test_a_form_of_another_persons_page_is_the_policys_to_refuse(site: Site) -> None:
    mine = await site.token(token(sub="bob"))
    assert status(await site.post({"token": mine, "answer": "yes"})) == 403
    assert site.last() == (403, "token-wrong")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json",
        FORM + ";charset=utf-8",
        FORM + ",",
    ],
)
async def test_only_a_form_can_be_posted(site: Site, content_type: str | None) -> None:
    assert status(await site.post(b"answer=yes", headers={"content-type": content_type})) == 415
    assert site.last() == (415, "form-type")


@pytest.mark.parametrize(
    "body", ["ä=1".encode(), b"a=%ff", b"&".join(b"a=1" for _ in range(MAX_FIELDS + 1)), b"\x1f\x8b\xff"]
)
async def test_a_form_that_cannot_be_read_is_refused(site: Site, body: bytes) -> None:
    assert status(await site.post(body)) == 400
    assert site.last() == (400, "form-malformed")


async def test_a_form_past_its_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path, pages={"url": ORIGIN + "/gatehouse", "form": "100B"}) as site:
        assert status(await site.post(b"a=" + b"x" * 98)) == 403  # read, and not asked for
        assert status(await site.post(b"a=" + b"x" * 99)) == 413


async def test_a_post_without_a_body_is_an_empty_form(site: Site) -> None:
    assert status(await site.post(b"")) == 403
    assert site.last() == (403, "token-wrong")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_refused(site: Site, method: str) -> None:
    answer = await site.get(BASE, method=method)
    assert (status(answer), header(answer, "allow")) == (405, "GET, HEAD, POST")


# --- which pages there are


@pytest.mark.parametrize(
    "path",
    ["/", "/gatehouse", "/gatehouse/", "/gatehouse/shadow", "/gatehouse/unused", "/gatehouse/off", "/gatehouse/plain",
     "/gatehouse/ASK", "/gatehouse//ask", "/ask", "/gatehousex/ask", "/x/gatehouse/ask", "/gatehouse/as%6B"],
)  # fmt: skip
async def test_what_is_no_page_of_a_policy_in_force_is_not_found(tmp_path: Path, path: str) -> None:
    routes = [
        {"name": "tools", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["ask", "shadow", "off", "plain"]}
    ]
    async with serving(tmp_path, routes=routes) as site:
        assert status(await site.get(path)) == 404
        assert site.last() == (404, "no-such-page")
        assert site.visits()[-1]["policy"] == ""


async def test_without_a_url_in_the_bundle_there_are_no_pages(tmp_path: Path) -> None:
    async with serving(tmp_path, pages=None) as site:
        assert status(await site.get(BASE)) == 404
        assert site.last() == (404, "no-pages")


async def test_the_bundle_in_force_at_the_visit_counts(site: Site) -> None:
    assert status(await site.get(BASE)) == 200
    site.rulebook = replace(site.rulebook, revision="r2", routes=())
    assert status(await site.get(BASE)) == 404
    assert [visit["revision"] for visit in site.visits()] == ["r1", "r2"]


async def test_a_visit_ends_under_the_bundle_and_the_store_that_it_began_with(site: Site) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Waiting(Asking):
        async def page(self, visit: Any) -> Any:
            arrived.set()
            await go_on.wait()
            await visit.store.get(Key("g", "n"))
            return await super().page(visit)

    pipeline = Pipeline([Binding(Waiting("ask", Shown()))], time.monotonic)
    site.rulebook = replace(site.rulebook, routes=(replace(site.rulebook.routes[0], pipeline=pipeline),))
    visiting = asyncio.ensure_future(site.get(BASE))
    await soon(arrived.wait())
    site.rulebook = replace(site.rulebook, revision="r2", routes=())
    site.stores.put_in_force(NO_STORE)
    go_on.set()
    assert status(await soon(visiting)) == 200
    assert site.visits()[-1]["revision"] == "r1"


# --- a page that fails


@pytest.mark.parametrize(
    ("path", "expected", "reason"),
    [
        ("/broken", 500, "page-failed"),
        ("/exit", 500, "page-failed"),
        ("/odd", 500, "page-failed"),
        ("/slow", 503, "page-too-late"),
        ("/store", 503, "store-unavailable"),
    ],
)
async def test_a_page_that_fails_says_so_with_the_visits_id(
    tmp_path: Path, path: str, expected: int, reason: str
) -> None:
    async with serving(tmp_path, pages={"url": ORIGIN + "/gatehouse", "timeout": "50ms"}) as site:
        answer = await site.get(BASE + path)
        assert status(answer) == expected
        assert site.last() == (expected, reason)
        assert site.visits()[-1]["id"].encode() in answer
        ((level, _, facts),) = site.log.lines
        assert (level, facts["visit"], facts["policy"]) == ("error", site.visits()[-1]["id"], "ask")
        assert "a secret" not in f"{answer!r} {site.log.lines} {site.told.lines}"
        assert status(await site.get(BASE)) == 200


@pytest.mark.parametrize(
    "away",
    ["https://evil.example", "//evil.example", "/", "/gatehouse/other", "/gatehouse/askew", BASE + "/\r\nx: y",
     BASE + "/\\evil", BASE + "/ä", "javascript:alert(1)"],
)  # fmt: skip
async def test_a_page_leads_to_pages_of_its_own_policy_alone(site: Site, away: str) -> None:
    answer = await site.get(f"{BASE}/away?{urlencode({'to': away})}")
    assert status(answer) == 500
    assert header(answer, "location") is None


@pytest.mark.parametrize("there", [BASE, BASE + "/a?b=c", BASE + "?b=c"])
async def test_a_page_may_lead_to_another_of_its_own(site: Site, there: str) -> None:
    answer = await site.get(f"{BASE}/away?{urlencode({'to': there})}")
    assert (status(answer), header(answer, "location")) == (303, there)


async def test_a_page_that_is_too_long_is_not_sent(site: Site) -> None:
    pipeline = Pipeline([Binding(Asking("ask", Shown(text="x" * (MAX_PAGE + 1))))], time.monotonic)
    site.rulebook = replace(site.rulebook, routes=(replace(site.rulebook.routes[0], pipeline=pipeline),))
    assert status(await site.get(BASE + "/")) == 500
    assert site.last() == (500, "page-failed")


async def test_a_text_that_is_no_unicode_is_shown_all_the_same(site: Site) -> None:
    answer = await site.get(BASE + "/surrogate")
    assert status(answer) == 200
    assert b"<p>?</p>" in answer


# --- headers


async def test_every_answer_runs_no_script_and_is_kept_and_framed_nowhere(site: Site) -> None:
    answers = {
        200: await site.get(BASE + "/"),
        303: await site.post({"token": await site.token(), "answer": "yes"}),
        400: await site.post(b"\xff"),
        401: await site.get(BASE, ""),
        403: await site.post(b"", headers={"origin": "null"}),
        404: await site.get("/"),
        405: await site.get(BASE, method="PUT"),
        413: await site.post(b"", headers={"content-length": "100000"}),
        415: await site.post(b"", headers={"content-type": None}),
        421: await site.get(BASE, host="x"),
        431: await send(site.address, get("/", more="x: " + "y" * 200_000 + "\r\n")),
        500: await site.get(BASE + "/broken"),
    }
    expected = {
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
        "content-security-policy": dict(HEADERS)["content-security-policy"],
        "set-cookie": None,
    }
    for code, answer in answers.items():
        assert status(answer) == code
        assert {name: header(answer, name) for name in expected} == expected, code


async def test_the_content_security_policy_allows_the_one_style_sheet_and_a_form(site: Site) -> None:
    page = await site.get(BASE + "/")
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    assert header(page, "content-security-policy") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert page.count(b"<style") == 1
    assert b"<script" not in page


async def test_a_title_is_text(tmp_path: Path) -> None:
    markup = "</title><script>alert(1)</script>"
    policies = [{"name": "ask", "type": "tests.asking:Asking", "parameters": {"markup": markup, "text": markup}}]
    async with serving(tmp_path, policies=policies) as site:
        page = await site.get(BASE + "/raw")
        assert b"<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;</title>" in page
        assert b"<h1>&lt;/title&gt;" in page


# --- what is told


async def test_a_visit_is_told_without_its_path_query_and_form(site: Site) -> None:
    await site.post({"token": "private-1", "answer": "private-2"}, path=BASE + "/private-3?private-4=private-5")
    ((level, event, facts),) = site.told.lines
    assert (level, event) == ("warning", "visit")
    assert facts.pop("duration_ms") >= 0
    assert re.fullmatch(r"[0-9a-z]{20}", facts.pop("id"))
    assert facts == {
        "region": "eu",
        "revision": "r1",
        "policy": "ask",
        "method": "POST",
        "status": 404,
        "reason": "",
        "kind": "human",
        "subject": "ann",
        "actor": "",
        "shared": False,
    }
    assert "private" not in str(site.log.lines)


async def test_a_credential_that_serves_a_person_and_an_agent_is_told(site: Site) -> None:
    await site.get(BASE + "/")
    with_chain(site, Newer(asyncio.sleep(0), Identity(Kind.HUMAN, "ann", ISSUER, shared=True)))
    await site.get(BASE + "/")
    assert [(level, facts["shared"]) for level, _, facts in site.told.lines] == [("info", False), ("warning", True)]


async def test_visits_are_counted_with_bounded_labels(site: Site) -> None:
    await site.get(BASE)
    await site.get(BASE)
    for index in range(3):
        await site.get(f"/gatehouse/name-{index}")

    def count(**labels: str) -> float | None:
        return site.metrics.registry.get_sample_value("gatehouse_page_visits_total", {"region": "eu", **labels})

    assert count(policy="ask", status="2xx", reason="") == 2
    assert count(policy="", status="4xx", reason="no-such-page") == 3
    for index in range(100):
        site.metrics.visited("ask", 200, f"reason-{index}")
    assert (count(policy="ask", status="2xx", reason="other") or 0) > 30


async def test_a_visit_that_is_cut_off_is_told(site: Site) -> None:
    arrived = asyncio.Event()

    class Slow(Asking):
        async def page(self, visit: Any) -> Any:
            arrived.set()
            await asyncio.Event().wait()

    pipeline = Pipeline([Binding(Slow("ask", Shown()))], time.monotonic)
    site.rulebook = replace(site.rulebook, routes=(replace(site.rulebook.routes[0], pipeline=pipeline),))
    server = HttpServer(site.pages.handle, site.log, 5.0, site.pages.kind)
    site.address = await server.start(TcpAddress("127.0.0.1", 0))
    visiting = asyncio.ensure_future(site.get(BASE))
    await soon(arrived.wait())
    await server.stop()
    assert await soon(visiting) == b""
    assert site.last() == (0, "cut-off")
    assert site.visits()[-1]["policy"] == "ask"


# --- whether anybody serves them


async def test_pages_without_a_listener_and_a_listener_without_pages_are_told(site: Site) -> None:
    without = replace(site.rulebook, routes=())
    assert unserved(site.rulebook, True) == ""
    assert unserved(site.rulebook, False) == "nothing serves the pages of ask: start with --pages"
    assert unserved(without, False) == ""
    assert unserved(without, True) == "there is a listener for pages, and no policy in force has any"


# --- where a policy says that its pages are


def test_a_policy_knows_the_url_of_its_first_page_where_there_are_pages() -> None:
    def url(pages: str) -> str:
        head = RequestHead("POST", "/mcp", "t", Headers())
        return Context(Exchanged(UNKNOWN, "r", "mcp", head, Trail("t"), pages=pages), None, "ask").pages

    assert url("https://gate.example.com/gatehouse") == "https://gate.example.com/gatehouse/ask"
    assert url("") == ""
