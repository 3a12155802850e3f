"""The lock file: which definitions of which tools are approved, as a text that is kept in Git.

    apiVersion: gatehouse/v1
    kind: ToolLock
    servers:
      docs:
        instructions: ["sha256:..."]
        tools:
          search: ["sha256:..."]

Rules:
- It is YAML, and so may be JSON. It is written sorted, so that a change of one tool is a change of one line.
- A tool, or a server's instructions, may have several digests, of which none is better than another. A tool with none
  (`[]`) is named, and never approved.
- What is wrong with it is one sentence that says where, and an unknown key is wrong.

Not here: reading the file (bundle_file.py), what a digest is of (canonical.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from ext_proc.pins.canonical import HEX, PREFIX

API_VERSION: Final = "gatehouse/v1"
KIND: Final = "ToolLock"
MOST_TOOLS: Final = 100_000

_DIGEST = re.compile(rf"{PREFIX}[0-9a-f]{{{HEX}}}")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_BASE):  # type: ignore[misc]  # which of the two is there is known when it runs
    """YAML without keys that stand twice: a reader takes the first for the file's word, and YAML the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class LockedServer:
    """What a lock file has of one server; digests without their prefix.

    Attributes:
        instructions: None where it says nothing of them.
        tools: by name.
    """

    instructions: tuple[str, ...] | None = None
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file's content."""

    servers: Mapping[str, LockedServer] = field(default_factory=dict)

    def tool(self, server: str, tool: str) -> tuple[str, ...] | None:
        """The digests of a tool; None where the file does not name it."""
        found = self.servers.get(server)
        return None if found is None else found.tools.get(tool)

    def instructions(self, server: str) -> tuple[str, ...] | None:
        """The digests of a server's instructions; None where the file says nothing of them."""
        found = self.servers.get(server)
        return None if found is None else found.instructions

    def approving(self, server: str, tool: str | None, digests: Sequence[str]) -> Lock:
        """The same, with these digests for a tool, or for the server's instructions where `tool` is None."""
        found = self.servers.get(server, LockedServer())
        if tool is None:
            changed = LockedServer(tuple(digests), found.tools)
        else:
            changed = LockedServer(found.instructions, {**found.tools, tool: tuple(digests)})
        return Lock({**self.servers, server: changed})


def parse_lock(text: bytes) -> Lock:
    """The content of a lock file.

    Raises:
        ValueError: why it is none, in a sentence.
    """
    try:
        tree = yaml.load(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it is no YAML"
        raise ValueError(what + (f" (line {mark.line + 1})" if mark is not None else "")) from None
    found = _mapping(tree, "", {"apiVersion", "kind", "servers"})
    if (found.get("apiVersion"), found.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"expected apiVersion: {API_VERSION} and kind: {KIND}")
    servers: dict[str, LockedServer] = {}
    count = 0
    for name, value in _named(found.get("servers", {}), "servers").items():
        where = f"servers.{name}"
        parts = _mapping(value, where, {"instructions", "tools"})
        tools = _named(parts.get("tools", {}), f"{where}.tools")
        count += len(tools)
        if count > MOST_TOOLS:
            raise ValueError(f"expected at most {MOST_TOOLS} tools")
        instructions = _digests(parts["instructions"], f"{where}.instructions") if "instructions" in parts else None
        locked = {tool: _digests(digests, f"{where}.tools.{tool}") for tool, digests in tools.items()}
        servers[name] = LockedServer(instructions, locked)
    return Lock(servers)


def render_lock(lock: Lock) -> str:
    """The text of a lock file; equal for equal content."""
    servers: dict[str, Any] = {}
    for name, server in lock.servers.items():
        parts: dict[str, Any] = {}
        if server.instructions is not None:
            parts["instructions"] = [PREFIX + digest for digest in server.instructions]
        parts["tools"] = {tool: [PREFIX + digest for digest in found] for tool, found in server.tools.items()}
        servers[name] = parts
    tree = {"apiVersion": API_VERSION, "kind": KIND, "servers": servers}
    # What is not ASCII is escaped: nobody reads another name than the one that stands there.
    return str(yaml.dump(tree, Dumper=_DUMPER, sort_keys=True, allow_unicode=False, width=1000))


def _mapping(value: object, where: str, known: set[str]) -> Mapping[str, Any]:
    found = _named(value, where)
    unknown = sorted(found.keys() - known)
    if unknown:
        raise ValueError(f"{where or 'it'}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return found


def _named(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where or 'it'}: expected a mapping with texts as keys")
    return value


def _digests(value: object, where: str) -> tuple[str, ...]:
    digests: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError(f"{where}: expected {PREFIX} and {HEX} hexadecimal digits, or a list of such digests")
    return tuple(digest.removeprefix(PREFIX) for digest in digests)
