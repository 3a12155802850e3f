"""A quota: how much of one kind a caller may begin that is then kept, so that what it makes up fills no store.

Rules:
- Counted is what is new, in windows as long as it is kept. What is prolonged from an earlier window takes a place in
  this one: so what is there of one kind is at most two windows' worth.
- A caller is the subject with its issuer, whoever acts for it. All callers that nobody vouches for are one.
- Kept are digests, of callers and of what they name.

Not here: what is kept, and what is said where there is no place left.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ext_proc.policy import Context, Count, Key


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota of every caller of one policy, of one kind.

    Attributes:
        kind: what is counted; with `kept` it tells quotas apart.
        kept: how long that is kept, in seconds.
        most: begun in one window.
    """

    kind: str
    kept: float
    most: int

    def count(self, amount: int, ctx: Context[Any], since: float | None = None) -> Count:
        """What counts so many new ones, in the window of `since` (seconds since the Unix epoch) or of now; its key is
        of the caller's group."""
        window = int((ctx.time if since is None else since) // self.kept)
        return Count(
            Key(principal(ctx), digest("begun", self.kind, f"{self.kept} {window}")), amount, self.kept, self.most
        )

    def needs_a_place(self, since: float, ctx: Context[Any]) -> bool:
        """Whether what was written then has no place in the window of now."""
        return since // self.kept != ctx.time // self.kept

    async def take(self, ctx: Context[Any]) -> bool:
        """Takes a place; False where none is left.

        Raises:
            StoreError: the store failed.
        """
        return (await ctx.store.count([self.count(1, ctx)])).passed is None

    async def give_back(self, ctx: Context[Any], since: float | None = None) -> None:
        """Gives back the place of what was written at `since` (now) and is gone.

        Raises:
            StoreError: the store failed.
        """
        await ctx.store.count([self.count(-1, ctx, since)])


def principal(ctx: Context[Any]) -> str:
    """For whom the exchange is, over all issuers, as a digest."""
    return digest("principal", ctx.identity.key)


def digest(*parts: str) -> str:
    """One text for several, which tells nothing of them; different for different ones."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
