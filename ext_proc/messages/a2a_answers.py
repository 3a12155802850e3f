"""What an agent answers: the Agent2Agent protocol's answers, of versions 0.3 and 1.0, and an agent's card.

Rules:
- A class says what its JSON was checked to be: its properties do not fail (codecs/a2a_messages.py checks).
- A result is read by its shape: 1.0 wraps tasks, messages and events into an object of one member, 0.3 names them by
  `kind`. One with both shapes is none of these classes.

Not here: requests (a2a.py), how bytes become messages (codecs/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias

from ext_proc.messages.a2a import (
    A2aMessage,
    A2aRequest,
    MessageSend,
    TaskRequest,
    mapping_of,
    text_of,
)
from ext_proc.messages.base import Message
from ext_proc.messages.channel import ChannelKind
from ext_proc.trail import Outcome

TaskIds: TypeAlias = tuple[str, str]  # a task's id and its context's; "" for one that is not named

_WORK = frozenset({"SendMessage", "SendStreamingMessage", "SubscribeToTask"})
# The members of 1.0's SendMessageResponse and StreamResponse; in 0.3 the object itself is the result.
WRAPPERS = ("task", "message", "statusUpdate", "artifactUpdate")
# Task states: 1.0's names and their numbers, which ProtoJSON allows, and 0.3's names.
FAILED_STATES: frozenset[str | int] = frozenset(
    {"TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED", 4, 5, 7, "failed", "canceled", "rejected"}
)
# Where an agent goes no further by itself: the work is over, or it waits for its caller.
RESTING_STATES: frozenset[str | int] = FAILED_STATES | {
    *("TASK_STATE_COMPLETED", "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED"),
    *(3, 6, 8),
    *("completed", "input-required", "auth-required"),
}


class A2aAnswer(A2aMessage):
    """A result or an error.

    Attributes:
        request: what it answers; None where no request is known (Envoy's own replies).
    """

    __slots__ = ("request",)

    def __init__(self, value: Mapping[str, Any], raw: bytes | None = None, request: A2aRequest | None = None) -> None:
        super().__init__(value, raw)
        self.request = request

    @property
    def id(self) -> str | int | None:
        return self.value.get("id")

    @property
    def method(self) -> str:
        return "" if self.request is None else self.request.method

    @property
    def target(self) -> str:
        return "" if self.request is None else self.request.target

    @property
    def is_last(self) -> bool:
        """Whether the client need not wait for another answer: always, but on a stream."""
        return True


class A2aError(A2aAnswer):
    """A JSON-RPC error."""

    __slots__ = ()
    kind = "a2a_error"

    @property
    def code(self) -> int:
        return int(self.value["error"]["code"])

    @property
    def outcome(self) -> Outcome:
        return Outcome.PROTOCOL_ERROR


class A2aResult(A2aAnswer):
    """A JSON-RPC result: a task, a message, an event of a stream, a push notification configuration."""

    __slots__ = ()
    kind = "a2a_result"
    texts = frozenset({ChannelKind.CONTENT, ChannelKind.NAME})

    @property
    def result(self) -> Any:
        """An object; a list for 0.3's list of configurations, None for a deletion."""
        return self.value.get("result")

    @property
    def payload(self) -> Mapping[str, Any]:
        """The task, message or event itself, out of 1.0's wrapper; {} for an answer to anything that gives none."""
        if not isinstance(self.request, MessageSend | TaskRequest | None):
            return {}
        result: Mapping[str, Any] = self.result
        return next((result[name] for name in WRAPPERS if result.get(name) is not None), result)

    @property
    def handed_out(self) -> Sequence[TaskIds]:
        """The tasks and contexts that the agent names to its caller: of the task, message or event, or of each task of
        a page. Not those that are only mentioned within (a task's history, what a message refers to)."""
        # A task has an `id`, messages and events about one a `taskId`; the codec admits one of them.
        ids = (text_of(self.payload, "taskId") or text_of(self.payload, "id"), text_of(self.payload, "contextId"))
        return (ids,) if any(ids) else ()

    @property
    def state(self) -> str | int | None:
        """The task's state, as it was written: a name, or in ProtoJSON perhaps its number; None where there is none."""
        state: str | int | None = mapping_of(self.payload, "status").get("state")
        return state

    @property
    def is_last(self) -> bool:
        if self.request is None or not self.request.is_streamed:
            return True
        payload = self.payload
        # A message is all that such a stream holds (1.0, section 3.1.2); `final` is 0.3's.
        return self.state in RESTING_STATES or payload.get("final") is True or "parts" in payload

    @property
    def outcome(self) -> Outcome:
        """TOOL_ERROR where the work that was asked for failed, or was rejected or canceled; what is only told of a task
        that was asked for earlier is OK."""
        wanted = self.request is not None and self.request.operation in _WORK
        return Outcome.TOOL_ERROR if wanted and self.state in FAILED_STATES else Outcome.OK

    def with_result(self, result: Any) -> Self:
        """The same answer with another result."""
        return type(self)({**self.value, "result": result}, request=self.request)


class TaskPage(A2aResult):
    """One page of ListTasks."""

    __slots__ = ()
    kind = "task_page"

    @property
    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """The tasks, as the agent gave them."""
        return self.result.get("tasks") or ()

    @property
    def handed_out(self) -> Sequence[TaskIds]:
        return tuple((text_of(task, "id"), text_of(task, "contextId")) for task in self.tasks)

    def keep(self, wanted: Callable[[Mapping[str, Any]], bool]) -> Self:
        """This page with only the tasks that `wanted` says yes to; itself where that is all of them.

        `totalSize` is lowered by what is left out here: what is left out of other pages nobody has seen yet.
        """
        kept = [task for task in self.tasks if wanted(task)]
        hidden = len(self.tasks) - len(kept)
        if not hidden:
            return self
        result = {**self.result, "tasks": kept}
        total = result.get("totalSize")
        if type(total) is int:
            result["totalSize"] = max(total - hidden, len(kept))
        return self.with_result(result)


class ExtendedCard(A2aResult):
    """The answer to an `ExtendedCardRequest`."""

    __slots__ = ()
    kind = "extended_card"
    texts = frozenset()

    @property
    def signatures(self) -> Sequence[Mapping[str, Any]]:
        """See `AgentCard.signatures`; the signed value is `result`."""
        return tuple(self.result.get("signatures") or ())


class AgentCard(Message):
    """An agent's public card: plain JSON, not JSON-RPC.

    Attributes:
        value: the card; not to be changed. A change breaks its signatures (JWS over its canonical form, RFC 8785).
    """

    __slots__ = ("value",)
    kind = "agent_card"

    def __init__(self, value: Mapping[str, Any], raw: bytes) -> None:
        super().__init__(raw)
        self.value = value

    @property
    def method(self) -> str:
        return "GET"

    @property
    def signatures(self) -> Sequence[Mapping[str, Any]]:
        """JSON Web Signatures over the card without this member: `protected`, `signature`, perhaps `header`."""
        return tuple(self.value.get("signatures") or ())
