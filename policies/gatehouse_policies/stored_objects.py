"""What models' providers keep, and whose it is: responses, threads, items, containers, caches.

Rules:
- What an answer names is bound to the principal before the answer, or its event, leaves: the first has it. What another
  has already stays the other's: the answer goes on, and is of no use to refer to.
- A request refers to what is its principal's. What is another's and what nobody has are answered alike, in the words of
  a provider that has no such thing; the provider does not hear of it.
- `unknown` is about what nobody has: from before this policy, made elsewhere (a cache, a conversation of another path),
  or past `expires`. It is adopted only where nothing else in the request is refused.
- What the provider does not keep (`store: false`) is not bound: nothing can refer to it.
- The provider is the route's `server`, or else the route.
- Kept are digests, while they are in use and for `expires` after it; what one principal may have is bounded.

Not here: where a format has such ids (ext_proc.messages: `references`, `handed_out`), sessions and tasks
(session_binding.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from ext_proc.messages import (
    ConversationStart,
    ConversationStarted,
    Generation,
    ModelAnswer,
    ModelRequest,
    StoredKind,
    StoredObject,
    StoredRequest,
)
from ext_proc.policy import Context, Deny, Entry, Key, Period
from gatehouse_policies.caller_quota import Quota, digest, principal
from gatehouse_policies.owned_ids import Bound, claim, claim_all, prolong

_MOST = 1024  # things that one request refers to
_AT_ONCE = 64  # keys of one operation
_MOST_SEEN = 2048  # things that one exchange remembers
_WITH_THE_ANSWER = (StoredKind.RESPONSE, StoredKind.ITEM, StoredKind.THREAD)

# One answer for each, whatever the reason. Two say what official clients look for to begin anew: OpenAI's in the code,
# Anthropic's in the details.
_NOT_FOUND: Mapping[StoredKind, Deny] = {
    **{kind: Deny(f"{kind}-unknown", f"{kind} not found", status=404) for kind in StoredKind},
    StoredKind.RESPONSE: Deny("previous_response_not_found", "previous response not found", status=400),
    StoredKind.THREAD: Deny("thread-unknown", "thread not found", status=404, data={"error_code": "thread_not_found"}),
}
_NO_RESPONSE = Deny("response-unknown", "response not found", status=404)
_TOO_MANY = Deny("references-too-many", "this request refers to too many stored objects", status=400)
_TOO_MUCH = Deny("stored-too-many", "this caller has too many stored objects here", status=429)
_STRANGER = Deny("caller-unknown", "this is for callers that are known")


# What may refer to something that is kept.
Referring = ModelRequest | ConversationStart | StoredRequest


class Stored(BaseModel, extra="forbid"):
    """Whose is what a model's provider keeps under an id."""

    expires: Period = Field(
        default=30 * 86400.0,
        description="How long what is not referred to stays its principal's. OpenAI keeps responses for 30 days.",
    )
    unknown: Literal["deny", "adopt", "allow"] = Field(
        default="deny",
        description="An id that is bound to nobody, as those from before this policy are, and those of conversations, "
        "containers and caches that are made by another way: `deny` it as if there were none; `adopt` it for the first "
        "principal that refers to it; or `allow` it, for anybody.",
    )
    handed_out_per_caller: int = Field(
        default=100_000,
        ge=1,
        description="The most ids that one principal gets within `expires`: a response takes one, and each item in it. "
        "With `store: false` it takes none.",
    )


class Seen:
    """What one exchange knows of what its provider keeps.

    Attributes:
        own: what was looked at, so that a stream's events ask nothing twice.
        kept: whether the provider keeps the answer.
        affinity: what the request, and what its answer hands out, is sent by.
    """

    __slots__ = ("affinity", "kept", "own")

    def __init__(self) -> None:
        self.affinity = ""
        self.kept = True
        self.own: set[StoredObject] = set()


class StoredOwnership:
    """Whose stored objects are, by what is kept in the policy's store. Its methods raise StoreError.

    Args:
        anonymous: whether callers that nobody vouches for may have any.
        follows: whether a request goes where what it refers to came from.
    """

    def __init__(self, parameters: Stored, *, anonymous: bool, follows: bool) -> None:
        self._unknown = parameters.unknown
        self._quota = Quota("stored", parameters.expires, parameters.handed_out_per_caller)
        self._anonymous = anonymous
        self._follows = follows

    async def refuses(self, message: Referring, ctx: Context[Any]) -> Deny | None:
        """Why a request may not go on, or None."""
        denial = await self._refuses(message, ctx)
        # What is asked for by its path is not there; what a request goes on with has words of its own.
        fetched = isinstance(message, StoredRequest) and denial is _NOT_FOUND[StoredKind.RESPONSE]
        return _NO_RESPONSE if fetched else denial

    async def _refuses(self, message: Referring, ctx: Context[Any]) -> Deny | None:
        seen: Seen = ctx.state
        seen.kept = not isinstance(message, Generation) or message.keeps_answer
        referred = message.references
        if self._is_stranger(ctx):
            keeps = isinstance(message, ConversationStart) or (isinstance(message, Generation) and seen.kept)
            return _NOT_FOUND[referred[0].kind] if referred else _STRANGER if keeps else None
        if len(referred) > _MOST:
            return _TOO_MANY
        unknown = []
        for thing, key, entry in await self._look_up(referred, ctx):
            if entry is None:
                if self._unknown == "deny":
                    return _NOT_FOUND[thing.kind]
                unknown.append((thing, key))
                self._remember(thing, seen)  # what is anybody's stays so, though the answer names it again
                continue
            bound = Bound.read(entry)
            if bound.principal != principal(ctx):
                ctx.measure("stored_of_another", True)  # for the record: the caller is not told
                return _NOT_FOUND[thing.kind]
            if self._follows:
                seen.affinity = bound.affinity or seen.affinity
            await prolong(key, entry, self._quota, ctx)
            self._remember(thing, seen)
        return await self._adopt(unknown, ctx) if self._unknown == "adopt" else None

    async def keep(self, answer: ModelAnswer | ConversationStarted, ctx: Context[Any]) -> Deny | None:
        """Binds what an answer names; why it may not leave, or None."""
        seen: Seen = ctx.state
        found = [thing for thing in answer.handed_out if thing not in seen.own]
        if not seen.kept:
            found = [thing for thing in found if thing.kind not in _WITH_THE_ANSWER]
        if not found:
            return None
        if self._is_stranger(ctx):
            return _STRANGER
        keys = [_key(thing, ctx) for thing in found]
        if not await claim_all(keys, seen.affinity if self._follows else "", self._quota, ctx):
            return _TOO_MUCH
        for thing in found:
            self._remember(thing, seen)
        return None

    async def _look_up(
        self, things: Sequence[StoredObject], ctx: Context[Any]
    ) -> Sequence[tuple[StoredObject, Key, Entry | None]]:
        """Each thing with its key and what is kept there."""
        found: list[tuple[StoredObject, Key, Entry | None]] = []
        for start in range(0, len(things), _AT_ONCE):
            part = things[start : start + _AT_ONCE]
            keys = [_key(thing, ctx) for thing in part]
            found += zip(part, keys, await ctx.store.read(keys), strict=True)
        return found

    async def _adopt(self, unknown: Sequence[tuple[StoredObject, Key]], ctx: Context[Any]) -> Deny | None:
        """Binds what nobody has; why that cannot be, or None."""
        seen: Seen = ctx.state
        for thing, key in unknown:
            claimed = await claim(key, seen.affinity if self._follows else "", self._quota, ctx)
            if not claimed:
                return _TOO_MUCH if claimed is None else _NOT_FOUND[thing.kind]
        return None

    def _is_stranger(self, ctx: Context[Any]) -> bool:
        return not (self._anonymous or ctx.identity.verified)

    def _remember(self, thing: StoredObject, seen: Seen) -> None:
        if len(seen.own) < _MOST_SEEN:
            seen.own.add(thing)


def _key(thing: StoredObject, ctx: Context[Any]) -> Key:
    """Where a thing is kept; all of one server's together, so that one operation has many."""
    return Key(digest("stored", ctx.server), digest(thing.kind, thing.id))
