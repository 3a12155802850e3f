"""session-binding: what a server hands out is used by the principal that got it: sessions, request states, tasks, and
what a model's provider keeps.

Rules:
- The session id of an answer (`Mcp-Session-Id`) is bound to the principal before the answer leaves. Another principal's
  request with it (POST, GET or DELETE), and one with an id that nobody has, are answered alike: 404, session not found.
  Neither reaches the upstream, and neither tells whether there is such a session.
- A session is one principal's: an answer that hands out an id that another has is refused. DELETE frees it, once the
  upstream has accepted. What was adopted and the upstream then refused (4xx), or never saw, is free again.
- The rest of a broken stream (GET with `Last-Event-ID`) is of a session, too: without its id it is unknown.
- A `requestState` (2026-07-28) goes through byte for byte. It is taken back only from a principal that got it, for the
  server, the method, and the tool, prompt or resource that it was given for; otherwise it is answered with -32602, as
  by a server that does not know it. While it is kept it can be used again: only its server can tell whether it may.
- A task's id opens `tasks/get`, `tasks/result`, `tasks/cancel` and `tasks/update` to the principals that got it, at the
  server that they got it from; otherwise -32602, task not found. A principal sees its own tasks in `tasks/list`, and
  subscribes to its own in `subscriptions/listen`.
- What a model's provider keeps (OpenAI's responses, their items, conversations and speech, Anthropic's threads, both's
  containers) is bound before the answer or the event that names it leaves. A request that refers to another's, or to
  what nobody has, is answered as by a provider that has no such thing (400 for a response, 404 for all else), and does
  not reach it. An answer that is not kept (`store: false`) takes no place, and an item of the input that says what it
  was refers to nothing. To fetch, cancel or delete a response or a conversation is to refer to it. Gemini's caches are
  made on paths that are opaque: nobody has them (`stored.unknown`).
- The server is the route's `server`, or else the route: routes that lead to one server should name it alike.
- The principal is the subject with its issuer, whoever acts for it. All callers that nobody vouches for are one
  principal, for they cannot be told apart; `anonymous: deny` hands them nothing.
- With `affinity` every request has the fact `affinity` (header `x-gatehouse-affinity`), for a cluster that hashes it.
  With `session`, what is bound remembers where it came from: the first request without an id draws a value, and each
  that brings back an id of its answer has the same.
- Kept are digests. What one principal gets and adopts is bounded: an answer that hands out more is refused.

Not here: what a state or a task may do, sessions that end at the server by themselves, how stored objects are looked up
(stored_objects.py), tasks of A2A (agent_tasks.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from ext_proc.messages import (
    Completion,
    ConversationStart,
    ConversationStarted,
    McpRequest,
    McpResult,
    ModelRequest,
    StoredRequest,
)
from ext_proc.policy import Context, Deny, Key, Mutation, Period, Policy, Verdict, Write
from gatehouse_policies.caller_quota import Quota, digest, principal
from gatehouse_policies.mcp_headers import speaks_modern
from gatehouse_policies.owned_ids import Bound, claim, keep, prolong, those_kept
from gatehouse_policies.stored_objects import Seen, Stored, StoredOwnership

SESSION = "mcp-session-id"
# MCP, transports: session management. An empty one is none to some servers and one to others.
_SESSION_ID = re.compile(rb"[\x21-\x7e]+")
_INVALID_REQUEST = -32600
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602
_MOST_TASKS = 1024  # in one list
_ATTEMPTS = 3  # to delete what another writes at the same time

# One answer for each, whatever the reason: what is another's is as unknown as what never was.
_NO_SESSION = Deny("session-unknown", "session not found", status=404, code=_INVALID_REQUEST)
_NO_STATE = Deny("state-unknown", "this requestState is invalid or has expired", code=_INVALID_PARAMS)
_NO_TASK = Deny("task-unknown", "task not found", code=_INVALID_PARAMS)
# The tasks extension of 2026-07-28 has no such method (SEP-2663), so there a server's answer is another.
_NO_METHOD = Deny("task-unknown", "method not found", code=_METHOD_NOT_FOUND)
_TOO_MANY_SESSIONS = Deny("sessions-too-many", "this caller has too many sessions here: end some", status=429)
_TOO_MUCH = Deny("handed-out-too-many", "this caller was handed out too many states or tasks here")
_STRANGER = Deny("caller-unknown", "this is for callers that are known")


class Parameters(BaseModel, extra="forbid"):
    """How long what was handed out is kept, and who may have it."""

    expires: Period = Field(
        default=24 * 3600.0, description="How long a session or a task that is not used stays its principal's."
    )
    state_expires: Period = Field(
        default=3600.0, description="How long a `requestState` may be answered, e.g. by a person who is asked."
    )
    unknown: Literal["deny", "adopt", "allow"] = Field(
        default="deny",
        description="A session id that is bound to nobody, as those from before this policy are: `deny` it, and "
        "clients start anew; `adopt` it for the first principal that uses it; or `allow` it, for anybody.",
    )
    resume_without_session: Literal["deny", "allow"] = Field(
        default="deny",
        description="A `GET` for the rest of a stream (`Last-Event-ID`) without a session: nothing tells whose it is.",
    )
    sessions_per_caller: int = Field(
        default=1000,
        ge=1,
        description="The most sessions that one principal gets or goes on with within `expires`, without what it ends.",
    )
    handed_out_per_caller: int = Field(
        default=5000,
        ge=1,
        description="The most `requestState`s that one principal gets within `state_expires`, and tasks in `expires`.",
    )
    anonymous: Literal["allow", "deny"] = Field(
        default="allow",
        description="Whether callers that nobody vouches for may have sessions, states, tasks and stored objects, "
        "which any of them can then use.",
    )
    affinity: Literal["off", "session", "principal"] = Field(
        default="off",
        description="What the fact `affinity` is made of: the session (or task, state, stored object), or the "
        "principal.",
    )
    stored: Stored = Field(
        default=Stored(),
        description="What models' providers keep: responses, items, conversations, threads, containers, speech.",
    )


class State(Seen):
    """What is known of one exchange.

    Attributes:
        session: the digest of the id that the request came with, if it may use it; "" for none.
        adopted: when this request bound it, in seconds since the Unix epoch; None if it did not.
        targets: what was asked for, by the request's id and under the name that the client knows.
    """

    __slots__ = ("adopted", "session", "targets")

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        self.adopted: float | None = None
        self.targets: dict[str | int, str] = {}


class SessionBinding(Policy[Parameters, State]):
    """What a server hands out is used by the principal that got it."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._resume = parameters.resume_without_session
        self._sessions = Quota("sessions", parameters.expires, parameters.sessions_per_caller)
        self._states = Quota("states", parameters.state_expires, parameters.handed_out_per_caller)
        self._tasks = Quota("tasks", parameters.expires, parameters.handed_out_per_caller)
        self._stored = StoredOwnership(
            parameters.stored,
            anonymous=parameters.anonymous == "allow",
            follows=parameters.affinity == "session",
        )

    def new_state(self) -> State:
        return State()

    async def on_request_headers(self, ctx: Context[State]) -> Verdict:
        ids = ctx.request.headers.get_all(SESSION)
        if ids:
            denial = await self._claim(ids, ctx)
            if denial is not None:
                return denial
        elif self._resume == "deny" and ctx.request.method == "GET" and "last-event-id" in ctx.request.headers:
            return _NO_SESSION
        mode = self.parameters.affinity
        if mode == "principal":
            ctx.state.affinity = digest("affinity", principal(ctx))
        elif mode == "session" and not ctx.state.affinity:
            # Nothing to come back to: a session that was bound without one stays together all the same.
            ctx.state.affinity = digest("affinity", ctx.state.session or ctx.trail_id)
        return Mutation(facts={"affinity": ctx.state.affinity}) if mode != "off" else None

    async def on_request(
        self, message: McpRequest | ModelRequest | ConversationStart | StoredRequest, ctx: Context[State]
    ) -> Verdict:
        before = ctx.state.affinity
        asked = self._of_mcp(message, ctx) if isinstance(message, McpRequest) else self._stored.refuses(message, ctx)
        verdict = await asked
        if isinstance(verdict, Deny) or ctx.state.affinity == before:
            return verdict
        return Mutation(facts={"affinity": ctx.state.affinity}).then(verdict or Mutation())

    async def _of_mcp(self, message: McpRequest, ctx: Context[State]) -> Deny | Mutation | None:
        if message.method == "initialize" and self._is_stranger(ctx):
            return _STRANGER
        ctx.state.targets[message.id] = message.target
        state = message.params.get("requestState")
        if state is not None:
            # Any method's: what a server reads where it should not is taken back as strictly.
            key = self._state_key(state, message.method, message.target, ctx)
            if key is None or not await self._came_back(key, ctx, refresh=False):
                return _NO_STATE
        if message.method.startswith("tasks/") and message.method != "tasks/list":
            key = self._task_key(message.params.get("taskId"), ctx)
            if key is None or not await self._came_back(key, ctx, refresh=True):
                removed = message.method == "tasks/result" and speaks_modern(ctx.request)
                return _NO_METHOD if removed else _NO_TASK
        return await self._narrowed(message, ctx) if message.method == "subscriptions/listen" else None

    async def on_response_headers(self, ctx: Context[State]) -> Verdict:
        assert ctx.response is not None
        accepted = 200 <= ctx.response.status < 300
        if accepted and ctx.request.method == "DELETE" and ctx.state.session:
            await self._free(ctx)
            return None
        if 400 <= ctx.response.status < 500 and ctx.state.adopted is not None:
            await self._free(ctx, ctx.state.adopted)
        ids = ctx.response.headers.get_all(SESSION)
        if not ids or not accepted:
            return None
        if len(ids) > 1 or not _SESSION_ID.fullmatch(ids[0]):
            return Deny("session-invalid", "the server handed out a session id that is none", status=502)
        session = digest("session", ids[0].decode("ascii"))
        if session == ctx.state.session:
            return None
        if self._is_stranger(ctx):
            return _STRANGER
        taken = Deny("session-taken", "the server handed out a session id that is in use", status=502)
        return await self._bind_session(session, taken, ctx)

    async def on_complete(self, ctx: Context[State]) -> None:
        if ctx.response is None and ctx.state.adopted is not None:
            await self._free(ctx, ctx.state.adopted)

    async def on_response(self, message: McpResult | Completion | ConversationStarted, ctx: Context[State]) -> Verdict:
        if not isinstance(message, McpResult):
            return await self._stored.keep(message, ctx)
        found = self._handed_out(message, ctx)
        if found:
            denial = _STRANGER if self._is_stranger(ctx) else await self._keep(found, ctx)
            if denial is not None:
                return denial
        if "tasks" in message.result and message.method in ("tasks/list", ""):
            return await self._own_tasks(message, ctx)
        return None

    def _handed_out(self, message: McpResult, ctx: Context[State]) -> Mapping[Key, Quota]:
        """What a result hands out, by its key; a state or an id that is no text cannot come back as one."""
        found: dict[Key | None, Quota] = {}
        if "requestState" in message.result:
            asked = message.request
            target = "" if asked is None else ctx.state.targets.get(asked.id, asked.target)
            found[self._state_key(message.result["requestState"], message.method, target, ctx)] = self._states
        found |= {self._task_key(task, ctx): self._tasks for task in _tasks_in(message.result)}
        return {key: quota for key, quota in found.items() if key is not None}

    async def _keep(self, found: Mapping[Key, Quota], ctx: Context[State]) -> Deny | None:
        """Binds what was handed out; why it may not be, or None."""
        return None if await keep(found, ctx.state.affinity, ctx) else _TOO_MUCH

    async def _claim(self, ids: Sequence[bytes], ctx: Context[State]) -> Deny | None:
        """Finds the session that a request came with; why it may not go on, or None."""
        if len(ids) > 1 or not _SESSION_ID.fullmatch(ids[0]):
            # Two readers of these headers could take two sessions from them.
            return Deny("session-invalid", f"expected one {SESSION}", status=400, code=_INVALID_REQUEST)
        if self._is_stranger(ctx):
            return _NO_SESSION
        session = digest("session", ids[0].decode("ascii"))
        entry = await ctx.store.get(_session_key(session))
        if entry is None:
            # DELETE says that there is no session any more: nothing to adopt.
            adopts = self.parameters.unknown == "adopt" and ctx.request.method != "DELETE"
            if not adopts and self.parameters.unknown != "allow":
                return _NO_SESSION
            denial = await self._bind_session(session, _NO_SESSION, ctx) if adopts else None
            if denial is None:
                ctx.state.session = session
                ctx.state.adopted = ctx.time if adopts else None
            return denial
        bound = Bound.read(entry)
        if bound.principal != principal(ctx):
            ctx.measure("session_of_another", True)  # for the record: the caller is not told
            return _NO_SESSION
        ctx.state.session = session
        if self.parameters.affinity == "session":
            ctx.state.affinity = bound.affinity
        await prolong(_session_key(session), entry, self._sessions, ctx)
        return None

    async def _bind_session(self, session: str, taken: Deny, ctx: Context[State]) -> Deny | None:
        """Binds a session to the principal; why it cannot, or None. `taken` is for one that is another's."""
        affinity = ctx.state.affinity if self.parameters.affinity == "session" else ""
        claimed = await claim(_session_key(session), affinity, self._sessions, ctx)
        return _TOO_MANY_SESSIONS if claimed is None else None if claimed else taken

    async def _free(self, ctx: Context[State], since: float | None = None) -> None:
        """Frees the request's session, and its place; with `since` only if it was written then."""
        key = _session_key(ctx.state.session)
        for _ in range(_ATTEMPTS):
            entry = await ctx.store.get(key)
            bound = None if entry is None else Bound.read(entry)
            if entry is None or bound is None or bound.principal != principal(ctx) or since not in (None, bound.since):
                return
            if await ctx.store.write([Write(key, None, None, expected=entry.version)]):
                await self._sessions.give_back(ctx, bound.since)
                return

    async def _came_back(self, key: Key, ctx: Context[State], *, refresh: bool) -> bool:
        """Whether this was handed out to the principal; if so, the request goes where that was."""
        entry = await ctx.store.get(key)
        if entry is None or self._is_stranger(ctx):
            return False
        if self.parameters.affinity == "session":
            # What was bound while there was no affinity goes where the request goes.
            ctx.state.affinity = Bound.read(entry).affinity or ctx.state.affinity
        if refresh:
            await prolong(key, entry, self._tasks, ctx)
        return True

    async def _narrowed(self, message: McpRequest, ctx: Context[State]) -> Deny | Mutation | None:
        """A subscription to no other's tasks: a server leaves out those that it does not know."""
        wanted = message.params.get("notifications")
        tasks = wanted.get("taskIds") if isinstance(wanted, Mapping) else None
        if not isinstance(wanted, Mapping) or tasks is None:
            return None
        if not isinstance(tasks, list) or len(tasks) > _MOST_TASKS:
            return _NO_TASK
        own = await self._own(tasks, ctx)
        kept = [task for task in tasks if isinstance(task, str) and task in own]
        if len(kept) == len(tasks):
            return None
        params = {**message.params, "notifications": {**wanted, "taskIds": kept}}
        ctx.because(f"left out {len(tasks) - len(kept)} of {len(tasks)} tasks")
        return Mutation(message=message.with_params(params))

    async def _own_tasks(self, message: McpResult, ctx: Context[State]) -> Verdict:
        """A page of tasks with the principal's own."""
        tasks = message.result["tasks"]
        listed = tasks if isinstance(tasks, list) else []
        if len(listed) > _MOST_TASKS:
            return Deny("tasks-too-many", "the server lists more tasks than the gateway reads", status=502)
        own = await self._own([_id_of(task) for task in listed], ctx)
        kept = [task for task in listed if _id_of(task) in own]
        if kept == tasks:
            return None
        ctx.because(f"hid {len(listed) - len(kept)} of {len(listed)} tasks")
        return Mutation(message=message.with_result({**message.result, "tasks": kept}))

    async def _own(self, tasks: Sequence[object], ctx: Context[State]) -> frozenset[str]:
        """Those of the ids that were handed out to the principal."""
        if self._is_stranger(ctx):
            return frozenset()
        keys = {task: key for task in tasks if isinstance(task, str) and (key := self._task_key(task, ctx))}
        return await those_kept(keys, ctx)

    def _is_stranger(self, ctx: Context[State]) -> bool:
        return self.parameters.anonymous == "deny" and not ctx.identity.verified

    def _state_key(self, state: object, method: str, target: str, ctx: Context[State]) -> Key | None:
        """Where a state is kept: what differs in any part is another one. None for what can be none."""
        if not isinstance(state, str):
            return None
        return Key(principal(ctx), digest("state", ctx.server, method, target, state))

    def _task_key(self, task: object, ctx: Context[State]) -> Key | None:
        """Where a task is kept; all of one principal's together, for lists. None for what can be none."""
        return Key(principal(ctx), digest("task", ctx.server, task)) if isinstance(task, str) else None


def _tasks_in(result: Mapping[str, Any]) -> Iterator[str]:
    """The task that a result hands out: in `task` (2025-11-25), or the result itself (the extension of 2026-07-28)."""
    task = result.get("task")
    for holder in (task if isinstance(task, Mapping) else {}, result if result.get("resultType") == "task" else {}):
        if isinstance(holder.get("taskId"), str):
            yield holder["taskId"]


def _id_of(task: object) -> object:
    return task.get("taskId") if isinstance(task, Mapping) else None


def _session_key(session: str) -> Key:
    return Key(session, "principal")
