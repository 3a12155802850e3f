"""The trail: what was decided in one exchange, by whom, and why.

Rules:
- The decision log, metrics, spans, `explain` and `/decisions` are views of it; nothing else is recorded anywhere.
- It holds no payload: names, reasons, durations and counts only.
- It is bounded: like entries are counted, not repeated, and past `MAX_ENTRIES` further ones are dropped and counted; an
  enforced denial never is.

Not here: how a view is written (telemetry/).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

MAX_ENTRIES = 256
MAX_TEXT = 256  # characters of a reason or a note


class Outcome(enum.StrEnum):
    """How an exchange ended, read from the body: an HTTP 200 can carry any of them. In order of gravity."""

    OK = "ok"
    EMPTY = "empty"  # an answer was due and nothing came
    TOOL_ERROR = "tool_error"  # a tool's result with isError
    PROTOCOL_ERROR = "protocol_error"  # the protocol's own error, or HTTP 4xx and 5xx
    INVALID = "invalid"  # bytes that are not what the protocol says
    TRUNCATED = "truncated"  # ended before the answer did
    REFUSED = "refused"  # denied here, or by the model or its provider

    def worse(self, other: Outcome) -> Outcome:
        """The graver of the two."""
        if self is other:
            return self
        order = list(Outcome)
        return self if order.index(self) >= order.index(other) else other


class Stage(enum.StrEnum):
    """Where in the exchange a checkpoint stands."""

    IDENTITY = "identity"
    REQUEST_HEADERS = "request_headers"
    REQUEST = "request"
    REQUEST_TEXT = "request_text"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE = "response"
    RESPONSE_TEXT = "response_text"
    COMPLETE = "complete"


class Word(enum.StrEnum):
    """A verdict's kind, as the trail names it."""

    ALLOW = "allow"
    CHANGE = "change"
    DENY = "deny"
    RESPOND = "respond"
    ERROR = "error"
    SKIP = "skip"


_GRAVITY = {
    word: gravity
    for gravity, word in enumerate((Word.SKIP, Word.ALLOW, Word.CHANGE, Word.ERROR, Word.RESPOND, Word.DENY))
}


@dataclass(slots=True)
class Entry:
    """One policy's word at one stage.

    Attributes:
        policy: its name in the bundle; "gatehouse" for the engine's own.
        duration: seconds spent in the hook, summed over `count` calls.
        enforced: False for a shadow policy, or an error that `on_error: allow` passed over.
    """

    policy: str
    stage: Stage
    verdict: Word
    reason: str
    duration: float
    enforced: bool
    count: int = 1

    @property
    def denies(self) -> bool:
        """Whether it ended the exchange, or an element of a batch."""
        return self.enforced and self.verdict in (Word.DENY, Word.RESPOND, Word.ERROR)

    def as_dict(self) -> dict[str, Any]:
        """The entry as the log, /decisions and `explain` show it; durations in milliseconds."""
        return {
            "policy": self.policy,
            "stage": str(self.stage),
            "verdict": str(self.verdict),
            "reason": self.reason,
            "duration_ms": round(self.duration * 1000, 3),
            "enforced": self.enforced,
            "count": self.count,
        }


@dataclass(slots=True)
class Trail:
    """The record of one exchange, written by the engine, read by everyone else.

    Attributes:
        id: given to the client with a denial, and the key of `explain`.
        route, protocol, method, target: what was asked: the route's name, the codec's family, the protocol's method
            and the tool, prompt, resource or model it is aimed at. Several of a batch are joined by ",".
        kind, subject, actor: who called: what kind of caller, for whom it is done, and who does it, if not the subject.
        revision: the bundle's.
        started: the transport's monotonic time in seconds; `duration` is in seconds, set at the end.
        cause: "complete", or why the RPC was over before the answer was.
        notes: things the engine noticed that are no verdict, e.g. an answer past a limit.
    """

    id: str
    revision: str = ""
    route: str = ""
    protocol: str = ""
    method: str = ""
    target: str = ""
    kind: str = ""
    subject: str = ""
    actor: str = ""
    traceparent: str = ""
    started: float = 0.0
    duration: float = 0.0
    status: int = 0
    cause: str = ""
    outcome: Outcome = Outcome.OK
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0
    _like: dict[tuple[str, Stage, Word, str, bool], Entry] = field(default_factory=dict, repr=False)

    def record(self, entry: Entry) -> Entry | None:
        """Adds an entry, or counts it to a like one of its stage; the one that is in the trail, if there is room."""
        entry.reason = entry.reason[:MAX_TEXT]
        key = (entry.policy, entry.stage, entry.verdict, entry.reason, entry.enforced)
        like = self._like.get(key)
        if like is not None:
            like.count += entry.count
            like.duration += entry.duration
            return like
        if len(self.entries) >= MAX_ENTRIES and not entry.denies:
            self.dropped += 1
            return None
        self._like[key] = entry
        self.entries.append(entry)
        return entry

    def note(self, text: str) -> None:
        """Adds a note once."""
        text = text[:MAX_TEXT]
        if text not in self.notes and len(self.notes) < MAX_ENTRIES:
            self.notes.append(text)

    def path(self) -> tuple[str, ...]:
        """The policies that had a word, in order, each with its gravest: "access:allow", "tone:deny:shadow"."""
        words: dict[str, Entry] = {}
        for entry in self.entries:
            before = words.get(entry.policy)
            if before is None or _GRAVITY[entry.verdict] > _GRAVITY[before.verdict]:
                words[entry.policy] = entry
        return tuple(f"{name}:{e.verdict}{'' if e.enforced else ':shadow'}" for name, e in words.items())

    @property
    def denied(self) -> Entry | None:
        """The enforced denial that ended it, if one did; an enforced error of a policy denies too."""
        return next((entry for entry in self.entries if entry.denies), None)

    def as_dict(self) -> dict[str, Any]:
        """The whole trail in plain values, for the decision log, /decisions and `explain`."""
        return {
            "id": self.id,
            "revision": self.revision,
            "route": self.route,
            "protocol": self.protocol,
            "method": self.method,
            "target": self.target,
            "kind": self.kind,
            "subject": self.subject,
            "actor": self.actor,
            "status": self.status,
            "outcome": str(self.outcome),
            "cause": self.cause,
            "duration_ms": round(self.duration * 1000, 3),
            "entries": [entry.as_dict() for entry in self.entries],
            "notes": list(self.notes),
            "facts": dict(self.facts),
            "dropped": self.dropped,
        }
