"""A credential that serves a human and an agent is told from one that serves either."""

from __future__ import annotations

from dataclasses import replace

from ext_proc.credentials.sightings import Sightings
from ext_proc.identity import Evidence, Identity, Kind

PERSON = Identity(Kind.HUMAN, "ann", credential="c1")
BY_AGENT = replace(PERSON, kind=Kind.DELEGATED_AGENT, actor="spiffe://prod/agents/runner")


def test_each_use_alone_is_what_it_is() -> None:
    assert Sightings().see(PERSON, PERSON) is PERSON
    assert Sightings().see(PERSON, BY_AGENT) is BY_AGENT


def test_after_both_uses_each_counts_as_an_agents_in_either_order() -> None:
    for first, second in ((PERSON, BY_AGENT), (BY_AGENT, PERSON)):
        sightings = Sightings()
        sightings.see(PERSON, first)
        found = sightings.see(PERSON, second)
        assert (found.shared, found.kind) == (True, Kind.DELEGATED_AGENT)
        again = sightings.see(PERSON, PERSON)
        assert (again.shared, again.kind, again.evidence) == (True, Kind.DELEGATED_AGENT, Evidence.SHARED)


def test_another_credential_of_the_same_person_is_another_matter() -> None:
    sightings = Sightings()
    sightings.see(PERSON, BY_AGENT)
    other = replace(PERSON, credential="c2")
    assert sightings.see(other, other) is other


def test_only_credentials_of_humans_with_a_fingerprint_are_remembered() -> None:
    sightings = Sightings()
    for caller in (replace(PERSON, kind=Kind.UNKNOWN), replace(PERSON, credential=""), BY_AGENT):
        assert sightings.see(caller, caller) is caller
    assert len(sightings) == 0


def test_the_memory_is_bounded_and_the_one_seen_longest_ago_makes_room() -> None:
    sightings = Sightings(most=2)
    people = [replace(PERSON, credential=name) for name in ("a", "b", "c")]
    for person in (people[0], people[1], people[0], people[2]):
        sightings.see(person, person)
    assert len(sightings) == 2
    agents = [replace(person, kind=Kind.DELEGATED_AGENT) for person in people]
    assert sightings.see(people[0], agents[0]).shared
    assert not sightings.see(people[1], agents[1]).shared
