"""The last figures of a policy: told when all has come, to Envoy and the record, in nobody's way where they fail."""

from __future__ import annotations

import pytest

from ext_proc.messages import Completion
from ext_proc.policy import Context, NoParameters, Policy
from ext_proc.testing import Played
from ext_proc.trail import Outcome
from tests.policies.chats import chat
from tests.unit.codecs.openai_building import asking, chunk, says, stream

BODY = stream(says("one"), says("two"), chunk(finish="stop"))


class Counting(Policy[NoParameters, list[int]]):
    """Counts messages, and says how many when it is asked for its figures."""

    def __init__(self) -> None:
        super().__init__("counting", NoParameters())
        self.outcomes: list[Outcome] = []
        self.completed: list[object] = []

    def new_state(self) -> list[int]:
        return [0]

    def on_response(self, message: Completion, ctx: Context[list[int]]) -> None:
        ctx.state[0] += 1

    def settle(self, ctx: Context[list[int]]) -> None:
        self.outcomes.append(ctx.outcome)
        ctx.measure("messages", ctx.state[0])

    def on_complete(self, ctx: Context[list[int]]) -> None:
        self.completed.append(ctx.variables()["route"])


class Failing(Counting):
    """Has no figures."""

    def settle(self, ctx: Context[list[int]]) -> None:
        raise ValueError("secret payload")


def played(policy: Counting, body: bytes = BODY) -> Played:
    return chat(policy, sent=asking(stream=True), answer=body)


def test_the_last_figures_are_what_envoy_and_the_record_are_told() -> None:
    policy = Counting()
    found = played(policy)
    assert (found.metadata["messages"], found.trail.facts["messages"]) == (3, 3)
    assert policy.outcomes[-1] is Outcome.OK
    assert policy.completed == ["models"]


def test_of_an_exchange_that_was_cut_off_what_came_until_then_is_on_record() -> None:
    policy = Counting()
    found = played(policy, BODY[: BODY.index(b"two")])
    assert found.trail.facts["messages"] == 1
    assert policy.outcomes[-1] is found.trail.outcome is Outcome.TRUNCATED


def test_a_policy_that_saw_nothing_of_an_exchange_is_not_asked() -> None:
    policy = Counting()
    found = chat(policy, answer={"error": {"message": "no"}}, status=500)
    assert policy.outcomes == []
    assert "messages" not in found.trail.facts


def test_figures_that_fail_are_noted_and_change_nothing_else() -> None:
    found = played(Failing())
    assert found.client is not None
    assert found.client.body == BODY
    assert found.trail.notes == ["the figures of counting failed: ValueError"]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_they_are_the_same_however_the_answer_is_cut(cut: int) -> None:
    found = chat(
        Counting(),
        sent=asking(stream=True),
        answer=BODY,
        cut=lambda body: [body[at : at + cut] for at in range(0, len(body), cut)],
    )
    assert (found.metadata["messages"], found.trail.facts["messages"]) == (3, 3)
