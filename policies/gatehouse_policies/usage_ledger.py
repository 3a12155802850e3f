"""The `usage` policy's ledger: what is set up of it, and an exchange's record as it grows.

Rules:
- A record is opened before the request is forwarded, written again every `checkpoint` while an answer streams, and
  closed when the exchange is over.
- Its figures are the exchange's measures of the same names: what the policy counted, and what others measured.
- A shadow policy opens and closes its record when the exchange is over: its figures are in the record alone.
- Times are of the monotonic clock, from one look at the wall clock when the record is opened.
- The prompt's hash is keyed (HMAC-SHA-256): the plain hash of a short prompt tells the prompt to whoever can guess it.
  Without a key there is none.

Not here: counting (usage.py), keeping records (ext_proc/ledger).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field, model_validator

from ext_proc.ledger.ledger import Ledger
from ext_proc.ledger.record import MAX_PATH, Counted, State, UsageRecord, name
from ext_proc.ledger.settings import (
    MAX_RECORDS,
    RETENTION,
    TIMEOUT,
    FileSettings,
    JsonlSettings,
    LedgerSettings,
    OtlpSettings,
)
from ext_proc.messages import CompletionChunk, ModelAnswer, ModelRequest
from ext_proc.policy import BundlePath, Context, Period, Secret
from gatehouse_policies.workflow_ids import ids_in

_SOON = 0.05  # seconds from a record's opening to its first checkpoint
_ATTEMPTS = "x-envoy-attempt-count"  # of the response, where Envoy's virtual host is told to include it
_CLIENT_RETRIES = "x-stainless-retry-count"  # what the official OpenAI and Anthropic clients say
_HASH = 32  # hexadecimal digits
_MOST = 10**12
_TEMPORARY = ("/tmp", "/var/tmp", "/run", "/dev/shm")
_TEXTS = ("cost", "currency", "model_served")
_COUNTS = (*(found for found in UsageRecord.__struct_fields__ if found.endswith("_tokens")), "loops")


class Source(BaseModel, extra="forbid"):
    """Where a request says what it is a part of; all but a claim is what a client wrote."""

    by: Literal["header", "baggage", "traceparent", "claim"] = Field(
        description="A header; a member of W3C `baggage`; the trace's id in `traceparent`; or a verified claim, one of "
        "those that its source of identity lists in `claims`."
    )
    name: str = Field(
        default="", max_length=256, description="The header (lower case), member or claim; not for `traceparent`."
    )

    @model_validator(mode="after")
    def _names_its_place(self) -> Source:
        if (self.by == "traceparent") == bool(self.name):
            raise ValueError("expected `name` with header, baggage and claim, and not with traceparent")
        if self.by == "header" and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.name, re.ASCII):
            raise ValueError("expected a header name in lower case")
        return self


class SinkPart(BaseModel, extra="forbid"):
    """Where closed records are sent."""

    sink: Literal["jsonl", "stdout", "otlp"] = Field(
        description="A file of lines of JSON; such lines on standard output; or OpenTelemetry logs over OTLP/gRPC."
    )
    path: BundlePath | None = Field(default=None, description="For `jsonl`: the file.")
    endpoint: str | None = Field(
        default=None, pattern="^https?://", description="For `otlp`: the collector, such as `http://127.0.0.1:4317`."
    )

    @model_validator(mode="after")
    def _complete(self) -> SinkPart:
        if (self.sink == "jsonl") != (self.path is not None) or (self.sink == "otlp") != (self.endpoint is not None):
            raise ValueError("expected `path` with jsonl, and `endpoint` with otlp")
        return self

    def settings(self) -> JsonlSettings | OtlpSettings:
        return JsonlSettings(self.path) if self.endpoint is None else OtlpSettings(self.endpoint)


class LedgerPart(BaseModel, extra="forbid"):
    """The ledger: one record per exchange, exactly once."""

    sink: Literal["sqlite", "jsonl", "stdout", "otlp"] = Field(
        description="Where records are kept. Only `sqlite` keeps those of exchanges that run: with the others they are "
        "lost with the process."
    )
    path: BundlePath | None = Field(
        default=None, description="For `sqlite` and `jsonl`: the file, which all processes of a host may share."
    )
    endpoint: str | None = Field(default=None, pattern="^https?://", description="For `otlp`: the collector.")
    send: list[SinkPart] = Field(
        default=[], max_length=4, description="With `sqlite`: where closed records are sent, too."
    )
    retention: Period = Field(default=RETENTION, description="With `sqlite`: how long closed records are kept.")
    max_records: int = Field(
        default=MAX_RECORDS,
        ge=1,
        le=1_000_000_000,
        description="With `sqlite`: how many are kept; the oldest closed ones make room. A million takes some 1 GiB.",
    )
    timeout: Period = Field(
        default=TIMEOUT, description="With `sqlite`: how long an operation waits for the file while others lock it."
    )
    checkpoint: Period = Field(
        default=5.0, description="How often the figures of an answer that streams are written, at most."
    )
    workflow: Source | None = Field(default=None, description="Where the workflow's id is.")
    parent: Source | None = Field(default=None, description="Where the id of what asked for this exchange is.")
    project: Source | None = Field(default=None, description="Where the project is.")
    hash_key: Secret | None = Field(
        default=None,
        description="The key id of a secret of at least 16 bytes: then a record has a keyed hash of the request, by "
        "which equal requests are found. Whoever has the key can find out short ones by trying.",
    )

    @model_validator(mode="after")
    def _complete(self) -> LedgerPart:
        if (self.sink in ("sqlite", "jsonl")) != (self.path is not None):
            raise ValueError("expected `path` with sqlite and jsonl")
        if (self.sink == "otlp") != (self.endpoint is not None):
            raise ValueError("expected `endpoint` with otlp")
        if self.send and self.sink != "sqlite":
            raise ValueError("expected `send` with sqlite only")
        if self.hash_key is not None and len(self.hash_key.reveal()) < 16:
            raise ValueError("expected a hash_key of at least 16 bytes")
        return self

    def settings(self) -> LedgerSettings:
        sinks = tuple(part.settings() for part in self.send)
        if self.sink == "sqlite":
            assert self.path is not None  # `_complete`
            file = FileSettings(self.path, self.retention, self.max_records, self.timeout)
            return LedgerSettings(file, sinks)
        only = JsonlSettings(self.path) if self.endpoint is None else OtlpSettings(self.endpoint)
        return LedgerSettings(None, (only,))

    def weaknesses(self) -> Sequence[str]:
        """What an operator should know of it."""
        if self.sink != "sqlite":
            return (
                f"ledger: with sink {self.sink} the records of exchanges that run are lost when the process ends: keep "
                "them in sqlite, and send them from there (`send`)",
            )
        assert self.path is not None  # `_complete`
        for folder in dict.fromkeys((*_TEMPORARY, tempfile.gettempdir())):
            if self.path.is_relative_to(folder) and not self.send:
                return (f"ledger: {folder} is often emptied, and the records with it: keep them elsewhere, or `send`",)
        return ()


@dataclass(slots=True)
class Booking:
    """An exchange's record, and what is needed to go on with it.

    Attributes:
        arrived: the monotonic time of the request's headers; None where they were not seen.
        began: the monotonic time of the record's opening.
        due: the monotonic time of the next checkpoint.
        record: None before it is opened.
        final: whether a checkpoint has the provider's last figures.
        timer: for the first checkpoint.
    """

    arrived: float | None = None
    began: float = 0.0
    due: float = 0.0
    record: UsageRecord | None = field(default=None)
    final: bool = False
    timer: asyncio.TimerHandle | None = None

    def at(self, ctx: Context[Any]) -> float:
        """Now, in seconds since the Unix epoch, by the monotonic clock since the opening."""
        assert self.record is not None
        return self.record.opened + max(ctx.now - self.began, 0.0)


class Books:
    """The ledger of one policy: opened with its bundle, and asked about each exchange."""

    def __init__(self, part: LedgerPart) -> None:
        self._part = part
        self._ledger: Ledger | None = None
        self._key = None if part.hash_key is None else part.hash_key.reveal()

    async def start(self) -> None:
        """Opens the ledger.

        Raises:
            LedgerError: it cannot be used.
        """
        self._ledger = await Ledger.start(self._part.settings())

    async def end(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await ledger.end()

    async def open(self, booking: Booking, message: ModelRequest | None, ctx: Context[Any], *, of: str = "") -> bool:
        """Opens the exchange's record, or that of an answer made apart from its request; whether there was none.

        Args:
            message: None where the exchange asked for what was made before.
            of: by which the provider keeps such an answer.

        Raises:
            LedgerError: there is none, so that the request should not go on.
        """
        if booking.record is not None:
            return False
        identity, part = ctx.identity, self._part
        # A shadow policy is asked when all is over: then the exchange began when it came.
        booking.began = ctx.now if ctx.response is None or booking.arrived is None else booking.arrived
        booking.due = booking.began + part.checkpoint
        waited = None if booking.arrived is None else round(max(booking.began - booking.arrived, 0.0), 6)
        booking.record = record = _with_figures(
            UsageRecord(
                id=_deferred_id(ctx.server, of) if of else ctx.trail_id,
                opened=ctx.time - (ctx.now - booking.began),
                workflow=_said(part.workflow, ctx),
                parent=_said(part.parent, ctx),
                project=_said(part.project, ctx),
                trace=next(iter(ids_in(ctx.request.headers, "traceparent")), ""),
                tenant=name(identity.tenant),
                principal=identity.key,
                subject=name(identity.subject),
                actor=name(identity.actor),
                client=name(identity.client),
                route=ctx.route,
                server=ctx.server,
                protocol=ctx.protocol,
                model_asked="" if message is None else name(message.model),
                client_retries=_number(ctx.request.headers.get(_CLIENT_RETRIES)),
                queue_seconds=waited,
                prompt_hash="" if self._key is None or message is None else _keyed(self._key, message.raw),
                path=tuple(ctx.path[:MAX_PATH]),
                revision=ctx.revision,
            ),
            ctx.measures,
        )
        opened = await self._opened().open(record)
        if of and not opened:
            booking.record = None
        return opened

    def soon(self, booking: Booking, first: Callable[[], None]) -> None:
        """Has the first checkpoint made by `first` a moment later: not while the request waits for it."""
        booking.timer = asyncio.get_running_loop().call_later(_SOON, first)

    def expect(self, booking: Booking, figures: Mapping[str, Any], ctx: Context[Any]) -> None:
        """Writes figures that count only if the process ends now; the record does not keep them."""
        if booking.record is not None and self._ledger is not None and booking.record.checkpointed is None:
            expected = _with_figures(booking.record, {**ctx.measures, **figures, "usage_reported": False})
            self._ledger.checkpoint(msgspec.structs.replace(expected, checkpointed=booking.record.opened + _SOON))

    def heard(self, booking: Booking, message: ModelAnswer, ctx: Context[Any], *, final: bool) -> bool:
        """Notes what an answer, or an event of one, says; whether a checkpoint is due.

        Args:
            final: whether the provider's last figures are known.
        """
        record = booking.record
        if record is None:
            return False
        if record.first_token is None and isinstance(message, CompletionChunk) and message.pieces:
            at = booking.at(ctx)
            seconds = round(at - record.opened, 6)
            booking.record = msgspec.structs.replace(record, first_token=at, first_token_seconds=seconds)
        told, booking.final = final and not booking.final, final
        return told or ctx.now >= booking.due

    def checkpoint(self, booking: Booking, ctx: Context[Any]) -> None:
        """Writes what is known so far, if that can be done at once."""
        booking.due = ctx.now + self._part.checkpoint
        if booking.record is None or self._ledger is None:
            return
        record = _with_figures(booking.record, ctx.measures)
        booking.record = msgspec.structs.replace(record, checkpointed=booking.at(ctx))
        self._ledger.checkpoint(booking.record)

    async def close(self, booking: Booking, ctx: Context[Any]) -> None:
        """Closes the exchange's record, if it was opened.

        Raises:
            LedgerError: it could not be written yet; that is tried again with the next exchange.
        """
        if booking.timer is not None:
            booking.timer.cancel()
        if booking.record is None:
            return
        attempts = None if ctx.response is None else _number(ctx.response.headers.get(_ATTEMPTS))
        record = msgspec.structs.replace(
            _with_figures(booking.record, ctx.measures),
            retries=None if attempts is None else max(attempts - 1, 0),
            path=tuple(ctx.path[:MAX_PATH]),
            status=0 if ctx.response is None else ctx.response.status,
            outcome=str(ctx.outcome),
            cause=ctx.cause,
        )
        await self._opened().close(record.ended(State.CLOSED, booking.at(ctx)))

    def _opened(self) -> Ledger:
        if self._ledger is None:
            raise RuntimeError("the policy was not opened")
        return self._ledger


def _with_figures(record: UsageRecord, measures: Mapping[str, Any]) -> UsageRecord:
    """The record with what was measured, as far as that is a figure of a record's."""
    found: dict[str, Any] = {}
    for figure in _COUNTS:
        value = measures.get(figure)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST:
            found[figure] = value
    for figure in _TEXTS:
        if figure in measures:
            found[figure] = name(str(measures[figure]))
    if measures.get("usage_reported") is True:
        found["counted"] = Counted.REPORTED
    elif "input_tokens" in found or "output_tokens" in found:
        found["counted"] = Counted.ESTIMATED
    return msgspec.structs.replace(record, **found)


def _deferred_id(server: str, id: str) -> str:
    """A record's id that all exchanges with one such answer agree on, and that tells nothing of the provider's."""
    return f"deferred-{hashlib.sha256(f'{server} {id}'.encode()).hexdigest()[:_HASH]}"


def _said(source: Source | None, ctx: Context[Any]) -> str:
    if source is None:
        return ""
    if source.by == "claim":
        value = ctx.identity.claims.get(source.name)
        return name(value) if isinstance(value, str) else ""
    return name(next(iter(ids_in(ctx.request.headers, source.by, source.name)), ""))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,4}", text, re.ASCII) else None


def _keyed(key: bytes, raw: bytes) -> str:
    return hmac.new(key, raw, hashlib.sha256).hexdigest()[:_HASH]
