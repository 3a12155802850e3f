"""usage with a ledger, of answers that are made apart from their requests: in the background, and fetched later.

Not here: whose such an answer is (test_stored_objects.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding
from ext_proc.ledger.record import Counted, State, UsageRecord
from ext_proc.testing import Played
from tests.exchange.test_cutting import cut_at
from tests.policies.stored import Provider, answered, policy
from tests.policies.test_usage_ledger import PRICES, meter
from tests.policies.town import ANN, PATIENCE, went_on
from tests.unit.codecs.openai_responses_building import event, stream, talk
from tests.unit.ledger.keeping import kept

USED = {"input_tokens": 12, "output_tokens": 30}
BELOW = "/v1/responses/resp_1"
BEGUN = answered(status="queued", output=[], background=True)
DONE = answered(usage=USED, model="gpt-5.1-2025-11-13", background=True)
ENDED = event("response.completed", response=DONE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def provider(path: Path, **binding: Any) -> Provider:
    """Whose answers are kept, and counted."""
    return Provider(policy(), Binding(meter(path, others={"prices": PRICES}), timeout=PATIENCE, **binding))


def fetch(here: Provider, came: Any, way: str = "GET", below: str = "", **options: Any) -> Played:
    return here.ask(ANN, came, method=way, path=BELOW + below, sent=b"", **options)


def records(path: Path) -> tuple[list[UsageRecord], list[UsageRecord]]:
    """Those of exchanges, and those of answers that were made apart."""
    found = kept(path).values()
    apart = [record for record in found if record.id.startswith("deferred-")]
    return [record for record in found if record not in apart], apart


def test_what_it_took_is_booked_once_by_whoever_first_sees_it_finished(path: Path) -> None:
    here = provider(path)
    here.ask(ANN, BEGUN, background=True)
    (begun,), apart = records(path)
    assert (begun.state, begun.counted, begun.input_tokens, apart) == (State.CLOSED, Counted.NOT, 0, [])
    fetch(here, answered(status="in_progress"))
    assert records(path)[1] == []
    for _ in range(3):
        assert went_on(fetch(here, DONE))
    (_,), (booked,) = records(path)
    assert (booked.counted, booked.state) == (Counted.REPORTED, State.CLOSED)
    assert (booked.input_tokens, booked.output_tokens, booked.model_served) == (12, 30, "gpt-5.1-2025-11-13")
    assert (booked.cost, booked.currency) == ("0.000312", "EUR")
    assert booked.principal == begun.principal
    assert "resp_1" not in booked.id


def test_a_stream_of_it_that_came_to_its_end_is_the_first(path: Path) -> None:
    here = provider(path)
    here.ask(ANN, stream(*talk("hel", "lo")[:-1], ENDED), background=True, stream=True)
    fetch(here, DONE)
    (begun,), (booked,) = records(path)
    assert (begun.input_tokens, booked.input_tokens) == (0, 12)
    assert booked.model_asked


def test_a_stream_of_it_that_broke_off_leaves_it_to_the_next(path: Path) -> None:
    here = provider(path)
    here.ask(ANN, stream(*talk("hel", "lo")[:4]), background=True, stream=True)
    (begun,), apart = records(path)
    assert (begun.counted, apart) == (Counted.NOT, [])
    fetch(here, stream(*talk("hel", "lo")[:-1], ENDED))
    assert [record.output_tokens for record in records(path)[1]] == [30]


def test_what_was_cancelled_took_something_too(path: Path) -> None:
    here = provider(path)
    here.ask(ANN, BEGUN, background=True)
    fetch(here, answered(status="cancelled", usage=USED, background=True), "POST", "/cancel")
    assert [record.output_tokens for record in records(path)[1]] == [30]


def test_an_answer_that_is_there_with_its_request_has_one_record_however_often_it_is_fetched(path: Path) -> None:
    here = provider(path)
    there = {**DONE, "background": False}
    here.ask(ANN, there)
    fetch(here, there)
    fetch(here, stream(*talk("hello")[:-1], event("response.completed", response=there)))
    (record,), apart = records(path)
    assert (record.input_tokens, apart) == (12, [])


def test_two_processes_with_one_ledger_book_it_once(path: Path) -> None:
    here = provider(path)
    here.ask(ANN, BEGUN, background=True)
    other = Provider(policy(), Binding(meter(path), timeout=PATIENCE), store=here.store)
    for each in (here, other, here):
        fetch(each, DONE)
    assert len(records(path)[1]) == 1


def test_in_shadow_it_is_booked_alike(path: Path) -> None:
    here = provider(path, enforce=False)
    here.ask(ANN, BEGUN, background=True)
    fetch(here, DONE)
    fetch(here, DONE)
    assert [record.input_tokens for record in records(path)[1]] == [12]


@given(st.lists(st.integers(0, 4000), max_size=6))
@settings(max_examples=20, deadline=None)
def test_however_what_is_fetched_is_cut_it_has_the_same_record(
    tmp_path_factory: pytest.TempPathFactory, where: Sequence[int]
) -> None:
    path = tmp_path_factory.mktemp("cut") / "usage.db"
    here = provider(path)
    here.ask(ANN, BEGUN, background=True)
    fetch(here, stream(*talk("hel", "lo")[:-1], ENDED), cut=lambda body: cut_at(body, where))
    assert [record.output_tokens for record in records(path)[1]] == [30]
