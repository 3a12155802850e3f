"""One exchange's usage record: who asked which model, how many tokens that was, how long it took, what it cost.

Rules:
- A record's id is the trail's: nothing else is needed to find a record's decisions, or a decision's record. That of an
  answer which was made apart from its request is made from the id by which the provider keeps it ("deferred-...").
- It holds names, counts and times. Nothing of the payload: no text, no arguments, no key or token.
- What a client says of itself (`workflow`, `parent`, `project` from a header, `client_retries`) is cut to MAX_NAME
  characters and proves nothing.
- The figures of a record that is not closed are what is known so far. One that was interrupted keeps its last ones, and
  calls them estimated.
- Written as JSON, what has its default is left out, and what a later version adds is passed over by this one.

Not here: where records are kept (file.py), who fills them in (the `usage` policy).
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from ext_proc.errors import GatehouseError

MAX_NAME: Final = 256  # characters of a name in a record
MAX_PATH: Final = 64  # entries of a policy path


class LedgerError(GatehouseError):
    """The ledger cannot be opened, read or written; the text says why, and holds nothing of a record."""


class State(enum.StrEnum):
    """Whether a record can still change."""

    OPEN = "open"  # the exchange runs
    CLOSED = "closed"  # it ended, and this is all
    INTERRUPTED = "interrupted"  # its process ended first: the figures are those of the last checkpoint


class Counted(enum.StrEnum):
    """Where a record's tokens come from."""

    NOT = "not"  # nobody counted: there are no figures
    REPORTED = "reported"  # by the provider
    ESTIMATED = "estimated"  # here, or by the provider before the end of its answer


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="version", tag=1):
    """A record. Times are seconds since the Unix epoch; None is what is not known.

    Attributes:
        id: the trail's id.
        workflow, parent, project: what the exchange is a part of, as the bundle says where that stands; "" for nothing.
        trace: the trace's id in `traceparent`; "" for none.
        tenant: the caller's, from verified claims.
        principal: `identity.key`: one text per issuer and subject.
        subject: the principal's name.
        actor: the agent that acts for it; "" for none.
        client: the OAuth client that the token was issued to; "" for none.
        route, server, protocol: of the bundle.
        model_asked: as it left for the provider; model_served: as the provider's answer has it.
        input_tokens: with the cached, the written and the audio ones; output_tokens: with reasoning and audio.
        counted: where the tokens come from.
        system_tokens, history_tokens, user_tokens, tool_result_tokens, tool_definition_tokens: the parts of the prompt.
        synthetic_tokens: by how many policies made the prompt longer than it came.
        retries: of Envoy's, to the upstream (`x-envoy-attempt-count`, less the first).
        client_retries: how often the client says that it asked before (`x-stainless-retry-count`).
        loops: how often an agent has gone round calls and their results since the caller's last words, as far as the
            request tells; None where the provider keeps the conversation.
        path: the policies that had a word, each with its last: "access:allow".
        opened: when the request was about to be forwarded.
        checkpointed: when the figures were last written while it was open.
        first_token: when the first text, or call, of the answer came.
        closed: when the exchange ended; of an interrupted one, the last time that something is known of it.
        queue_seconds: from the request's headers to `opened`.
        first_token_seconds, total_seconds: from `opened`.
        seconds_per_output_token: from the first token to the end, by the tokens after the first.
        prompt_hash: a keyed digest of the request; "" where the bundle has no key for it.
        cost: a decimal in plain digits, such as "0.000125", in `currency` (ISO 4217); both "" where it is not known.
        revision: the bundle's.
        status: HTTP's; 0 where there was no answer.
        outcome, cause: the trail's; "" while it is open or where it was interrupted.
    """

    id: str
    state: State = State.OPEN
    opened: float
    closed: float | None = None
    checkpointed: float | None = None
    first_token: float | None = None
    workflow: str = ""
    parent: str = ""
    project: str = ""
    trace: str = ""
    tenant: str = ""
    principal: str = ""
    subject: str = ""
    actor: str = ""
    client: str = ""
    route: str = ""
    server: str = ""
    protocol: str = ""
    model_asked: str = ""
    model_served: str = ""
    counted: Counted = Counted.NOT
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    system_tokens: int | None = None
    history_tokens: int | None = None
    user_tokens: int | None = None
    tool_result_tokens: int | None = None
    tool_definition_tokens: int | None = None
    synthetic_tokens: int | None = None
    cost: str = ""
    currency: str = ""
    retries: int | None = None
    client_retries: int | None = None
    loops: int | None = None
    queue_seconds: float | None = None
    first_token_seconds: float | None = None
    total_seconds: float | None = None
    seconds_per_output_token: float | None = None
    prompt_hash: str = ""
    path: tuple[str, ...] = ()
    revision: str = ""
    status: int = 0
    outcome: str = ""
    cause: str = ""

    def ended(self, state: State, at: float) -> UsageRecord:
        """The same record, ended at `at`, with what follows from its times."""
        seconds = max(at - self.opened, 0.0)
        each = None
        if self.first_token is not None and self.output_tokens > 1:
            each = round(max(at - self.first_token, 0.0) / (self.output_tokens - 1), 6)
        return msgspec.structs.replace(
            self, state=state, closed=at, total_seconds=round(seconds, 6), seconds_per_output_token=each
        )

    def interrupted(self) -> UsageRecord:
        """What is made of an open record whose process is gone: its last figures, which nobody completed."""
        counted = Counted.NOT if self.counted is Counted.NOT else Counted.ESTIMATED
        ended = self.ended(State.INTERRUPTED, self.opened if self.checkpointed is None else self.checkpointed)
        return msgspec.structs.replace(ended, counted=counted)


def encode(record: UsageRecord) -> bytes:
    """The record as one line of JSON, without the line's end."""
    return _ENCODER.encode(record)


def decode(data: bytes) -> UsageRecord:
    """The record that `encode` wrote.

    Raises:
        LedgerError: it is none, or of a version that this Gatehouse does not know.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise LedgerError("it holds what is no usage record of version 1") from None


def name(text: str) -> str:
    """A text as a record holds it: bounded, and what JSON can carry."""
    return text[:MAX_NAME].encode("utf-8", "replace").decode()


FIELDS: Final = ("version", *UsageRecord.__struct_fields__)
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(UsageRecord)
