"""What a client asks of an agent: the requests of the Agent2Agent protocol, 0.3 and 1.0, in its JSON-RPC binding.

Rules:
- A class says what its JSON was checked to be: its properties do not fail (codecs/a2a_messages.py checks).
- A class stands for one thing that is asked, whichever version asks it: `operation` has 1.0's name for it.
- The method alone says which version a request is of. Where the two versions have other members, a property finds what
  either has; a message that could be read in both ways is none of these classes.
- "" is no id: a member that is absent, null or empty (ProtoJSON makes no difference).

Not here: answers (a2a_answers.py), how bytes become messages (codecs/), the REST and gRPC bindings, which nobody reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

from ext_proc.messages.base import Message
from ext_proc.messages.channel import ChannelKind
from ext_proc.messages.jsonrpc import JsonRpcMessage

A2aVersion: TypeAlias = Literal["0.3", "1.0"]

# What 0.3's methods are called in 1.0 (1.0, section 5.3: method mapping).
OPERATIONS_03: Mapping[str, str] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}
OPERATIONS = frozenset({*OPERATIONS_03.values(), "ListTasks"})
_STREAMED = frozenset({"SendStreamingMessage", "SubscribeToTask"})


@dataclass(frozen=True, slots=True)
class PushConfig:
    """Where an agent is to send what happens to a task, and how it shows who it is.

    Attributes:
        url: as it was written.
        token: what the agent is to send along; "" for none. A secret.
        authentication: how the agent is to authenticate itself, as it was written: 1.0 has `scheme`, 0.3 has
            `schemes`, both have `credentials`; {} for none. Secrets.
        id: the configuration's own id; "" for none.
    """

    url: str
    token: str = field(default="", repr=False)
    authentication: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""


class A2aMessage(JsonRpcMessage):
    """A message of the Agent2Agent protocol, in either direction."""

    __slots__ = ()
    kind = "a2a"


class A2aRequest(A2aMessage):
    """A call; one of this class itself has a method that neither version knows."""

    __slots__ = ()
    kind = "a2a_request"

    @property
    def id(self) -> str | int:
        """The request's id: text or an integer."""
        return self.value["id"]  # type: ignore[no-any-return]  # the codec admits nothing else

    @property
    def method(self) -> str:
        return str(self.value["method"])

    @property
    def operation(self) -> str:
        """1.0's name of the method, whichever version it is of; "" where neither has it."""
        method = self.method
        return method if method in OPERATIONS else OPERATIONS_03.get(method, "")

    @property
    def version(self) -> A2aVersion:
        """The version that has the method. Of unknown ones those with a slash are 0.3's, whose methods all have one."""
        return "0.3" if "/" in self.method else "1.0"

    @property
    def params(self) -> Mapping[str, Any]:
        """`params`; {} where absent or null."""
        return mapping_of(self.value, "params")

    @property
    def tenant(self) -> str:
        """Whose agent is meant, where one server has agents of several (1.0); "" for none."""
        return text_of(self.params, "tenant")

    @property
    def task_id(self) -> str:
        """The task that it is about; "" for none."""
        return ""

    @property
    def context_id(self) -> str:
        """The context that it is about; "" for none, or where only the task says."""
        return ""

    @property
    def target(self) -> str:
        return self.task_id

    @property
    def is_streamed(self) -> bool:
        """Whether its answers come one by one, as server-sent events."""
        return self.operation in _STREAMED

    def as_variables(self) -> dict[str, Any]:
        told = {"operation": self.operation, "version": self.version, "context": self.context_id, "tenant": self.tenant}
        return {**super().as_variables(), **told}

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """The same request with other params."""
        return type(self)({**self.value, "params": params})


class MessageSend(A2aRequest):
    """SendMessage and SendStreamingMessage (0.3: message/send, message/stream): a message to the agent."""

    __slots__ = ()
    kind = "message_send"
    texts = frozenset({ChannelKind.CONTENT, ChannelKind.NAME})

    @property
    def message(self) -> Mapping[str, Any]:
        """The message, as the client wrote it."""
        return mapping_of(self.params, "message")

    @property
    def task_id(self) -> str:
        return text_of(self.message, "taskId")

    @property
    def context_id(self) -> str:
        return text_of(self.message, "contextId")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The request's own metadata; the message's are in `message`."""
        return mapping_of(self.params, "metadata")

    @property
    def reference_task_ids(self) -> Sequence[str]:
        """Other tasks that the agent is to look at."""
        return tuple(self.message.get("referenceTaskIds") or ())

    @property
    def push_config(self) -> PushConfig | None:
        """Where the caller wants to be told of the task."""
        configuration = mapping_of(self.params, "configuration")
        # 1.0's name, then 0.3's; the codec admits one of them.
        found = mapping_of(configuration, "taskPushNotificationConfig") or mapping_of(
            configuration, "pushNotificationConfig"
        )
        return _push_config(found) if found else None


class TaskRequest(A2aRequest):
    """GetTask, CancelTask, SubscribeToTask (0.3: tasks/get, tasks/cancel, tasks/resubscribe)."""

    __slots__ = ()
    kind = "task_request"

    @property
    def task_id(self) -> str:
        return text_of(self.params, "id")


class TaskListing(A2aRequest):
    """ListTasks, which 0.3 has not."""

    __slots__ = ()
    kind = "task_listing"

    @property
    def context_id(self) -> str:
        """The context whose tasks are wanted; "" for all."""
        return text_of(self.params, "contextId")


class PushConfigRequest(A2aRequest):
    """Create, get, list or delete a task's push notification configurations (0.3: tasks/pushNotificationConfig/...)."""

    __slots__ = ()
    kind = "push_config_request"

    @property
    def task_id(self) -> str:
        # 0.3 calls the task `id` in all but `set` (0.3, sections 7.5 to 7.8).
        by_id = self.version == "0.3" and not self.method.endswith("/set")
        return text_of(self.params, "id" if by_id else "taskId")

    @property
    def config_id(self) -> str:
        """The configuration that is meant, or made; "" where the agent chooses."""
        if self.version == "1.0":
            return text_of(self.params, "id")
        config = self.push_config
        return text_of(self.params, "pushNotificationConfigId") if config is None else config.id

    @property
    def push_config(self) -> PushConfig | None:
        """What is to be created; None for the other operations."""
        if self.operation != "CreateTaskPushNotificationConfig":
            return None
        return _push_config(mapping_of(self.params, "pushNotificationConfig") or self.params)


class ExtendedCardRequest(A2aRequest):
    """GetExtendedAgentCard (0.3: agent/getAuthenticatedExtendedCard)."""

    __slots__ = ()
    kind = "extended_card_request"


class CardFetch(Message):
    """GET of an agent's public card: /.well-known/agent-card.json, or 0.3's older /.well-known/agent.json."""

    __slots__ = ()
    kind = "card_fetch"

    @property
    def method(self) -> str:
        return "GET"


def mapping_of(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is an object; {} where there is none."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def text_of(value: Mapping[str, Any], name: str) -> str:
    """A member that is a string; "" where there is none."""
    return value.get(name) or ""


def _push_config(value: Mapping[str, Any]) -> PushConfig:
    return PushConfig(
        url=text_of(value, "url"),
        token=text_of(value, "token"),
        authentication=mapping_of(value, "authentication"),
        id=text_of(value, "id"),
    )
