"""Tasks and contexts of A2A: whose they are, and what everybody else is told of them.

Rules:
- A task's id opens the operations on it, and messages into it or referring to it, to the principals that an agent named
  it to, in an answer to what they asked; at the server that it was named by. For anybody else it is as unknown as one
  that never was: -32001, task not found, before the agent hears of it.
- A context is one principal's: the first that sends a message with an id of its own making, or that an agent names it
  to. A message into another's is answered in the same way; an answer that names another's is withheld.
- A list of tasks gives nobody a task: it holds the principal's own, and asking for another's context finds none.
- The server is the route's `server`, or else the route: routes that lead to one agent should name it alike. Where one
  server has agents of several tenants (1.0), each has tasks and contexts of its own: two may use the same ids.
- The principal is the subject with its issuer, whoever acts for it. All callers that nobody vouches for are one.
- Kept are digests, while they are in use and for `expires` after it; what one principal may have is bounded.

Not here: which operations a principal may use at all (agent_rules.py), sessions and tasks of MCP (session_binding.py).
What the agent itself mixes up between tasks: of a task's history nothing is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from ext_proc.messages import A2aRequest, A2aResult, MessageSend, PushConfigRequest, TaskListing, TaskPage, TaskRequest
from ext_proc.messages.a2a import mapping_of, text_of
from ext_proc.policy import Context, Deny, Key, Mutation, Period, Verdict
from gatehouse_policies.caller_quota import Quota, digest, principal
from gatehouse_policies.owned_ids import Bound, claim, keep, prolong, those_kept

_TASK_NOT_FOUND = -32001
INVALID_AGENT_RESPONSE = -32006
_INVALID_PARAMS = -32602
_MOST_TASKS = 1024  # in one page, and referred to by one message
_MOST_SEEN = 256  # ids that one exchange remembers

# One answer for all, whatever the reason: what is another's is as unknown as what never was.
_NO_TASK = Deny("task-unknown", "Task not found", code=_TASK_NOT_FOUND)
_TOO_MANY_REFERENCES = Deny("references-too-many", "this message refers to too many tasks", code=_INVALID_PARAMS)
_TOO_MANY_LISTED = Deny(
    "tasks-too-many", "the agent lists more tasks than the gateway reads", code=INVALID_AGENT_RESPONSE
)
_TAKEN = Deny("context-taken", "the agent named a context that is in use", code=INVALID_AGENT_RESPONSE)
_TOO_MUCH = Deny("handed-out-too-many", "this caller was handed out too many tasks or contexts here")
_STRANGER = Deny("caller-unknown", "this is for callers that are known")


class Tasks(BaseModel, extra="forbid"):
    """Whose tasks and contexts are."""

    expires: Period = Field(
        default=7 * 86400.0, description="How long a task or a context that is not used stays its principal's."
    )
    handed_out_per_caller: int = Field(
        default=5000, ge=1, description="The most tasks, and the most contexts, that one principal gets in `expires`."
    )
    new_contexts: Literal["claim", "deny"] = Field(
        default="claim",
        description="A message with a context id that the gateway does not know: `claim` it for the first principal "
        "that uses it, as clients may make up ids; or `deny` it, so that only agents make them.",
    )
    anonymous: Literal["allow", "deny"] = Field(
        default="allow",
        description="Whether callers that nobody vouches for may send messages and have tasks, which any of them can "
        "then use.",
    )


class Seen:
    """What one exchange knows to be its principal's, so that a stream's events ask nothing twice.

    Attributes:
        tenant: whose agent is asked; all that is named is its own.
    """

    __slots__ = ("contexts", "tasks", "tenant")

    def __init__(self) -> None:
        self.tenant = ""
        self.tasks: set[str] = set()
        self.contexts: set[str] = set()


class TaskOwnership:
    """Whose tasks and contexts are, by what is kept in the policy's store. Its methods raise StoreError."""

    def __init__(self, parameters: Tasks) -> None:
        self._anonymous = parameters.anonymous == "allow"
        self._claims = parameters.new_contexts == "claim"
        self._tasks = Quota("tasks", parameters.expires, parameters.handed_out_per_caller)
        self._contexts = Quota("contexts", parameters.expires, parameters.handed_out_per_caller)

    async def refuses(self, message: A2aRequest, ctx: Context[Seen]) -> Deny | None:
        """Why a request is not about its caller's own, or None; a context of its own making becomes its own."""
        ctx.state.tenant = message.tenant
        stranger = self._is_stranger(ctx)
        if isinstance(message, TaskRequest | PushConfigRequest):
            own = not stranger and await self._is_own_task(message.task_id, ctx)
            return None if own else _NO_TASK
        if isinstance(message, TaskListing):
            context = message.context_id
            found = not context or (not stranger and await self._is_own_context(context, ctx))
            return None if found else _NO_TASK
        if not isinstance(message, MessageSend):
            return None
        if stranger:
            return _STRANGER
        referred = {*message.reference_task_ids, *_notified_of(message)}
        if len(referred) > _MOST_TASKS:
            return _TOO_MANY_REFERENCES
        if referred - await self._own(list(referred), ctx):
            return _NO_TASK
        if message.task_id and not await self._is_own_task(message.task_id, ctx):
            return _NO_TASK
        return await self._enters(message.context_id, ctx) if message.context_id else None

    async def keep(self, answer: A2aResult, ctx: Context[Seen]) -> Deny | None:
        """Binds what an answer names to its caller; why it may not be, or None."""
        seen = ctx.state
        seen.tenant = _tenant_of(answer)
        for task, context in answer.handed_out:
            if context and context not in seen.contexts:
                denial = _STRANGER if self._is_stranger(ctx) else await self._named(context, ctx)
                if denial is not None:
                    return denial
            if task and task not in seen.tasks:
                if self._is_stranger(ctx):
                    return _STRANGER
                if not await keep({_task_key(task, ctx): self._tasks}, "", ctx):
                    return _TOO_MUCH
                _remember(task, seen.tasks)
        return None

    async def own_page(self, page: TaskPage, ctx: Context[Seen]) -> Verdict:
        """A page with the principal's own tasks."""
        if len(page.tasks) > _MOST_TASKS:
            return _TOO_MANY_LISTED
        own = frozenset[str]()
        ctx.state.tenant = _tenant_of(page)
        if not self._is_stranger(ctx):
            own = await self._own([text_of(task, "id") for task in page.tasks], ctx)
        kept = page.keep(lambda task: text_of(task, "id") in own)
        if kept is page:
            return None
        ctx.because(f"hid {len(page.tasks) - len(kept.tasks)} of {len(page.tasks)} tasks")
        return Mutation(message=kept)

    def _is_stranger(self, ctx: Context[Seen]) -> bool:
        return not (self._anonymous or ctx.identity.verified)

    async def _own(self, tasks: Sequence[str], ctx: Context[Seen]) -> frozenset[str]:
        return await those_kept({task: _task_key(task, ctx) for task in tasks}, ctx)

    async def _is_own_task(self, task: str, ctx: Context[Seen]) -> bool:
        """Whether a task is the principal's; if so it is in use."""
        key = _task_key(task, ctx)
        entry = await ctx.store.get(key)
        if entry is None:
            return False
        await prolong(key, entry, self._tasks, ctx)
        _remember(task, ctx.state.tasks)
        return True

    async def _is_own_context(self, context: str, ctx: Context[Seen]) -> bool | None:
        """Whether a context is the principal's; if so it is in use. None where it is nobody's."""
        key = _context_key(context, ctx)
        entry = await ctx.store.get(key)
        if entry is None:
            return None
        if Bound.read(entry).principal != principal(ctx):
            ctx.measure("context_of_another", True)  # for the record: the caller is not told
            return False
        await prolong(key, entry, self._contexts, ctx)
        _remember(context, ctx.state.contexts)
        return True

    async def _enters(self, context: str, ctx: Context[Seen]) -> Deny | None:
        """Why a message may not go into a context, or None."""
        own = await self._is_own_context(context, ctx)
        if own is None and self._claims:
            own = await claim(_context_key(context, ctx), "", self._contexts, ctx)
            if own is None:
                return _TOO_MUCH
        return None if own else _NO_TASK

    async def _named(self, context: str, ctx: Context[Seen]) -> Deny | None:
        """Why an answer may not name a context, or None."""
        own = await self._is_own_context(context, ctx)
        if own is None:
            own = await claim(_context_key(context, ctx), "", self._contexts, ctx)
        if own:
            _remember(context, ctx.state.contexts)
            return None
        return _TOO_MUCH if own is None else _TAKEN


def _notified_of(message: MessageSend) -> Sequence[str]:
    """The task that the configuration in a message names, as 1.0's object can: not all agents put the message's own
    in its place."""
    configuration = mapping_of(message.params, "configuration")
    task = text_of(mapping_of(configuration, "taskPushNotificationConfig"), "taskId")
    return [task] if task else []


def _tenant_of(answer: A2aResult) -> str:
    return "" if answer.request is None else answer.request.tenant


def _remember(id: str, seen: set[str]) -> None:
    if len(seen) < _MOST_SEEN:
        seen.add(id)


def _task_key(task: str, ctx: Context[Seen]) -> Key:
    """Where a task is kept; all of one principal's together, for pages."""
    return Key(principal(ctx), digest("task", ctx.server, ctx.state.tenant, task))


def _context_key(context: str, ctx: Context[Seen]) -> Key:
    return Key(digest("context", ctx.server, ctx.state.tenant, context), "principal")
