"""Requests to an agent and its answers, in both versions of A2A, and callers who make them of one policy.

Rules:
- Hooks are called by themselves, so that time, the store and who calls can be anything.

Not here: how bytes become these messages (tests/unit/codecs), any rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ext_proc.headers import Headers
from ext_proc.identity import Identity, from_claims
from ext_proc.messages import (
    A2aRequest,
    A2aResult,
    AgentCard,
    ExtendedCardRequest,
    MessageSend,
    PushConfigRequest,
    RequestHead,
    TaskListing,
    TaskPage,
    TaskRequest,
)
from ext_proc.messages.a2a import OPERATIONS_03
from ext_proc.policy import Context, Deny, Exchanged, Mutation, Verdict
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Store
from ext_proc.trail import Trail
from gatehouse_policies.agent_access import AgentAccess, Parameters
from gatehouse_policies.agent_tasks import Seen
from tests.policies.town import ANN, Interleaving

R = TypeVar("R", bound=A2aRequest)
NAMES_03 = {operation: name for name, operation in OPERATIONS_03.items()}
EVERYTHING = [{"methods": ["*"], "allow": True}]
DAY = 86400.0


def ask(kind: type[R], operation: str, version: str = "1.0", **params: Any) -> R:
    """A request as either version writes it."""
    method = operation if version == "1.0" else NAMES_03[operation]
    return kind({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def send(version: str = "1.0", *, stream: bool = False, configuration: Any = None, **message: Any) -> MessageSend:
    """A message to the agent, with these members."""
    parts = [{"text": "hello"}] if version == "1.0" else [{"kind": "text", "text": "hello"}]
    whole = {"messageId": "m", "role": "ROLE_USER" if version == "1.0" else "user", "parts": parts, **message}
    params = {"message": whole, **({} if configuration is None else {"configuration": configuration})}
    return ask(MessageSend, "SendStreamingMessage" if stream else "SendMessage", version, **params)


def on_task(operation: str, task: str, version: str = "1.0") -> A2aRequest:
    """A request about a task."""
    if operation in ("GetTask", "CancelTask", "SubscribeToTask"):
        return ask(TaskRequest, operation, version, id=task)
    if operation == "CreateTaskPushNotificationConfig":
        url = "https://hooks.example.com/a"
        if version == "1.0":
            return ask(PushConfigRequest, operation, taskId=task, url=url)
        return ask(PushConfigRequest, operation, version, taskId=task, pushNotificationConfig={"url": url})
    return ask(PushConfigRequest, operation, version, **{"taskId" if version == "1.0" else "id": task})


def on_list(**params: Any) -> TaskListing:
    return ask(TaskListing, "ListTasks", **params)


def task(id: str, context: str = "", version: str = "1.0", **members: Any) -> dict[str, Any]:
    found = {"id": id, "status": {"state": "TASK_STATE_WORKING" if version == "1.0" else "working"}, **members}
    if context:
        found["contextId"] = context
    return found if version == "1.0" else {"kind": "task", **found}


def answer(result: Any, request: A2aRequest | None = None) -> A2aResult:
    return A2aResult({"jsonrpc": "2.0", "id": 1, "result": result}, request=request)


def hands_out(id: str, context: str = "", version: str = "1.0") -> A2aResult:
    """The answer to a message: a task."""
    found = task(id, context, version)
    return answer({"task": found} if version == "1.0" else found)


def event(id: str, context: str = "", version: str = "1.0") -> A2aResult:
    """An event of a stream."""
    status = {"state": "TASK_STATE_WORKING" if version == "1.0" else "working"}
    found = {"taskId": id, "contextId": context, "status": status}
    return answer({"statusUpdate": found} if version == "1.0" else {"kind": "status-update", "final": False, **found})


def replies(context: str = "", version: str = "1.0") -> A2aResult:
    """The answer to a message: a message."""
    found = {"messageId": "r", "parts": [], "contextId": context}
    return answer({"message": found} if version == "1.0" else {"kind": "message", **found})


def page(*tasks: Mapping[str, Any], **members: Any) -> TaskPage:
    result = {"tasks": list(tasks), "totalSize": len(tasks), "pageSize": 50, "nextPageToken": "", **members}
    return TaskPage({"jsonrpc": "2.0", "id": 1, "result": result})


class Office:
    """One policy and its store, and time."""

    def __init__(self, store: Store | None = None, **parameters: Any) -> None:
        self.policy = AgentAccess("agents", Parameters.model_validate({"rules": EVERYTHING, **parameters}))
        self.now = 20_000 * DAY
        self.store = store or Interleaving(EmbeddedStore.in_memory(clock=lambda: self.now))

    def context(self, claims: Mapping[str, Any] | None = ANN, server: str = "travel") -> Context[Seen]:
        """One exchange."""
        identity = Identity() if claims is None else from_claims(claims)
        head = RequestHead("POST", "/a2a", "agents.example", Headers())
        exchanged = Exchanged(identity, "r", "a2a", head, Trail("t"), server, store=self.store, time=self.now)
        return Context(exchanged, self.policy.new_state(), "agents")

    def asks(self, message: A2aRequest, claims: Mapping[str, Any] | None = ANN, **exchange: Any) -> str:
        """Why a request is denied; "" if it is not."""
        return reason(asyncio.run(self.policy.on_request(message, self.context(claims, **exchange))))

    def answers(self, message: A2aResult | AgentCard, claims: Mapping[str, Any] | None = ANN, **exchange: Any) -> str:
        """Why an answer is withheld; "" if it is not."""
        return reason(asyncio.run(self.policy.on_response(message, self.context(claims, **exchange))))

    def lists(self, listed: TaskPage, claims: Mapping[str, Any] | None = ANN) -> list[str]:
        """The tasks of a page that are shown."""
        verdict = asyncio.run(self.policy.on_response(listed, self.context(claims)))
        if isinstance(verdict, Mutation):
            assert isinstance(verdict.message, TaskPage)
            listed = verdict.message
        assert not isinstance(verdict, Deny)
        return [found["id"] for found in listed.tasks]


def reason(verdict: Verdict) -> str:
    return verdict.reason if isinstance(verdict, Deny) else ""


def told(verdicts: Sequence[Verdict]) -> list[tuple[Any, ...]]:
    """What callers are told, without what only the record has."""
    return [(v.reason, v.message, v.status, v.code, v.data) for v in verdicts if isinstance(v, Deny)]


def extended_card_request() -> ExtendedCardRequest:
    return ask(ExtendedCardRequest, "GetExtendedAgentCard")
