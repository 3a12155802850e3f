"""Exchanges that share a store, one after the other: what policies keep between them is seen.

Rules:
- A caller is the claims of its token; None is a caller that nobody vouches for.

Not here: any policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ext_proc.engine.pipeline import Binding
from ext_proc.limits import Limits
from ext_proc.policy import Policy
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Count, Counted, Entry, Key, Store, StoreError, Write
from ext_proc.testing import Cut, HttpRequest, HttpResponse, Played, pass_through, request, response, rulebook_of, whole

ANN = {"iss": "https://id.example", "sub": "ann"}
BOB = {"iss": "https://id.example", "sub": "bob"}
OTHER_ANN = {"iss": "https://other.example", "sub": "ann"}
ANNS_AGENT = {**ANN, "act": {"sub": "agent-7"}}
MODERN = "2026-07-28"
PATIENCE = 10.0  # seconds: a busy machine is no reason for a policy to be too late

Answer = HttpResponse | Callable[[HttpRequest], HttpResponse]


class Town:
    """One route with these policies, and one store."""

    def __init__(self, *policies: Policy[Any, Any] | Binding, store: Store | None = None, **route: Any) -> None:
        bound = [policy if isinstance(policy, Binding) else Binding(policy, timeout=PATIENCE) for policy in policies]
        self.book = rulebook_of(*bound, **{"limits": Limits(decision=PATIENCE), **route})
        self.store = EmbeddedStore.in_memory() if store is None else store
        self._exchanges = 0

    def play(
        self,
        sent: Any,
        answer: Answer | None = None,
        claims: Mapping[str, Any] | None = None,
        *,
        method: str = "POST",
        session: str = "",
        version: str = "",
        headers: Mapping[str, str] | None = None,
        cut: Cut = whole,
    ) -> Played:
        """Plays one exchange; without an `answer` the upstream's is an empty result."""
        lines = {"accept": "application/json, text/event-stream"}
        if method == "POST":
            lines["content-type"] = "application/json"
        if session:
            lines["mcp-session-id"] = session
        if version:
            lines["mcp-protocol-version"] = version
        lines |= headers or {}
        if method == "POST":
            asked = request(sent, headers=lines, claims=claims)
        else:
            asked = HttpRequest(method=method, headers=lines, claims=claims)
        self._exchanges += 1
        return pass_through(
            self.book, asked, answer or _empty(sent), cut, store=self.store, trail_id=f"trail-{self._exchanges}"
        )


def _empty(sent: Any) -> HttpResponse:
    if not isinstance(sent, Mapping) or "id" not in sent:
        return HttpResponse(status=202, headers={})
    return response({"jsonrpc": "2.0", "id": sent["id"], "result": {}})


class Interleaving:
    """A store whose operations let others go first: what happens at the same time meets in between."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        await asyncio.sleep(0)
        found = await self.store.read(keys)
        await asyncio.sleep(0)
        return found

    async def write(self, writes: Sequence[Write]) -> bool:
        await asyncio.sleep(0)
        return await self.store.write(writes)

    async def count(self, counts: Sequence[Count]) -> Counted:
        await asyncio.sleep(0)
        return await self.store.count(counts)

    async def close(self) -> None:
        await self.store.close()


class Broken:
    """A store that does nothing it is asked."""

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        raise StoreError("gone")

    async def write(self, writes: Sequence[Write]) -> bool:
        raise StoreError("gone")

    async def count(self, counts: Sequence[Count]) -> Counted:
        raise StoreError("gone")

    async def close(self) -> None:
        return None


def reason(played: Played) -> str:
    """Why it was denied; "" if it was not."""
    return "" if played.trail.denied is None else played.trail.denied.reason


def went_on(played: Played) -> bool:
    """Whether the upstream saw it."""
    return played.upstream is not None
