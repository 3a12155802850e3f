"""Policies in tests: opened before their exchanges, and closed behind them, as the server does."""

from __future__ import annotations

import pytest

from ext_proc.messages import ToolCall
from ext_proc.policy import Context, NoParameters, Policy
from ext_proc.testing import call, in_force, play


class Door(Policy[NoParameters, None]):
    """Counts calls while it is open."""

    def __init__(self) -> None:
        super().__init__("door", NoParameters())
        self.said: list[str] = []

    async def open(self) -> None:
        self.said.append("open")

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> None:
        self.said.append(message.name)

    async def close(self) -> None:
        self.said.append("close")


def test_a_policy_is_opened_and_closed_around_each_exchange() -> None:
    door = Door()
    for tool in ("a", "b"):
        play(door, call(tool))
    assert door.said == ["open", "a", "close", "open", "b", "close"]


def test_one_that_is_in_force_stays_open_over_several() -> None:
    door = Door()
    with in_force(door):
        for tool in ("a", "b"):
            play(door, call(tool))
    assert door.said == ["open", "a", "b", "close"]


def test_it_is_closed_whatever_happens() -> None:
    door = Door()
    with pytest.raises(ZeroDivisionError), in_force(door):
        raise ZeroDivisionError
    assert door.said == ["open", "close"]
    play(door, call("a"))
    assert door.said[2:] == ["open", "a", "close"]


def test_what_cannot_be_opened_is_told() -> None:
    class Broken(Door):
        async def open(self) -> None:
            raise ValueError("the disk is gone")

    with pytest.raises(ValueError, match="the disk is gone"):
        play(Broken(), call("a"))
