"""Whose a tool's name is, over all servers: taken names, names that look like another's, texts that speak of others.

Rules:
- A name belongs to the server that listed it first and was let through, or for which somebody approved it.
- Names that look alike are one name here, also on one server.
- A definition that speaks of a tool that other servers alone have would have a model mix the two.
- What is read is used again for a second, but never to take a name: that is by compare-and-set.

Not here: when names are looked at (tool_pinning.py), which names look alike (ext_proc/scanning/names.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ext_proc.pins.ledger import SHARDS, Ledger, Names, shard_of
from ext_proc.scanning.names import NameIndex, skeleton
from gatehouse_policies.tool_examination import texts_of

TAKEN = "name-taken"
CONFUSABLE = "name-confusable"
MENTIONS = "mentions-others-tools"

_FRESH = 1.0  # seconds for which what was read is used again
_SHORT = 64  # characters of a text of which it is remembered what it mentions
_REMEMBERED = 8192  # such texts


class AllNames:
    """The names of all servers' tools.

    Args:
        one_owner: whether two servers must not have tools of one name.
    """

    def __init__(self, one_owner: bool) -> None:
        self._one_owner = one_owner
        self._known: Mapping[int, Names] = {}
        self._fresh_until = 0.0
        # Of the names as they were known when it was made, and whose they are.
        self._index: tuple[Mapping[int, Names], NameIndex, frozenset[str]] | None = None
        self._mentioned: dict[str, set[str]] = {}  # by short texts, which stand in every schema, by that index

    async def read(self, ledger: Ledger, now: float, *, anew: bool) -> Mapping[int, Names]:
        """The names; those that have not changed are the same objects as before.

        Raises:
            StoreError: the store failed.
        """
        if anew or now >= self._fresh_until:
            known = await ledger.names(range(SHARDS), self._known)
            if any(known[number] is not self._known.get(number) for number in known):
                self._known = known
            self._fresh_until = now + _FRESH
        return self._known

    def changed(self) -> None:
        """Names were taken: they are read again when they are next wanted."""
        self._fresh_until = 0.0

    def found(
        self,
        tool: Mapping[str, Any],
        server: str,
        known: Mapping[int, Names],
        claims: Mapping[str, Sequence[tuple[str, str]]],
        own: Collection[str],
    ) -> tuple[str, ...]:
        """What speaks against a tool, as slugs.

        Args:
            known: as `read` gave it.
            claims: by skeleton, what is about to be taken.
            own: the names that the server has.
        """
        name = tool["name"]
        alike = skeleton(name)
        owners = [*known[shard_of(alike)].owners.get(alike, ()), *claims.get(alike, ())]
        found = []
        if self._one_owner and not _is_owned(owners, name, server) and any(owner == name for owner, _ in owners):
            found.append(TAKEN)
        if not _is_owned(owners, name, server) and any(owner != name for owner, _ in owners):
            found.append(CONFUSABLE)
        if self._mentions(tool, server, known, own):
            found.append(MENTIONS)
        return tuple(found)

    def _mentions(self, tool: Mapping[str, Any], server: str, known: Mapping[int, Names], own: Collection[str]) -> bool:
        """Whether a definition speaks of a tool that only other servers have."""
        if self._index is None or self._index[0] is not known:
            owned = [pair for shard in known.values() for owners in shard.owners.values() for pair in owners]
            self._index = (known, NameIndex({name for name, _ in owned}), frozenset(whose for _, whose in owned))
            self._mentioned = {}
        if self._index[2] <= {server}:
            return False  # nobody else has tools
        mentioned: set[str] = set()
        for text in {text for key, part in tool.items() if key not in ("name", "_meta") for text in texts_of(part)}:
            mentioned |= self._mentioned_in(text, self._index[1])
        for name in mentioned.difference(own):
            owners = known[shard_of(skeleton(name))].owners.get(skeleton(name), ())
            if not _is_owned(owners, name, server):
                return True
        return False

    def _mentioned_in(self, text: str, index: NameIndex) -> set[str]:
        if len(text) > _SHORT:
            return index.mentioned_in(text)
        found = self._mentioned.get(text)
        if found is None:
            found = index.mentioned_in(text)
            if len(self._mentioned) < _REMEMBERED:
                self._mentioned[text] = found
        return found


def _is_owned(owners: Sequence[tuple[str, str]], name: str, server: str) -> bool:
    """Whether a server has a name; what was read from the store has lists for pairs."""
    return any((owner, whose) == (name, server) for owner, whose in owners)
