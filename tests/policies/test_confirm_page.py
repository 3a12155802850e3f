"""The page of confirm: who sees a request, what it shows, and that it is decided once, by who may."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.credentials.source import fingerprint
from ext_proc.identity import Identity, Kind
from ext_proc.policy import Key, Keyspace, Page, StoreError, Visit, Write
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import Played
from gatehouse_policies.caller_quota import digest
from tests.policies.confirming import (
    ANN,
    ANN_IN_A_BROWSER,
    ANNS_AGENT,
    BOB_IN_A_BROWSER,
    URL,
    Gate,
    asked_at_once,
    elicitation_of,
    error_of,
    forms_of,
    path_of,
    policy,
    result_of,
    word,
)
from tests.policies.town import Broken, Interleaving, reason, went_on

LEGACY = "2025-11-25"
APPROVERS = {"approvers": {"groups": ["sre", "leads"]}}
ISSUED = {"iat": 1_700_000_000, "exp": 4_000_000_000, "jti": "t-1"}
NOBODY = "/r/" + "A" * 22


def asked(gate: Gate, arguments: Any = None, **more: Any) -> str:
    """The path of the page of a call."""
    played = gate.call({"path": "/srv/a"} if arguments is None else arguments, version=LEGACY, **more)
    return path_of(error_of(played)["message"])


def fingerprint_of(claims: dict[str, Any]) -> str:
    """The fingerprint that a call with this token has."""
    return fingerprint(claims["iss"], claims["jti"])


def visit_of(gate: Gate, path: str, who: Identity, form: dict[str, str]) -> Visit:
    return Visit("POST", path, "/gatehouse/ask", who, Keyspace(gate.store, "ask"), time.time(), "v", form=form)


def record_of(path: str) -> Key:
    """Where a request is kept."""
    return Key(digest("request", path.removeprefix("/r/")), "request")


# --- who sees it


@pytest.mark.parametrize(
    "who",
    [
        replace(ANN_IN_A_BROWSER, kind=Kind.UNKNOWN),
        replace(ANN_IN_A_BROWSER, kind=Kind.DELEGATED_AGENT, actor="agent-7"),
        replace(ANN_IN_A_BROWSER, kind=Kind.AUTONOMOUS_AGENT),
        replace(ANN_IN_A_BROWSER, shared=True),
        replace(ANN_IN_A_BROWSER, credential=""),
        replace(ANN_IN_A_BROWSER, issuer="https://other.example"),
        BOB_IN_A_BROWSER,
        Identity(kind=Kind.HUMAN),
    ],
    ids=["unknown", "agent", "bot", "shared", "no credential", "other issuer", "another", "nobody"],
)
def test_to_anybody_but_the_principal_in_person_there_is_no_such_page(who: Identity) -> None:
    gate = Gate()
    path = asked(gate, claims=ANNS_AGENT)
    never = gate.visit(NOBODY, who)
    assert never.status == 404
    assert gate.visit(path, who) == never
    stolen = forms_of(gate.visit(path))["approve"]
    assert gate.visit(path, who, stolen) == never
    assert not went_on(gate.call(claims=ANNS_AGENT))
    assert gate.visit(path).status == 200, "its principal is not disturbed"


def test_the_credential_that_a_call_came_with_is_nobodys_yes() -> None:
    gate = Gate()
    first, second = {**ANN, **ISSUED}, {**ANN, **ISSUED, "jti": "t-2"}
    path = asked(gate, claims=first)
    with_first = replace(ANN_IN_A_BROWSER, credential=fingerprint_of(first))
    with_second = replace(ANN_IN_A_BROWSER, credential=fingerprint_of(second))
    assert gate.visit(path, with_first).status == 404
    assert gate.visit(path, with_second).status == 200, "that one has called nothing yet"
    form = forms_of(gate.visit(path, with_second))["approve"]
    assert asked(gate, claims=second) == path
    assert gate.visit(path, with_second).status == 404
    assert gate.visit(path, with_second, form).status == 404
    assert gate.visit(path).status == 200


def test_a_call_whose_credential_cannot_be_told_from_others_is_confirmed_by_nobody_of_its_name() -> None:
    nameless = {name: value for name, value in ANN.items() if name != "jti"}
    refused = Gate().call(version=LEGACY, claims=nameless)
    assert reason(refused) == "confirmation-impossible"
    gate = Gate(policy(by={"approvers": {"groups": ["sre"], "principal": "allow"}}))
    path = asked(gate, claims=nameless)
    assert gate.visit(path, replace(ANN_IN_A_BROWSER, groups=("sre",))).status == 404
    assert gate.visit(path, BOB_IN_A_BROWSER).status == 200


def test_a_request_that_came_with_too_many_credentials_is_no_more_shared() -> None:
    gate = Gate()
    said = [word(gate.call(version=LEGACY, claims={**ANN, **ISSUED, "jti": f"t-{number}"})) for number in range(17)]
    assert said == ["confirmation-required"] * 16 + ["confirmations-too-many"]


@pytest.mark.parametrize(
    ("approvers", "who", "sees"),
    [
        ({}, BOB_IN_A_BROWSER, True),
        ({}, replace(BOB_IN_A_BROWSER, groups=("sre-interns",)), False),
        ({}, replace(BOB_IN_A_BROWSER, groups=()), False),
        ({}, replace(BOB_IN_A_BROWSER, kind=Kind.UNKNOWN), False),
        ({}, replace(ANN_IN_A_BROWSER, groups=("sre",)), False),
        ({"principal": "allow"}, replace(ANN_IN_A_BROWSER, groups=("sre",)), True),
        ({"principal": "allow"}, ANN_IN_A_BROWSER, False),
        ({"issuers": [ANN["iss"]]}, BOB_IN_A_BROWSER, True),
        ({"issuers": ["https://staff.example"]}, BOB_IN_A_BROWSER, False),
    ],
)
def test_approvers_are_persons_of_a_group_and_not_who_asks(approvers: Any, who: Identity, sees: bool) -> None:
    gate = Gate(policy(by={"approvers": {"groups": ["sre"], **approvers}}))
    path = asked(gate)
    assert (gate.visit(path, who).status == 200) is sees
    assert gate.visit(path, who).status in (200, 404)


def test_nobody_decides_at_a_page_where_a_scorer_does() -> None:
    scored = policy(by={"scorer": {"url": "https://scores.example/"}})
    assert (scored.has_pages, policy().has_pages) == (False, True)
    gate = Gate()
    path = asked(gate)
    assert gate.visit(path, confirm=scored).status == 404


@pytest.mark.parametrize("path", ["/r", "/r/", NOBODY, "/r/../x", "/r/short", "/x" + NOBODY, NOBODY + "/"])
def test_there_is_no_other_page(path: str) -> None:
    assert Gate().visit(path).status == 404


# --- what it shows


def test_it_shows_who_asks_for_what_and_what_a_yes_allows() -> None:
    gate = Gate(policy(uses=3, expires="90s"))
    page = gate.visit(asked(gate, {"path": "/srv/a", "count": 2}, claims=ANNS_AGENT))
    for said in (
        "&quot;ann&quot;",
        "https://id.example",
        "&quot;agent-7&quot;",
        "&quot;delete_file&quot;",
        "&quot;tools&quot;",
        "&quot;path&quot;: &quot;/srv/a&quot;",
        "&quot;count&quot;: 2",
        "up to 3 times, within 90s from now",
        " UTC",
    ):
        assert said in page.body
    assert forms_of(page).keys() == {"approve", "deny"}


def test_what_a_call_says_is_shown_and_is_no_markup_and_hides_nothing() -> None:
    arguments = {"path": "</pre><script>alert(1)</script>", "hid\u202eden": "a\u200bb\U000e0041", "q": '"><form>'}
    gate = Gate()
    page = gate.visit(asked(gate, arguments, tool="delete_\u0430ll<b>", claims={**ANN, "sub": "ann"}))
    assert "<script" not in page.body
    assert page.body.count("<form ") == 2
    assert "<b>" not in page.body
    for said in ("RIGHT-TO-LEFT OVERRIDE", "ZERO WIDTH SPACE", "TAGS &quot;A&quot;", "delete_\\u0430ll"):
        assert said in page.body
    assert not {"\u202e", "\u200b", "\U000e0041", "\u0430"} & set(page.body)


# --- deciding


@pytest.mark.parametrize(("choice", "slug"), [("approve", "confirmation-approved"), ("deny", "confirmation-denied")])
def test_a_decision_is_made_once_and_stays(choice: str, slug: str) -> None:
    gate = Gate()
    path = asked(gate)
    forms = forms_of(gate.visit(path))
    other = {"approve": "deny", "deny": "approve"}[choice]
    first = gate.visit(path, form=forms[choice])
    assert (first.see, first.reason) == (f"/gatehouse/ask{path}", slug)
    for again in (choice, other):
        repeated = gate.visit(path, form=forms[again])
        assert (repeated.see, repeated.reason) == (first.see, "")
    shown = gate.visit(path)
    assert forms_of(shown) == {}
    said = {"approve": "It was allowed", "deny": "It was refused"}[choice]
    assert f"{said} by <code>&quot;ann&quot;</code>, at 20" in shown.body
    assert [went_on(gate.call(version=LEGACY)) for _ in range(2)] == [choice == "approve", False]


def test_who_says_no_may_say_why_and_the_model_reads_it() -> None:
    gate = Gate()
    path = asked(gate)
    form = forms_of(gate.visit(path))["deny"]
    why = "not on\r\n Fridays <b>\u202e" + "x" * 1000
    gate.visit(path, form={**form, "why": why})
    told = gate.call(elicitation=URL)
    assert (went_on(told), reason(told)) == (False, "confirmation-denied")
    (block,) = result_of(told)["content"]
    assert block["text"].startswith("this call was refused by a person who was asked: not on Fridays <b>")
    assert len(block["text"]) < 600
    shown = gate.visit(path).body
    assert "The reason given: not on Fridays &lt;b&gt;\u27e8U+202E" in shown
    assert "Fridays" not in repr([entry.as_dict() for entry in told.trail.entries])


def test_a_yes_says_no_why() -> None:
    gate = Gate()
    path = asked(gate)
    gate.visit(path, form={**forms_of(gate.visit(path))["approve"], "why": "because"})
    assert "because" not in gate.visit(path).body


def test_a_form_without_its_token_or_with_anothers_decides_nothing() -> None:
    gate = Gate(policy(by=APPROVERS))
    path, other = asked(gate), asked(gate, {"path": "/b"})
    carol = replace(BOB_IN_A_BROWSER, subject="carol", credential="browser-of-carol")
    own = forms_of(gate.visit(path, BOB_IN_A_BROWSER))
    for form in (
        {},
        {"decision": "approve"},
        {"decision": "approve", "token": ""},
        {"decision": "approve", "token": own["deny"]["token"]},
        {"decision": "approve", "token": forms_of(gate.visit(other, BOB_IN_A_BROWSER))["approve"]["token"]},
        {"decision": "approve", "token": forms_of(gate.visit(path, carol))["approve"]["token"]},
        {"decision": "approve", "token": own["approve"]["token"][:-1] + "g"},
        {"decision": "approved", "token": own["approve"]["token"]},
        {"token": own["approve"]["token"]},
    ):
        refused = gate.visit(path, BOB_IN_A_BROWSER, form)
        assert (refused.status, refused.see, refused.reason) == (403, "", "")
    assert not went_on(gate.call(version=LEGACY))
    assert gate.visit(path, BOB_IN_A_BROWSER, own["approve"]).reason == "confirmation-approved"


def test_of_two_who_decide_at_the_same_time_one_does() -> None:
    with EmbeddedStore.in_memory() as store:
        gate = Gate(policy(by=APPROVERS), store=Interleaving(store))
        path = asked(gate)
        carol = replace(BOB_IN_A_BROWSER, subject="carol", credential="browser-of-carol")
        choices = ((BOB_IN_A_BROWSER, "approve"), (carol, "deny"))
        forms = [(who, forms_of(gate.visit(path, who))[choice]) for who, choice in choices]

        async def both() -> list[Page]:
            visits = [visit_of(gate, path, who, form) for who, form in forms]
            return list(await asyncio.gather(*(gate.confirm.page(visit) for visit in visits)))

        came = asyncio.run(both())
    assert sorted(page.reason for page in came)[0] == ""
    assert len({page.reason for page in came}) == 2


def test_a_decision_meets_a_call_that_adds_its_credential_and_has_to_be_made_again() -> None:
    """Else a credential could approve in the moment in which it also calls."""
    gate = Gate()
    path = asked(gate)
    form = forms_of(gate.visit(path))["approve"]

    class Meddling(Interleaving):
        done = False

        async def write(self, writes: Any) -> bool:
            if not self.done and any(write.key.name == "request" for write in writes):
                self.done = True
                params = {"name": "delete_file", "arguments": {"path": "/srv/a"}}
                await asked_at_once(gate, params, claims={**ANN, **ISSUED, "jti": ANN_IN_A_BROWSER.credential})
            return await self.store.write(writes)

    visit = replace(visit_of(gate, path, ANN_IN_A_BROWSER, form), store=Keyspace(Meddling(gate.store), "ask"))
    with pytest.raises(StoreError):
        asyncio.run(gate.confirm.page(visit))
    assert gate.visit(path, form=form).status == 404, "and by now it is one that calls"


def test_a_request_that_nobody_answered_in_time_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(policy(expires="60s"))
    path = asked(gate)
    form = forms_of(gate.visit(path))["approve"]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 95.0)
    assert gate.visit(path).status == 404
    assert gate.visit(path, form=form).status == 404
    assert asked(gate) != path


def test_what_somebody_wrote_into_the_store_is_no_grant() -> None:
    gate = Gate()
    path = asked(gate)
    gate.decide(path)
    space = Keyspace(gate.store, "ask")
    key = record_of(path)
    entry = asyncio.run(space.get(key))
    assert entry is not None
    forged = entry.value.replace(b'\\"uses\\":1', b'\\"uses\\":9')
    assert forged != entry.value
    asyncio.run(space.write([Write(key, forged, 60.0)]))
    assert gate.visit(path).status == 404
    played = gate.call(version=LEGACY)
    assert (went_on(played), reason(played)) == (False, "confirmation-required")


def test_a_grant_copied_to_another_request_is_none() -> None:
    gate = Gate()
    path, other = asked(gate), asked(gate, {"path": "/other"})
    gate.decide(path)
    space = Keyspace(gate.store, "ask")
    keys = [record_of(one) for one in (path, other)]
    entry = asyncio.run(space.get(keys[0]))
    assert entry is not None
    asyncio.run(space.write([Write(keys[1], entry.value, 60.0)]))
    assert not went_on(gate.call({"path": "/other"}, version=LEGACY))


def test_a_grant_copied_to_another_request_is_none_for_the_state_that_names_that_one() -> None:
    gate = Gate()
    path, waits = asked(gate), gate.call({"path": "/other"}, elicitation=URL)
    gate.decide(path)
    space = Keyspace(gate.store, "ask")
    entry = asyncio.run(space.get(record_of(path)))
    assert entry is not None
    record = record_of(path_of(elicitation_of(waits)["url"]))
    asyncio.run(space.write([Write(record, entry.value, 60.0)]))
    back = gate.retry(waits, {"action": "accept"}, arguments={"path": "/other"}, elicitation=URL)
    assert (went_on(back), reason(back)) == (False, "confirmation-expired")


def test_the_store_that_fails_is_said_so() -> None:
    with pytest.raises(StoreError):
        Gate(store=Broken()).visit(NOBODY)


def test_a_url_in_an_elicitation_is_the_page_of_the_same_request() -> None:
    gate = Gate()
    played: Played = gate.call(elicitation=URL)
    assert path_of(elicitation_of(played)["url"]) == asked(gate)
