"""The ladder: each rung by a table, and what must never make a human."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.identity import (
    UNKNOWN,
    ClaimNames,
    ClaimsError,
    ClientKind,
    Evidence,
    Identity,
    Kind,
    RegisteredClient,
    Registry,
    as_shared,
    beside_workload,
    from_claims,
)

REGISTRY = Registry(
    [
        RegisteredClient(ClientKind.AGENT, client="assistant-*", issuer="https://idp"),
        RegisteredClient(ClientKind.INTERACTIVE, client="portal"),
        RegisteredClient(ClientKind.AGENT, spiffe="spiffe://prod/agents/*"),
    ]
)
ANN = {"iss": "https://idp", "sub": "ann"}
AGENT = "spiffe://prod/agents/runner"
CHAIN = {"sub": "agent-2", "act": {"sub": "agent-1"}}

# Claims, and what the caller is by them: kind, evidence, actor, whether two things are said at once.
RUNGS: dict[str, tuple[dict[str, Any], Kind, Evidence, str, bool]] = {
    "1 act": ({"act": {"sub": "bot"}}, Kind.DELEGATED_AGENT, Evidence.ACT, "bot", False),
    "1 act with a profile": (
        {"sub_profile": "user", "act": {"sub": "bot", "sub_profile": "ai_agent"}},
        Kind.DELEGATED_AGENT,
        Evidence.ACT,
        "bot",
        False,
    ),
    "1 the outermost act": ({"act": CHAIN}, Kind.DELEGATED_AGENT, Evidence.ACT, "agent-2", False),
    "1 act before everything": (
        {"act": {"sub": "bot"}, "client_id": "ann", "sub_profile": "user"},
        Kind.DELEGATED_AGENT,
        Evidence.ACT,
        "bot",
        True,
    ),
    "1 a client that the token calls an agent": (
        {"sub_profile": "user", "client_profile": "native_app ai_agent", "client_id": "assist"},
        Kind.DELEGATED_AGENT,
        Evidence.PROFILE,
        "assist",
        False,
    ),
    "2 the client is the subject": (
        {"client_id": "ann"},
        Kind.AUTONOMOUS_AGENT,
        Evidence.CLIENT_CREDENTIALS,
        "",
        False,
    ),
    "2 by azp": ({"azp": "ann"}, Kind.AUTONOMOUS_AGENT, Evidence.CLIENT_CREDENTIALS, "", False),
    "2 by the grant": (
        {"gty": "client-credentials", "azp": "x"},
        Kind.AUTONOMOUS_AGENT,
        Evidence.CLIENT_CREDENTIALS,
        "",
        False,
    ),
    "2 by the token's type": ({"idtyp": "app"}, Kind.AUTONOMOUS_AGENT, Evidence.CLIENT_CREDENTIALS, "", False),
    "2 by the profile": ({"sub_profile": "ai_agent"}, Kind.AUTONOMOUS_AGENT, Evidence.PROFILE, "", False),
    "2 a service": ({"sub_profile": ["service"]}, Kind.AUTONOMOUS_AGENT, Evidence.PROFILE, "", False),
    "2 an interactive client for itself": (
        {"sub": "portal", "client_id": "portal"},
        Kind.AUTONOMOUS_AGENT,
        Evidence.CLIENT_CREDENTIALS,
        "",
        False,
    ),
    "3 a registered agent": (
        {"client_id": "assistant-7", "sub_profile": "user"},
        Kind.DELEGATED_AGENT,
        Evidence.REGISTRY,
        "assistant-7",
        False,
    ),
    "4 a user by the profile": ({"sub_profile": "user", "client_id": "x"}, Kind.HUMAN, Evidence.PROFILE, "", False),
    "4 a registered interactive client": ({"client_id": "portal"}, Kind.HUMAN, Evidence.REGISTRY, "", False),
    "5 nothing tells": ({}, Kind.UNKNOWN, Evidence.NONE, "", False),
    "5 an unknown client": ({"client_id": "x"}, Kind.UNKNOWN, Evidence.NONE, "", False),
    "5 an agent's id at another issuer": (
        {"client_id": "assistant-7", "iss": "https://other"},
        Kind.UNKNOWN,
        Evidence.NONE,
        "",
        False,
    ),
    "5 a user and something else": ({"sub_profile": "user device"}, Kind.UNKNOWN, Evidence.NONE, "", False),
    "5 something else in an interactive client": (
        {"sub_profile": "device", "client_id": "portal"},
        Kind.UNKNOWN,
        Evidence.NONE,
        "",
        False,
    ),
    "5 a profile that is no text in an interactive client": (
        {"sub_profile": {"ai_agent": True}, "client_id": "portal"},
        Kind.UNKNOWN,
        Evidence.NONE,
        "",
        False,
    ),
    "5 words that prove nothing": (
        {"name": "Ann", "email": "ann@example.com", "preferred_username": "ann", "amr": ["pwd"]},
        Kind.UNKNOWN,
        Evidence.NONE,
        "",
        False,
    ),
    "both: user and agent": (
        {"sub_profile": "user ai_agent"},
        Kind.AUTONOMOUS_AGENT,
        Evidence.PROFILE,
        "",
        True,
    ),
    "both: a user that is the client": (
        {"sub_profile": "user", "client_id": "ann"},
        Kind.AUTONOMOUS_AGENT,
        Evidence.CLIENT_CREDENTIALS,
        "",
        True,
    ),
    "both: an agent in the interactive client": (
        {"client_id": "portal", "client_profile": "ai_agent"},
        Kind.DELEGATED_AGENT,
        Evidence.PROFILE,
        "portal",
        True,
    ),
}


@pytest.mark.parametrize(("claims", "kind", "evidence", "actor", "shared"), RUNGS.values(), ids=RUNGS.keys())
def test_each_rung_of_the_ladder(
    claims: dict[str, Any], kind: Kind, evidence: Evidence, actor: str, shared: bool
) -> None:
    found = from_claims({**ANN, **claims}, REGISTRY)
    assert (found.kind, found.evidence, found.actor, found.shared) == (kind, evidence, actor, shared)
    assert found.principal == found.subject == claims.get("sub", "ann")


@given(
    st.dictionaries(
        st.sampled_from(["act", "client_id", "azp", "gty", "idtyp", "amr", "name", "client_profile", "acr"]),
        st.none() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2) | st.booleans(),
    )
)
def test_without_positive_evidence_nobody_is_a_human(claims: dict[str, Any]) -> None:
    try:
        found = from_claims({**ANN, **claims})
    except ClaimsError:
        return
    assert found.kind is not Kind.HUMAN


def test_the_first_entry_of_the_registry_that_fits_counts() -> None:
    special_first = Registry(
        [RegisteredClient(ClientKind.INTERACTIVE, client="assistant-ui"), *REGISTRY.entries],
    )
    assert from_claims({**ANN, "client_id": "assistant-ui"}, special_first).kind is Kind.HUMAN
    assert from_claims({**ANN, "client_id": "assistant-ui"}, REGISTRY).kind is Kind.DELEGATED_AGENT
    assert Registry([RegisteredClient(ClientKind.AGENT, spiffe="*")]).client("", "https://idp") is None


@pytest.mark.parametrize(
    "act", ["bot", ["bot"], 7, True, {}, {"sub": ""}, {"sub": 7}, {"sub": "a", "act": "b"}, {"sub": "a", "act": {}}]
)
def test_an_act_that_names_nobody_is_refused(act: object) -> None:
    with pytest.raises(ClaimsError) as refused:
        from_claims({**ANN, "act": act})
    assert refused.value.reason == "claims-act"


def test_a_chain_of_delegation_has_a_limit() -> None:
    def chain(length: int) -> dict[str, Any]:
        act: dict[str, Any] = {"sub": "a0"}
        for number in range(1, length):
            act = {"sub": f"a{number}", "act": act}
        return act

    assert from_claims({**ANN, "act": chain(4)}).depth == 4
    assert from_claims({**ANN, "act": chain(9)}, act_depth=9).actor == "a8"
    with pytest.raises(ClaimsError) as refused:
        from_claims({**ANN, "act": chain(5)})
    assert refused.value.reason == "claims-act-depth"


def test_a_chain_of_any_length_is_refused_without_recursion() -> None:
    act: dict[str, Any] = {"sub": "a"}
    for _ in range(100_000):
        act = {"sub": "a", "act": act}
    with pytest.raises(ClaimsError):
        from_claims({**ANN, "act": act})


def test_claims_make_an_identity() -> None:
    found = from_claims(
        {
            **ANN,
            "groups": ["admin", 5],
            "roles": "dev ops",
            "scope": "docs:read docs:write",
            "tenant": "acme",
            "aud": ["a", 7, "b"],
            "exp": 1800000000,
            "client_id": "cli",
        },
        credential="f",
    )
    assert found == Identity(
        subject="ann",
        issuer="https://idp",
        groups=("admin",),
        roles=("dev ops",),
        scopes=("docs:read", "docs:write"),
        tenant="acme",
        client="cli",
        audiences=("a", "b"),
        credential="f",
        expires=1800000000.0,
    )
    assert hash(found) == hash(found)


def test_a_group_or_role_written_as_text_is_one_and_not_its_words() -> None:
    found = from_claims({**ANN, "groups": "not admin", "roles": "read only"})
    assert (found.groups, found.roles) == (("not admin",), ("read only",))


def test_scopes_may_be_a_list_under_scp() -> None:
    assert from_claims({**ANN, "scp": ["x", "y"]}).scopes == ("x", "y")


def test_claims_may_stand_elsewhere() -> None:
    names = ClaimNames(
        groups="https://acme.example/groups",
        roles="/realm_access/roles",
        scopes="/a~1b/m~0n",
        tenant="tid",
        exposed=("email", "absent"),
    )
    claims = {
        **ANN,
        "https://acme.example/groups": ["g"],
        "groups": ["not these"],
        "realm_access": {"roles": ["r"]},
        "a/b": {"m~n": "s t"},
        "tid": "acme",
        "email": "ann@example.com",
        "secret": "not shown",
    }
    found = from_claims(claims, names=names)
    assert (found.groups, found.roles, found.scopes, found.tenant) == (("g",), ("r",), ("s", "t"), "acme")
    assert found.as_variables()["claims"] == {"email": "ann@example.com"}
    assert from_claims({**ANN, "realm_access": ["roles"]}, names=names).roles == ()


@pytest.mark.parametrize("subject", [None, "", 7, ["ann"], {"sub": "ann"}])
def test_without_a_textual_subject_nobody_is_named(subject: object) -> None:
    assert from_claims({"iss": "https://idp", "sub": subject, "sub_profile": "user"}) is UNKNOWN


@pytest.mark.parametrize("expires", [None, "soon", True, -1, 10**400, 1e300])
def test_an_expiry_that_is_no_date_is_none(expires: object) -> None:
    assert from_claims({**ANN, "exp": expires}).expires == 0.0


def test_a_workload_stands_beside_a_token() -> None:
    person = from_claims({**ANN, "client_id": "portal"}, REGISTRY)
    plain = beside_workload(person, "spiffe://prod/web", REGISTRY)
    assert (plain.kind, plain.spiffe, plain.actor) == (Kind.HUMAN, "spiffe://prod/web", "")


@pytest.mark.parametrize("claims", [{"client_id": "portal"}, {}])
def test_a_registered_agent_that_presents_anothers_token_acts_for_it(claims: dict[str, Any]) -> None:
    found = beside_workload(from_claims({**ANN, **claims}, REGISTRY), AGENT, REGISTRY)
    assert (found.kind, found.evidence, found.actor) == (Kind.DELEGATED_AGENT, Evidence.REGISTRY, AGENT)
    assert found.principal == "ann"


@pytest.mark.parametrize("claims", [{"act": {"sub": "bot"}}, {"client_id": "ann"}])
def test_what_the_token_says_of_an_agent_stays(claims: dict[str, Any]) -> None:
    told = from_claims({**ANN, **claims}, REGISTRY)
    found = beside_workload(told, AGENT, REGISTRY)
    assert (found.kind, found.evidence, found.actor) == (told.kind, told.evidence, told.actor)


@pytest.mark.parametrize(
    "agent",
    [
        from_claims({**ANN, "client_id": "assistant-7"}, REGISTRY),
        from_claims({**ANN, "client_id": "x", "client_profile": "ai_agent"}),
        beside_workload(from_claims({**ANN, "client_id": "portal"}, REGISTRY), AGENT, REGISTRY),
        as_shared(from_claims({**ANN, "sub_profile": "user"})),
    ],
    ids=["by the registry", "by its profile", "by its workload", "by a shared credential"],
)
def test_an_agent_that_acts_for_a_caller_is_one_of_the_chain_whatever_tells_of_it(agent: Identity) -> None:
    assert (agent.kind, agent.depth) == (Kind.DELEGATED_AGENT, 1)


def test_a_shared_credential_is_no_humans_any_more() -> None:
    person = from_claims({**ANN, "sub_profile": "user"})
    assert (as_shared(person).kind, as_shared(person).evidence) == (Kind.DELEGATED_AGENT, Evidence.SHARED)
    agent = from_claims({**ANN, "act": {"sub": "bot"}})
    assert (as_shared(agent).kind, as_shared(agent).shared) == (Kind.DELEGATED_AGENT, True)


def test_conditions_see_every_field_that_says_who_calls() -> None:
    found = beside_workload(from_claims({**ANN, "act": CHAIN, "client_id": "cli"}), AGENT)
    assert found.as_variables() == {
        "kind": "delegated_agent",
        "verified": True,
        "subject": "ann",
        "principal": "ann",
        "actor": "agent-2",
        "client": "cli",
        "issuer": "https://idp",
        "audiences": [],
        "groups": [],
        "roles": [],
        "scopes": [],
        "tenant": "",
        "spiffe": AGENT,
        "evidence": "act",
        "depth": 2,
        "shared": False,
        "claims": {},
    }
    assert UNKNOWN.as_variables()["verified"] is False


@given(st.tuples(st.text(), st.text(min_size=1)), st.tuples(st.text(), st.text(min_size=1)))
def test_two_callers_have_one_key_only_if_they_are_one(one: tuple[str, str], other: tuple[str, str]) -> None:
    def key(pair: tuple[str, str]) -> str:
        return Identity(issuer=pair[0], subject=pair[1]).key

    assert (key(one) == key(other)) == (one == other)
    assert len(key(one)) == 43
    assert key(one).replace("-", "").replace("_", "").isalnum()


def test_a_subject_cannot_carry_its_issuer_over() -> None:
    assert Identity(issuer="a", subject="b:c").key != Identity(issuer="a:b", subject="c").key
    assert Identity(issuer="", subject="ab").key != Identity(issuer="a", subject="b").key
    assert UNKNOWN.key == "unknown"
