"""What policies keep beyond an exchange, as `play` shows it to whoever writes one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ext_proc.messages import ToolCall
from ext_proc.policy import Context, Count, Deny, Key, NoParameters, Policy, Verdict
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import NO_STORE
from ext_proc.testing import Played, call, play

DOCUMENT = Path(__file__).parents[2] / "docs" / "policies.md"


class Once(Policy[NoParameters, None]):
    """Lets each tool be called once in an hour."""

    keeps_state = True

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        counted = await ctx.store.count([Count(Key("calls", message.name), 1, 3600.0, limit=1)])
        return None if counted.passed is None else Deny(reason="called-already", message="called already")


class OnceTogether(Once):
    """Counts together with others of its kind."""

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        counted = await ctx.shared("calls").count([Count(Key("calls", message.name), 1, 3600.0, limit=1)])
        return None if counted.passed is None else Deny(reason="called-already", message="called already")


class Undeclared(Once):
    """Does not say that it keeps state."""

    keeps_state = False


def allowed(played: Played) -> bool:
    return played.upstream is not None


def test_exchanges_that_share_a_store_know_of_each_other() -> None:
    policy = Once("once", NoParameters())
    with EmbeddedStore.in_memory() as store:
        assert allowed(play(policy, call("search"), store=store))
        assert not allowed(play(policy, call("search"), store=store))
        assert allowed(play(policy, call("read"), store=store))


def test_an_exchange_has_a_store_of_its_own_unless_it_shares_one() -> None:
    policy = Once("once", NoParameters())
    assert [allowed(play(policy, call("search"))) for _ in range(2)] == [True, True]


def test_a_policy_is_known_to_the_store_by_its_name_in_the_bundle() -> None:
    with EmbeddedStore.in_memory() as store:
        for name, expected in (("once", True), ("other", True), ("once", False), ("other", False)):
            assert allowed(play(Once(name, NoParameters()), call("search"), store=store)) is expected


def test_policies_that_agree_on_a_space_count_together() -> None:
    with EmbeddedStore.in_memory() as store:
        assert allowed(play(OnceTogether("once", NoParameters()), call("search"), store=store))
        assert not allowed(play(OnceTogether("other", NoParameters()), call("search"), store=store))
        assert allowed(play(Once("calls", NoParameters()), call("search"), store=store))


def test_the_policy_in_the_document_counts_for_each_caller() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = [found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "CallsPerHour" in found]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "docs/policies.md", "exec"), names)
    policy = names["CallsPerHour"]("calls", names["Parameters"](calls_per_hour=2))
    with EmbeddedStore.in_memory() as store:
        callers = ["ann", "bob", "ann", "ann", "bob"]
        played = [play(policy, call("search"), claims={"iss": "i", "sub": name}, store=store) for name in callers]
    assert [allowed(one) for one in played] == [True, True, True, False, True]
    assert played[3].client is not None
    assert played[3].client.status == 429


def test_a_policy_whose_store_fails_denies() -> None:
    assert not allowed(play(Once("once", NoParameters()), call("search"), store=NO_STORE))


def test_a_policy_that_does_not_declare_that_it_keeps_state_has_no_store_here_as_in_the_service() -> None:
    played = play(Undeclared("once", NoParameters()), call("search"))
    assert not allowed(played)
    assert [entry.reason for entry in played.trail.entries if entry.policy == "once"] == ["raised StoreError"]
