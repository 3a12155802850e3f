"""A token holds in every respect that its issuer's entry names, or is refused with the first that does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.jwt import BearerTokens, Issuer
from ext_proc.credentials.keys import KeySet, UrlOrigin, read_jwks, secret_key
from ext_proc.credentials.source import Found, KeyMissing, Nothing, Rejected
from ext_proc.identity import ClaimNames, ClientKind, Identity, Kind, RegisteredClient, Registry
from tests.unit.credentials.minting import (
    AUDIENCE,
    ISSUER,
    NOW,
    Minter,
    hmac_signed,
    jwks,
    presented,
    unsigned,
    usual,
    with_token,
)

EC, RSA = Minter("ES256", "ec"), Minter("RS256", "rsa")
SECRET = b"a secret that two parties share, and nobody else"
MANY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def issuer(*minters: Minter, **changes: Any) -> Issuer:
    pinned = Issuer(ISSUER, frozenset({AUDIENCE, "second"}), KeySet(None, read_jwks(jwks(*(minters or (EC, RSA))))))
    return replace(pinned, **changes)


def tokens(*minters: Minter, **changes: Any) -> BearerTokens:
    return BearerTokens([issuer(*minters, **changes)])


def refused(found: Found) -> str:
    rejected = found.rejected if isinstance(found, KeyMissing) else found
    assert isinstance(rejected, Rejected), found
    assert not rejected.unavailable
    return rejected.reason


def who(found: Found) -> Identity:
    assert isinstance(found, Identity), found
    return found


def test_a_token_that_holds_names_its_caller() -> None:
    found = who(tokens().identify(with_token(EC.mint(groups=["admin"], scope="a b", client_id="cli", jti="j"))))
    assert (found.subject, found.issuer, found.groups, found.scopes) == ("ann", ISSUER, ("admin",), ("a", "b"))
    assert (found.client, found.audiences, found.expires) == ("cli", (AUDIENCE,), NOW + 600)


@pytest.mark.parametrize("algorithm", MANY)
def test_every_algorithm_that_is_pinned_verifies(algorithm: str) -> None:
    minter = Minter(algorithm)
    source = tokens(minter, algorithms=frozenset({algorithm}))
    assert who(source.identify(with_token(minter.mint()))).subject == "ann"
    assert refused(source.identify(with_token(Minter(algorithm).mint()))) == "token-signature"


def test_a_second_use_is_the_same_caller_and_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source, token = tokens(), EC.mint()
    first = who(source.identify(with_token(token)))
    monkeypatch.setattr("ext_proc.credentials.jwt.read_token", None)
    assert source.identify(with_token(token)) is first


def test_the_issuers_own_time_ends_a_remembered_token() -> None:
    source, token = tokens(), EC.mint()
    assert who(source.identify(with_token(token)))
    assert refused(source.identify(with_token(token, time=NOW + 630))) == "token-expired"


FORGED: dict[str, tuple[str, str]] = {
    "alg none": (unsigned({"alg": "none"}, usual(), b"x"), "token-algorithm"),
    "alg none without a signature": (unsigned({"alg": "none"}, usual()), "token-malformed"),
    "alg None": (unsigned({"alg": "None", "kid": "ec"}, usual(), b"x"), "token-algorithm"),
    "alg nOnE": (unsigned({"alg": "nOnE", "kid": "ec"}, usual(), b"x"), "token-algorithm"),
    "a public key as a secret": (
        hmac_signed(b"-" + RSA.public_pem(), {"alg": "HS256", "kid": "rsa"}, usual()),
        "token-algorithm",
    ),
    "another's key": (Minter("ES256", "ec").mint(), "token-signature"),
    "another's key of another type": (Minter("RS256", "ec").mint(), "token-key-unknown"),
    "a key of its own": (Minter("ES256", "mine").mint({"jwk": Minter("ES256", "mine").jwk()}), "token-key-unknown"),
    "a key at an address of its own": (
        Minter("ES256", "mine").mint(
            {"jku": "https://attacker.example/jwks.json", "x5u": "https://attacker.example/c"}
        ),
        "token-key-unknown",
    ),
    "its own key under a known name": (
        Minter("ES256", "ec").mint({"jwk": Minter("ES256", "ec").jwk(), "jku": "https://attacker.example/jwks.json"}),
        "token-signature",
    ),
    "a key id that is a path": (EC.mint({"kid": "../../../../dev/null"}), "token-key-unknown"),
    "a key id that is a query": (EC.mint({"kid": "ec' UNION SELECT 'x"}), "token-key-unknown"),
    "another algorithm than the key's": (
        unsigned({"alg": "RS256", "kid": "ec"}, usual(), b"x" * 64),
        "token-key-unknown",
    ),
    "an algorithm that is not pinned": (Minter("ES384", "ec").mint(), "token-algorithm"),
    "no signature to speak of": (unsigned({"alg": "ES256", "kid": "ec"}, usual(), b"\0" * 64), "token-signature"),
    "a signature of zeros for RSA": (unsigned({"alg": "RS256", "kid": "rsa"}, usual(), b"\0" * 256), "token-signature"),
    "claims of another token": (
        ".".join(part.split(".")[i] for i, part in enumerate([EC.mint(), EC.mint(sub="admin"), EC.mint()])),
        "token-signature",
    ),
}


@pytest.mark.parametrize(("token", "reason"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(token: str, reason: str) -> None:
    assert refused(tokens().identify(with_token(token))) == reason


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (EC.mint(exp=int(NOW) - 30), "token-expired"),
        (EC.mint(exp=0), "token-expired"),
        (EC.mint(exp=-1.5), "token-expired"),
        (EC.mint(without=("exp",)), "token-times"),
        (EC.mint(exp=None), "token-times"),
        (EC.mint(exp=str(int(NOW) + 600)), "token-times"),
        (EC.mint(exp=True), "token-times"),
        (EC.mint(exp=[int(NOW) + 600]), "token-times"),
        (EC.mint(exp=10**400), "token-times"),
        (EC.mint(exp=1e300), "token-times"),
        (EC.mint(nbf=int(NOW) + 31), "token-not-yet"),
        (EC.mint(nbf=10**400), "token-times"),
        (EC.mint(nbf="now"), "token-times"),
        (EC.mint(nbf=None), "token-times"),
        (EC.mint(aud="https://other.example"), "token-audience"),
        (EC.mint(aud=["https://other.example", 7, None]), "token-audience"),
        (EC.mint(aud=AUDIENCE + "/"), "token-audience"),
        (EC.mint(aud=AUDIENCE.upper()), "token-audience"),
        (EC.mint(aud={"https://tools.example/mcp": True}), "token-audience"),
        (EC.mint(aud=[[AUDIENCE]]), "token-audience"),
        (EC.mint(aud=[]), "token-audience"),
        (EC.mint(without=("aud",)), "token-audience"),
        (EC.mint(iss="https://other.example"), "token-issuer"),
        (EC.mint(iss=ISSUER + "/"), "token-issuer"),
        (EC.mint(iss=[ISSUER]), "token-issuer"),
        (EC.mint(without=("iss",)), "token-issuer"),
        (EC.mint(without=("sub",)), "token-subject"),
        (EC.mint(sub=""), "token-subject"),
        (EC.mint(sub=7), "token-subject"),
        (EC.mint(act="bot"), "claims-act"),
        (EC.mint(act={"sub": "1", "act": {"sub": "2", "act": {"sub": "3"}}}), "claims-act-depth"),
        (EC.mint({"typ": "dpop+jwt"}), "token-type"),
        (EC.mint({"typ": "logout+jwt"}), "token-type"),
        (EC.mint({"typ": "secevent+jwt"}), "token-type"),
        (EC.mint(filler="x" * 3000), "token-too-long"),
    ],
    # The tokens are others in each run.
    ids=lambda value: value if value.startswith(("token-", "claims-")) else "",
)  # fmt: skip
def test_a_token_that_does_not_hold_is_refused(token: str, reason: str) -> None:
    source = tokens(act_depth=2, max_length=2048)
    assert refused(source.identify(with_token(token))) == reason


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(NOW) - 29},
        {"exp": NOW + 0.5},
        {"nbf": int(NOW) + 30},
        {"nbf": 0},
        {"aud": ["x", "second"]},
        {"aud": "second"},
        {"iat": int(NOW) + 5},
    ],
    ids=str,
)
def test_a_token_holds_within_the_leeway_and_for_any_audience_that_counts(claims: dict[str, Any]) -> None:
    assert who(tokens().identify(with_token(EC.mint(**claims)))).subject == "ann"


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at+jwt", "application/at+JWT"])
def test_usual_types_of_token_are_taken(kind: str | None) -> None:
    assert who(tokens().identify(with_token(EC.mint({"typ": kind}))))


def test_one_type_may_be_asked_for() -> None:
    source = tokens(type="at+jwt")
    assert who(source.identify(with_token(EC.mint({"typ": "at+JWT"}))))
    for kind in (None, "JWT"):
        assert refused(source.identify(with_token(EC.mint({"typ": kind})))) == "token-type"


def test_a_secret_verifies_with_its_own_algorithm_alone() -> None:
    pinned = Issuer(
        ISSUER,
        frozenset({AUDIENCE}),
        KeySet(None, [secret_key(SECRET, frozenset({"HS256"}))]),
        algorithms=frozenset({"HS256"}),
    )
    source = BearerTokens([pinned])
    assert who(source.identify(with_token(hmac_signed(SECRET, {"alg": "HS256"}, usual()))))
    assert refused(source.identify(with_token(hmac_signed(SECRET, {"alg": "HS512"}, usual())))) == "token-algorithm"
    other = hmac_signed(SECRET + b"!", {"alg": "HS256"}, usual())
    assert refused(source.identify(with_token(other))) == "token-signature"
    assert refused(source.identify(with_token(EC.mint()))) == "token-algorithm"


def test_each_issuer_has_its_own_keys_and_audiences() -> None:
    second = Minter("EdDSA", "ec")
    both = BearerTokens(
        [
            issuer(EC),
            Issuer("https://second.example", frozenset({"second-api"}), KeySet(None, read_jwks(jwks(second)))),
        ]
    )
    assert who(both.identify(with_token(EC.mint()))).issuer == ISSUER
    theirs = second.mint(iss="https://second.example", aud="second-api")
    assert who(both.identify(with_token(theirs))).issuer == "https://second.example"
    assert refused(both.identify(with_token(second.mint()))) == "token-key-unknown"
    assert refused(both.identify(with_token(second.mint(iss="https://second.example")))) == "token-audience"
    assert refused(both.identify(with_token(EC.mint(iss="https://second.example", aud="second-api")))) == (
        "token-key-unknown"
    )


@pytest.mark.parametrize("value", ["Basic YW5uOnB3", "DPoP eyJ", "Digest x", "Bearerx", "", "gh_x"])
def test_another_scheme_is_no_credential_of_ours(value: str) -> None:
    assert tokens().identify(presented(("authorization", value))) is Nothing.ABSENT


def test_no_header_is_no_credential() -> None:
    assert tokens().identify(presented()) is Nothing.ABSENT


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,Bearer b", "Bearer \u00e9", 'Bearer "x"']
)
def test_a_bearer_header_that_holds_no_token_is_refused(value: str) -> None:
    assert refused(tokens().identify(presented(("authorization", value)))) == "credential-malformed"


def test_a_bearer_credential_that_is_no_token_may_be_anothers() -> None:
    assert tokens().identify(with_token("sk-live-0123")) is Nothing.FOREIGN


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    assert who(tokens().identify(presented(("authorization", f"{scheme} {EC.mint()}"))))


def test_a_token_is_remembered_once_however_its_scheme_is_written() -> None:
    source, token = BearerTokens([issuer()], cached=2), EC.mint()
    other = EC.mint(sub="bob")
    remembered = who(source.identify(with_token(other)))
    for line in (f"Bearer {token}", f"bearer {token}", f"Bearer   {token}"):
        assert who(source.identify(presented(("authorization", line)))).subject == "ann"
    # Nobody was pushed out: it is not verified again.
    assert source.identify(with_token(other)) is remembered


def test_two_headers_are_refused_even_if_each_holds() -> None:
    line = ("authorization", f"Bearer {EC.mint()}")
    assert refused(tokens().identify(presented(line, line))) == "credential-repeated"


def test_a_token_may_stand_bare_in_another_header() -> None:
    source = BearerTokens([issuer()], header="x-id-token")
    assert who(source.identify(presented(("x-id-token", EC.mint()))))
    assert source.identify(with_token(EC.mint())) is Nothing.ABSENT
    assert source.identify(presented(("x-id-token", f"Bearer {EC.mint().replace('.', '')}"))) is Nothing.FOREIGN
    assert refused(source.identify(presented(("x-id-token", f"Bearer {EC.mint()}")))) == "token-malformed"


def test_an_unknown_key_asks_for_newer_ones_and_no_keys_are_no_forgery() -> None:
    origin = UrlOrigin("https://issuer.example/jwks", 5, 300, stale=100, cooldown=10)
    keys = KeySet(origin)
    source = BearerTokens([issuer(keys=keys)])
    empty = source.identify(with_token(EC.mint()))
    assert isinstance(empty, KeyMissing)
    assert empty.rejected == Rejected("keys-unavailable", unavailable=True)
    keys.install(read_jwks(jwks(RSA)), NOW)
    unknown = source.identify(with_token(EC.mint()))
    assert isinstance(unknown, KeyMissing)
    assert (unknown.keys, unknown.rejected) == (keys, Rejected("token-key-unknown"))
    keys.install(read_jwks(jwks(RSA, EC)), NOW)
    assert who(source.identify(with_token(EC.mint())))
    stale = source.identify(with_token(EC.mint(), time=NOW + 101))
    assert isinstance(stale, KeyMissing)
    assert stale.rejected.unavailable


def test_a_removed_key_ends_its_tokens_at_once() -> None:
    keys = KeySet(None, read_jwks(jwks(EC, RSA)))
    source, token = BearerTokens([issuer(keys=keys)]), EC.mint()
    assert who(source.identify(with_token(token)))
    keys.install(read_jwks(jwks(RSA)), NOW)
    assert refused(source.identify(with_token(token))) == "token-key-unknown"


def test_the_registry_and_the_names_of_claims_arrive_at_the_ladder() -> None:
    registry = Registry([RegisteredClient(ClientKind.AGENT, client="bot-*")])
    source = BearerTokens([issuer(names=ClaimNames(roles="/r/a", exposed=("email",)))], registry)
    found = who(source.identify(with_token(EC.mint(client_id="bot-1", r={"a": ["x"]}, email="e"))))
    assert (found.kind, found.actor, found.roles, found.claims) == (
        Kind.DELEGATED_AGENT,
        "bot-1",
        ("x",),
        {"email": "e"},
    )


def test_a_credential_is_known_by_the_tokens_own_id_or_by_its_bytes() -> None:
    def credential(**claims: Any) -> str:
        return who(tokens().identify(with_token(EC.mint(**claims)))).credential

    assert credential(jti="1") == credential(jti="1", exp=int(NOW) + 900)
    assert credential(jti="1") != credential(jti="2")
    assert credential() != credential(sub="bob")
    token = RSA.mint()
    assert who(tokens().identify(with_token(token))).credential not in token


@given(st.binary(max_size=120))
def test_whatever_stands_in_the_header_is_decided(value: bytes) -> None:
    found = tokens().identify(presented(("authorization", "Bearer " + value.decode("latin-1"))))
    assert isinstance(found, Rejected | Nothing)


@given(st.data())
def test_a_token_with_any_byte_changed_does_not_hold(data: st.DataObject) -> None:
    token = EC.mint()
    at = data.draw(st.integers(0, len(token) - 1))
    to = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~"))
    changed = token[:at] + to + token[at + 1 :]
    found = tokens().identify(with_token(changed))
    assert changed == token or not isinstance(found, Identity)
