"""Who calls is decided first: a credential that does not hold gets 401, and nobody else hears of the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.credentials.api_keys import ApiKey, ApiKeys, new_key
from ext_proc.credentials.chain import Chain
from ext_proc.credentials.jwt import BearerTokens, Issuer
from ext_proc.credentials.keys import KeySet, UrlOrigin, read_jwks
from ext_proc.credentials.metadata import VerifiedByEnvoy
from ext_proc.credentials.peer import Origin, SpiffePeers
from ext_proc.engine.checkpoint import Pending
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.identification import Identification
from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.events import CloseCause, Closed, EnvoyFacts, Tick
from ext_proc.expressions import Expression
from ext_proc.identity import ClientKind, Identity, Kind, RegisteredClient, Registry
from ext_proc.limits import Limits
from ext_proc.messages import ToolCall
from ext_proc.policy import Context, Deny, Verdict
from ext_proc.replies import HeadersReply, ImmediateReply
from ext_proc.testing import (
    PATIENCE,
    HttpRequest,
    Played,
    call,
    decide,
    pass_through,
    request,
    response,
    rulebook_of,
)
from ext_proc.trail import Stage
from tests.exchange.policies import Base, DenyTool
from tests.exchange.test_lifecycle import request_headers
from tests.unit.credentials.minting import AUDIENCE, ISSUER, Minter, hmac_signed, jwks, unsigned, usual

EC, RSA = Minter("ES256", "ec"), Minter("RS256", "rsa")
KEY, DIGEST = new_key()
DONE = response({"jsonrpc": "2.0", "id": 1, "result": {}})
AGENT = "spiffe://prod/agents/runner"
REGISTRY = Registry(
    [RegisteredClient(ClientKind.INTERACTIVE, client="portal"), RegisteredClient(ClientKind.AGENT, spiffe=AGENT)]
)


def key_set() -> KeySet:
    return KeySet(None, read_jwks(jwks(EC, RSA)))


def chain(keys: KeySet | None = None) -> Chain:
    tokens = BearerTokens([Issuer(ISSUER, frozenset({AUDIENCE}), keys or key_set(), act_depth=2)], REGISTRY)
    api_keys = ApiKeys([ApiKey(bytes.fromhex(DIGEST), Identity(Kind.AUTONOMOUS_AGENT, "bot", "api-keys"))])
    peers = (SpiffePeers(Origin.ATTRIBUTES, ["prod"]), SpiffePeers(Origin.XFCC, ["prod"]))
    return Chain((VerifiedByEnvoy(registry=REGISTRY), tokens, api_keys), peers, REGISTRY)


class Asked(Base):
    """Remembers who called, at the first hook."""

    def __init__(self) -> None:
        super().__init__("asked")
        self.callers: list[Identity] = []

    def on_request_headers(self, ctx: Context[Any]) -> Verdict:
        self.callers.append(ctx.identity)
        return None

    def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
        return None


def book(*policies: Any, identity: Chain | None = None, **route: Any) -> Rulebook:
    return replace(rulebook_of(*policies, **route), identity=Identification(identity or chain(), time.monotonic))


def minted(header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A token that holds now."""
    return EC.mint(header, **{"exp": int(time.time()) + 600, **claims})


def asking(headers: Mapping[str, str], **changes: Any) -> HttpRequest:
    return request(call("search"), headers={"content-type": "application/json", **headers}, **changes)


def with_bearer(token: str) -> HttpRequest:
    return asking({"authorization": f"Bearer {token}"})


def refused(played: Played, policy: Asked) -> str:
    """That the answer is 401 and nothing else; the reason in the trail."""
    assert played.upstream is None
    assert policy.callers == []
    assert played.client is not None
    assert played.client.status == 401
    assert played.client.headers == {
        "content-type": "application/json",
        "www-authenticate": 'Bearer error="invalid_token"',
    }
    assert played.client.json == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {
            "code": -31403,
            "message": "the credential is not valid",
            "data": {"trail": "trail-1", "reason": "invalid-credential"},
        },
    }
    (entry,) = played.trail.entries
    assert (entry.policy, entry.stage, entry.verdict, entry.enforced) == ("gatehouse", Stage.IDENTITY, "deny", True)
    assert (played.trail.outcome, played.trail.subject, played.trail.kind) == ("refused", "", "")
    return entry.reason


def soon(**claims: Any) -> dict[str, Any]:
    return usual((), {"exp": int(time.time()) + 600, **claims})


HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "signed by another": (lambda: Minter("ES256", "ec").mint(exp=int(time.time()) + 600), "token-signature"),
    "alg none": (lambda: unsigned({"alg": "none"}, soon(), b"x"), "token-algorithm"),
    "alg none without a signature": (lambda: unsigned({"alg": "none"}, soon()), "token-malformed"),
    "a public key as a secret": (
        lambda: hmac_signed(b"-" + RSA.public_pem(), {"alg": "HS256", "kid": "rsa"}, soon()),
        "token-algorithm",
    ),
    "a key id that is a path": (lambda: minted({"kid": "../../../../dev/null"}), "token-key-unknown"),
    "a key of its own": (
        lambda: Minter("ES256", "x").mint(
            {"jwk": EC.jwk(), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
        ),
        "token-key-unknown",
    ),
    "expired": (lambda: minted(exp=int(time.time()) - 31), "token-expired"),
    "not valid yet": (lambda: minted(nbf=int(time.time()) + 60), "token-not-yet"),
    "another issuer": (lambda: minted(iss="https://other.example"), "token-issuer"),
    "another audience": (lambda: minted(aud="https://other.example"), "token-audience"),
    "no audience": (lambda: EC.mint(without=("aud",), exp=int(time.time()) + 600), "token-audience"),
    "no expiry": (lambda: EC.mint(without=("exp",)), "token-times"),
    "huge": (lambda: minted(filler="x" * 16 * 1024), "token-too-long"),
    "a megabyte": (lambda: "x" * 1024 * 1024, "token-too-long"),
    "nested": (lambda: minted({"cty": "JWT"}), "token-nested"),
    "nested deeply": (
        lambda: EC.sign(b'{"alg":"ES256","kid":"ec"}', b'{"a":' * 2000 + b"1" + b"}" * 2000),
        "token-malformed",
    ),
    "encrypted": (lambda: "e30.AA.AA.AA.AA", "token-encrypted"),
    "critical": (lambda: minted({"crit": ["x"], "x": 1}), "token-critical"),
    "a key twice": (lambda: EC.sign(b'{"alg":"ES256","kid":"ec"}', b'{"sub":"a","sub":"b"}'), "token-malformed"),
    "an endless chain of actors": (
        lambda: minted(act={"sub": "1", "act": {"sub": "2", "act": {"sub": "3"}}}),
        "claims-act-depth",
    ),
    "an actor without a name": (lambda: minted(act={"name": "bot"}), "claims-act"),
    "no token at all": (lambda: "sk-live-0123456789", "credential-unknown"),
    "two tokens in one": (lambda: f"{minted()},{minted()}", "credential-malformed"),
    "empty": (lambda: "", "credential-malformed"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_token_that_does_not_hold_gets_401_and_nothing_else(make: Callable[[], str], reason: str) -> None:
    policy, token = Asked(), make()
    played = pass_through(book(policy), with_bearer(token), DONE)
    assert refused(played, policy) == reason
    told = str(played.trail.as_dict()) + str(played.metadata) + str(played.client)
    assert len(token) < 4 or token not in told


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x-api-key": KEY + "x"}, "api-key-unknown"),
        ({"x-forwarded-client-cert": "Hash=1;URI=spiffe://elsewhere/x"}, "peer-trust-domain"),
        ({"x-forwarded-client-cert": 'Hash=1;URI="'}, "peer-malformed"),
    ],
)
def test_other_credentials_that_do_not_hold_get_401_too(headers: dict[str, str], reason: str) -> None:
    policy = Asked()
    assert refused(pass_through(book(policy), asking(headers), DONE), policy) == reason


def test_a_token_that_holds_names_the_caller_and_goes_on_untouched() -> None:
    policy, token = Asked(), minted(client_id="portal", tenant="acme", act={"sub": "bot"})
    played = pass_through(book(policy), with_bearer(token), DONE)
    (caller,) = policy.callers
    assert (caller.kind, caller.subject, caller.actor) == (Kind.DELEGATED_AGENT, "ann", "bot")
    assert played.upstream is not None
    assert played.upstream.headers["authorization"] == f"Bearer {token}"
    assert played.upstream.headers["x-gatehouse-tenant"] == "acme"
    trail = played.trail
    assert (trail.kind, trail.subject, trail.actor) == ("delegated_agent", "ann", "bot")
    assert trail.entries[0].policy == "asked"


@pytest.mark.parametrize(
    ("headers", "facts", "kind", "subject"),
    [
        ({}, EnvoyFacts(), Kind.UNKNOWN, ""),
        ({"x-api-key": KEY}, EnvoyFacts(), Kind.AUTONOMOUS_AGENT, "bot"),
        ({}, EnvoyFacts(attributes={"connection.uri_san_peer_certificate": AGENT}), Kind.AUTONOMOUS_AGENT, AGENT),
        ({"x-forwarded-client-cert": f"Hash=1;URI={AGENT}"}, EnvoyFacts(), Kind.AUTONOMOUS_AGENT, AGENT),
        (
            {},
            EnvoyFacts({"envoy.filters.http.jwt_authn": {"c": {"sub": "eve", "iss": "i", "azp": "portal"}}}),
            Kind.HUMAN,
            "eve",
        ),
        ({"user-agent": "ann", "x-user": "ann", "cookie": "user=ann"}, EnvoyFacts(), Kind.UNKNOWN, ""),
    ],
)
def test_every_source_names_its_caller(headers: dict[str, str], facts: EnvoyFacts, kind: Kind, subject: str) -> None:
    policy = Asked()
    exchange = Exchange(book(policy), "t")
    exchange.receive(Tick(0.0, time.time()))
    exchange.receive(request_headers(facts, **headers))
    decide(exchange)
    assert [(caller.kind, caller.subject) for caller in policy.callers] == [(kind, subject)]
    assert isinstance(exchange.replies()[0], HeadersReply)


def test_every_method_is_held_to_it_and_every_listed_opaque_request() -> None:
    policy = Asked()
    rules = book(policy, allow_opaque=(OpaqueRule(method="OPTIONS"),))
    forged = {"authorization": "Bearer e30.e30.AA", "accept": "text/event-stream"}
    for sent in (HttpRequest(method="GET", headers=dict(forged)), HttpRequest(method="OPTIONS", headers=dict(forged))):
        assert refused(pass_through(rules, sent, DONE), policy) == "token-malformed"


def test_where_no_policy_enforces_a_forged_token_is_refused_all_the_same() -> None:
    policy = Asked()
    rules = book(Binding(policy, enforce=False))
    assert refused(pass_through(rules, with_bearer("e30.e30.AA"), DONE), policy) == "token-malformed"


def test_what_no_route_matches_is_none_of_our_business() -> None:
    sent = asking({"authorization": "Bearer forged"}, path="/elsewhere")
    played = pass_through(book(Asked()), sent, DONE)
    assert played.upstream is not None
    assert played.upstream.headers["authorization"] == "Bearer forged"


def test_a_model_route_answers_401_in_its_own_error_shape() -> None:
    tools = book(Asked())
    (only,) = tools.routes
    models = Route("models", RouteMatch(path="/v1"), "openai", (OpenAiChatCodec(),), only.pipeline)
    sent = HttpRequest(
        b'{"model":"m","messages":[]}',
        path="/v1/chat/completions",
        headers={"content-type": "application/json", "authorization": "Bearer e30.e30.AA"},
    )
    played = pass_through(replace(tools, routes=(models,)), sent, DONE)
    assert played.upstream is None
    assert played.client is not None
    assert played.client.status == 401
    assert played.client.json["error"]["type"] == "authentication_error"
    assert played.client.json["error"]["code"] == "invalid-credential"


def test_conditions_see_groups_roles_scopes_and_tenant() -> None:
    when = Expression(
        "'dev' in identity.groups && 'writer' in identity.roles && 'tools' in identity.scopes"
        " && identity.tenant == 'acme' && identity.kind == 'unknown' && identity.verified"
    )
    rules = book(Binding(DenyTool("search"), when=when))
    full: dict[str, Any] = {"groups": ["dev"], "roles": ["writer"], "scope": "tools x", "tenant": "acme"}
    assert pass_through(rules, with_bearer(minted(**full)), DONE).upstream is None
    for name in full:
        less = {key: value for key, value in full.items() if key != name}
        assert pass_through(rules, with_bearer(minted(**less)), DONE).upstream is not None


def test_a_token_of_a_human_that_an_agent_uses_is_noted_and_counts_as_the_agents() -> None:
    policy, identity = Asked(), chain()
    rules = book(policy, identity=identity)
    bearer = {"authorization": f"Bearer {minted(client_id='portal', jti='one')}"}
    by_agent = {**bearer, "x-forwarded-client-cert": f"Hash=1;URI={AGENT}"}
    first = pass_through(rules, asking(bearer), DONE)
    second = pass_through(rules, asking(by_agent), DONE)
    third = pass_through(rules, asking(bearer), DONE)
    assert [caller.kind for caller in policy.callers] == [Kind.HUMAN, Kind.DELEGATED_AGENT, Kind.DELEGATED_AGENT]
    assert [played.upstream is not None for played in (first, second, third)] == [True, True, True]
    assert first.trail.notes == []
    for played in (second, third):
        noted = [entry for entry in played.trail.entries if entry.stage is Stage.IDENTITY]
        assert [(entry.verdict, entry.reason) for entry in noted] == [("allow", "credential-shared")]
        (note,) = played.trail.notes
        assert note == f"credential {policy.callers[0].credential} serves a human and an agent"
        assert bearer["authorization"][7:] not in note


class Fetching:
    """Keys that are fetched when they are asked for, as a server does it."""

    def __init__(self, fetched: bytes | Exception | None, *, again: bool = True) -> None:
        self.keys = KeySet(UrlOrigin("https://issuer.example/jwks", 5.0, 300.0, 3600.0, 10.0))
        self.keys.refresher = self.refresh
        self.fetched = fetched
        self.again = again
        self.asked = 0

    def refresh(self) -> Awaitable[None] | None:
        return self._fetch() if self.again else None

    async def _fetch(self) -> None:
        self.asked += 1
        if self.fetched is None:
            await asyncio.Event().wait()
        if isinstance(self.fetched, Exception):
            raise self.fetched
        if self.fetched:
            self.keys.install(read_jwks(self.fetched), time.time())


def test_an_unknown_key_is_waited_for_once_and_a_known_one_never() -> None:
    fetching, policy = Fetching(jwks(EC)), Asked()
    rules = book(policy, identity=chain(fetching.keys))
    for _ in range(3):
        assert pass_through(rules, with_bearer(minted()), DONE).upstream is not None
    assert fetching.asked == 1


def test_a_key_that_stays_unknown_is_no_key() -> None:
    fetching, policy = Fetching(jwks(RSA)), Asked()
    rules = book(policy, identity=chain(fetching.keys))
    assert refused(pass_through(rules, with_bearer(minted()), DONE), policy) == "token-key-unknown"
    assert fetching.asked == 1


@pytest.mark.parametrize(
    "fetching",
    [Fetching(b""), Fetching(RuntimeError("x")), Fetching(None), Fetching(b"", again=False)],
    ids=["nothing came", "a fault", "too late", "a moment ago"],
)
def test_where_no_keys_can_be_had_nobody_is_told_that_the_credential_is_invalid(fetching: Fetching) -> None:
    policy = Asked()
    rules = replace(book(policy, identity=chain(fetching.keys)), limits=Limits(decision=0.02))
    played = pass_through(rules, with_bearer(minted()), DONE)
    assert (played.upstream, policy.callers) == (None, [])
    assert played.client is not None
    assert (played.client.status, played.client.headers["retry-after"]) == (503, "1")
    assert "www-authenticate" not in played.client.headers
    assert played.client.json["error"]["data"]["reason"] == "identity-unavailable"
    assert [entry.reason for entry in played.trail.entries] == ["keys-unavailable"]


def test_an_exchange_that_ends_while_keys_are_fetched_is_over_and_nothing_was_decided() -> None:
    policy = Asked()
    exchange = Exchange(book(policy, identity=chain(Fetching(None).keys)), "t")
    exchange.receive(Tick(0.0, time.time()))
    exchange.receive(request_headers(authorization=f"Bearer {minted()}"))
    checkpoint = exchange.next_checkpoint()
    assert checkpoint is not None
    assert checkpoint.stage is Stage.IDENTITY
    waiting = exchange.pipeline.decide(checkpoint)
    pending = next(waiting)
    assert isinstance(pending, Pending)
    assert pending.timeout <= PATIENCE
    assert asyncio.iscoroutine(pending.awaitable)
    pending.awaitable.close()
    waiting.close()
    exchange.receive(Closed(CloseCause.CANCELLED))
    decide(exchange)
    assert exchange.over
    assert policy.callers == []
    assert exchange.replies() == []


def test_time_is_the_exchanges_own() -> None:
    token = EC.mint(exp=1000, iat=1)
    for now, status in ((999.0, None), (1029.0, None), (1030.0, 401)):
        exchange = Exchange(book(Asked()), "t")
        exchange.receive(Tick(5.0, now))
        exchange.receive(request_headers(authorization=f"Bearer {token}"))
        decide(exchange)
        (reply,) = exchange.replies()
        assert (reply.status if isinstance(reply, ImmediateReply) else None) == status


class Leads(Asked):
    """Knows where its clients get a token."""

    def __init__(self, challenge: str | Exception) -> None:
        super().__init__()
        self.word = challenge

    def challenge(self, error: str) -> str:
        if isinstance(self.word, Exception):
            raise self.word
        return self.word and f'Bearer error="{error}", resource_metadata="{self.word}"'


def challenge_of(rules: Rulebook) -> str:
    played = pass_through(rules, with_bearer(minted(exp=1)), DONE)
    assert played.client is not None
    assert played.client.status == 401
    return played.client.headers["www-authenticate"]


def test_a_refused_credential_is_challenged_in_the_words_of_the_first_enforcing_policy_that_has_some() -> None:
    own = 'Bearer error="invalid_token"'
    assert challenge_of(book(Asked(), Leads(""), Leads("https://a"), Leads("https://b"))) == (
        f'{own}, resource_metadata="https://a"'
    )
    assert challenge_of(book(Binding(Leads("https://a"), enforce=False))) == own
    assert challenge_of(book(Leads(RuntimeError("x")))) == own


def test_a_policys_own_challenge_is_its_own() -> None:
    class SignIn(Base):
        def on_request_headers(self, ctx: Context[Any]) -> Verdict:
            if ctx.identity.verified:
                return None
            return Deny("sign-in", "sign in", status=401, headers=(("www-authenticate", "Bearer"),))

        def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
            return None

    played = pass_through(book(SignIn()), asking({}), DONE)
    assert played.client is not None
    assert (played.client.status, played.client.headers["www-authenticate"]) == (401, "Bearer")
    assert pass_through(book(SignIn()), with_bearer(minted()), DONE).upstream is not None
    assert msgspec.json.decode(played.client.body)["error"]["data"]["reason"] == "sign-in"
