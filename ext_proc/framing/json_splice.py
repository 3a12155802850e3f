"""Changing values inside a JSON document without writing the rest of it anew, and finding their source.

Rules:
- Law: the decoded result equals the decoded document with the same changes, and every byte that no change touches
  stays: numbers, escapes, blanks, unknown fields, the order of keys.
- The document is one that a strict reader accepted (json_view.py): nothing is checked twice here.
- Time is linear in the document. Only the way to a change is looked at key by key; all else is skipped by pattern, and
  nothing recurses over the document.

Not here: which values are changed (codecs/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Step: TypeAlias = str | int
Path: TypeAlias = tuple[Step, ...]
# What is to happen below a value: a tree of steps, whose leaves are new values, or None for a removal.
_Tree: TypeAlias = "dict[Step, _Tree | bytes | None]"

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^ \t\r\n,\]}]++", re.DOTALL)
_NESTING = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)


@dataclass(slots=True)
class _Edit:
    start: int
    end: int
    by: bytes


@dataclass(slots=True)
class _Member:
    """A member of an object, from its key on, or an element of an array."""

    start: int
    end: int
    removed: bool


def splice(raw: bytes, changes: Mapping[Path, bytes | None]) -> bytes:
    """The document with other values at some paths.

    Args:
        raw: a JSON document.
        changes: by path (keys and positions from the root, at least one): the new value as JSON, or None to remove the
            member or element. A key that an object does not hold is added at its end; to remove what is not there
            changes nothing. Positions are those of the document as it came.

    Raises:
        LookupError: a path leads through something that is not there, or to no position of an array.
        ValueError: a path is empty, or leads through another path's value.
    """
    if not changes:
        return raw
    edits: list[_Edit] = []
    _walk(raw, _after_blanks(raw, 0), _tree(changes), edits)
    parts: list[bytes] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += (raw[at : edit.start], edit.by)
        at = edit.end
    return b"".join([*parts, raw[at:]])


def source(raw: bytes, path: Path) -> bytes:
    """The bytes of the value at a path of a JSON document, as they stand there.

    Raises:
        LookupError: nothing stands there.
    """
    at = _after_blanks(raw, 0)
    for step in path:
        at = _member(raw, at, step)
    return raw[at : _skip(raw, at)]


def _member(raw: bytes, at: int, step: Step) -> int:
    """Where the member or element `step` of the object or array at `at` has its value."""
    is_object = raw[at : at + 1] == b"{"
    if not is_object and raw[at : at + 1] != b"[":
        raise LookupError("a path leads through a value that holds no others")
    at, position = _after_blanks(raw, at + 1), 0
    while raw[at] not in b"]}":
        met: Step = position
        if is_object:
            key = _KEY.match(raw, at)
            assert key is not None, "an object's member has a key"
            met, at = _decoded(key.group(1)), key.end()
        if met == step:
            return at
        at = _after_blanks(raw, _skip(raw, at))
        if raw[at] == ord(","):
            at = _after_blanks(raw, at + 1)
        position += 1
    raise LookupError("a path leads to nothing")


def _tree(changes: Mapping[Path, bytes | None]) -> _Tree:
    root: _Tree = {}
    for path, value in changes.items():
        if not path:
            raise ValueError("a path must have at least one step")
        node = root
        for step in path[:-1]:
            below = node.setdefault(step, {})
            if not isinstance(below, dict):
                raise ValueError("a path leads through another path's value")
            node = below
        if path[-1] in node:
            raise ValueError("a path leads through another path's value")
        node[path[-1]] = value
    return root


def _walk(raw: bytes, at: int, tree: _Tree, edits: list[_Edit]) -> int:
    """Collects the edits of the object or array at `at`; the offset behind it. Recurses along paths only."""
    opener = raw[at : at + 1]
    if opener not in (b"{", b"["):
        if _sets(tree):
            raise LookupError("a path leads through a value that holds no others")
        return _skip(raw, at)
    is_object = opener == b"{"
    missing = dict(tree)
    members: list[_Member] = []
    inside = at + 1
    at = _after_blanks(raw, inside)
    while raw[at] not in b"]}":
        start = value_at = at
        step: Step = len(members)
        if is_object:
            key = _KEY.match(raw, at)
            assert key is not None, "an object's member has a key"
            value_at = key.end()
            step = _decoded(key.group(1))
        found = step in missing
        change = missing.pop(step, None)
        if isinstance(change, dict):
            at = _walk(raw, value_at, change, edits)
        else:
            at = _skip(raw, value_at)
            if change is not None:
                edits.append(_Edit(value_at, at, change))
        members.append(_Member(start, at, removed=found and change is None))
        at = _after_blanks(raw, at)
        if raw[at] == ord(","):
            at = _after_blanks(raw, at + 1)
    _remove(members, edits)
    _add(missing, is_object, inside, members, edits)
    return at + 1


def _remove(members: list[_Member], edits: list[_Edit]) -> None:
    """Takes members out, each with one comma: the one before it if something is left there, else the one after it."""
    kept = False
    for index, member in enumerate(members):
        if not member.removed:
            kept = True
        elif kept:
            edits.append(_Edit(members[index - 1].end, member.end, b""))
        else:
            behind = members[index + 1].start if index + 1 < len(members) else member.end
            edits.append(_Edit(member.start, behind, b""))


def _add(missing: _Tree, is_object: bool, inside: int, members: list[_Member], edits: list[_Edit]) -> None:
    """Adds the members that were not met."""
    new: list[bytes] = []
    for step, change in missing.items():
        if not _sets(change):
            continue
        if not is_object or isinstance(change, dict) or not isinstance(step, str):
            raise LookupError("a path leads to nothing")
        assert change is not None, "a removal sets nothing"
        new.append(json.dumps(step).encode() + b":" + change)
    if not new:
        return
    at = members[-1].end if members else inside
    comma = b"" if all(member.removed for member in members) else b","
    edits.append(_Edit(at, at, comma + b",".join(new)))


def _sets(change: _Tree | bytes | None) -> bool:
    """Whether anything is to stand there, or below it."""
    return any(map(_sets, change.values())) if isinstance(change, dict) else change is not None


def _skip(raw: bytes, at: int) -> int:
    """The offset behind the value at `at`."""
    if raw[at] not in b"{[":
        scalar = _SCALAR.match(raw, at)
        assert scalar is not None, "a value stands here"
        return scalar.end()
    depth = 0
    for token in _NESTING.finditer(raw, at):
        first = raw[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"]}":
            depth -= 1
            if not depth:
                return token.end()
    raise LookupError("the document ends inside a value")


def _after_blanks(raw: bytes, at: int) -> int:
    blanks = _BLANKS.match(raw, at)
    assert blanks is not None, "none is enough"
    return blanks.end()


def _decoded(key: bytes) -> str:
    # A key can be spelled with escapes, and then only its decoded form can be compared.
    if b"\\" in key:
        return str(json.loads(key))
    return key[1:-1].decode()
