"""When the breaker lets through, and when not."""

from __future__ import annotations

import pytest

from ext_proc.stores.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 5.0, clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admits()
        breaker.failed()


def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.admits()
    breaker.failed()
    assert not breaker.admits()


def test_a_success_in_between_starts_the_row_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.admits()


def test_after_the_pause_one_attempt_goes_through_and_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 4.9
    assert not breaker.admits()
    clock.now += 0.1
    assert breaker.admits()
    assert not breaker.admits()
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True] * 3


def test_an_attempt_that_fails_opens_it_for_another_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5.0
    fail(breaker, 1)
    clock.now += 4.9
    assert not breaker.admits()
    clock.now += 0.2
    assert breaker.admits()


def test_an_attempt_that_was_given_up_makes_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5.0
    assert breaker.admits()
    breaker.learnt_nothing()
    assert breaker.admits()


def test_what_was_let_through_before_it_opened_may_fail_later(breaker: Breaker, clock: Clock) -> None:
    assert [breaker.admits() for _ in range(10)] == [True] * 10
    for _ in range(9):
        breaker.failed()
    assert not breaker.admits()
    breaker.succeeded()
    assert breaker.admits()
