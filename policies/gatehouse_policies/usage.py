"""usage: tokens and cost per exchange, for the trail, metrics and Envoy's dynamic metadata.

Rules:
- The provider's word counts: `usage_reported` is true, and the figures are its own. Some say them several times, or in
  parts: of each figure the last that is not 0 counts.
- Where it did not say, or not of all that came (a stream that was cut off or stopped, a server without usage), what is
  missing is counted here: `usage_estimated` is true, `usage_reported` false, and `tokenizer` says by what. What was
  reported before stays; the text that came after it is added. What this policy did not see is not in it: hidden
  reasoning, tools that the provider ran, an answer that a policy further down the list stopped.
- An answer that is none (an error, nothing at all) has no figures: `usage_reported` is false, and that is all. One that
  came and cannot be read has those of its prompt.
- It only observes: no answer is held or changed for it. With `include_usage: add-and-hide` it changes what OpenAI's
  formats need: streams tell usage only where the request asks for it, so it asks, and hides again what that adds from a
  client that did not. Then answers on its route wait to be decided, as with any policy that may change them.
- `cached_tokens`, `cache_write_tokens` and `input_audio_tokens` are parts of `input_tokens`, `reasoning_tokens` and
  `output_audio_tokens` of `output_tokens`: they are not to be added up.
- A question for the number of tokens is answered by the provider, and is `counted_tokens`: nothing was used.
- With `ledger` each exchange has one record, opened before the request goes on: where none can be opened, `on_error`
  decides, and what cannot be read is denied on its route unless `allow_opaque` lists it. A question for the number of
  tokens has none.
- With a ledger, an answer that is made apart from its request (in the background) has a record of its own, by the
  answer's id: who first sees it finished, there or where it is fetched, has its figures, and nobody after that.
- `cost` and `currency` stand there where a price is known; `price_unknown` names the model where none is.
- List it last: answers pass policies in reverse, so it sees what came before another policy stops it, and no request
  that was denied.

Not here: counting (usage_tokens.py), prices (usage_prices.py), records (usage_ledger.py), budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Generation,
    ModelAnswer,
    ModelRequest,
    Piece,
    StoredKind,
    StoredRequest,
    TokenCount,
    TokenCounted,
    Usage,
)
from ext_proc.policy import BundleFile, Context, Mutation, Policy, Verdict
from ext_proc.trail import Outcome
from gatehouse_policies.usage_ledger import Booking, Books, LedgerPart
from gatehouse_policies.usage_prices import COUNTS, Prices, PricesPart, PriceTable, read_prices
from gatehouse_policies.usage_state import State, asked_by, was_cut
from gatehouse_policies.usage_tokens import AnswerTokens, By, Counting, PromptTokens, Tokenizer, rough

# No answer has so many tokens. What is counted elsewhere, in floats, stays exact below it.
_IMPLAUSIBLE = 10**12
_LONGEST = 128  # characters of a model's name in a measure


class Parameters(BaseModel, extra="forbid"):
    """Where figures come from, and what they cost."""

    include_usage: Literal["leave", "add-and-hide"] = Field(
        default="leave",
        description="Whether streams in OpenAI's formats are asked for their usage where the client did not; what that"
        " adds is hidden from it.",
    )
    tokenizer: Tokenizer = Field(default=Tokenizer(), description="What counts where the provider does not say.")
    split_prompt: bool = Field(
        default=False,
        description="Whether the prompt's parts are counted too, of every request: `system_tokens`, `history_tokens`,"
        " `user_tokens`, `tool_result_tokens`, `tool_definition_tokens`, and `synthetic_tokens`: by how many policies"
        " made it longer. Where the provider says the prompt's tokens they are shares of those, by the lengths of the"
        " parts. Beside them stands `loops`: how often an agent has gone round"
        " calls and their results since the caller's last words. With a ledger they are there whatever this says.",
    )
    prices: PricesPart | None = Field(default=None, description="What models cost: a YAML file, or the same in place.")
    ledger: LedgerPart | None = Field(
        default=None, description="Where each exchange's record is kept; without it there are none."
    )

    @field_validator("prices")
    @classmethod
    def _reads(cls, prices: BundleFile | PriceTable | None) -> PriceTable | None:
        return read_prices(prices) if isinstance(prices, BundleFile) else prices


class UsageMeter(Policy[Parameters, State]):
    """Tokens and cost per exchange."""

    def __new__(cls, name: str, parameters: Parameters) -> UsageMeter:
        # A hook that may change messages holds answers back; where none is changed, they go through. Without a ledger
        # no exchange waits for anything.
        asks, keeps = parameters.include_usage == "add-and-hide", parameters.ledger is not None
        return super().__new__(_KINDS[asks, keeps] if cls is UsageMeter else cls)

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._counting = Counting(parameters.tokenizer)
        self._prices = Prices(parameters.prices) if isinstance(parameters.prices, PriceTable) else None
        self._books = Books(parameters.ledger) if parameters.ledger is not None else None

    async def open(self) -> None:
        if self._books is not None:
            await self._books.start()

    async def close(self) -> None:
        if self._books is not None:
            await self._books.end()

    def weaknesses(self) -> Sequence[str]:
        return self.parameters.ledger.weaknesses() if self.parameters.ledger is not None else ()

    def new_state(self) -> State:
        return State()

    def on_request(self, message: ModelRequest, ctx: Context[State]) -> None:
        self._ask(message, ctx)

    def on_response(self, message: ModelAnswer, ctx: Context[State]) -> None:
        self._see(message, ctx)

    def settle(self, ctx: Context[State]) -> None:
        state = ctx.state
        if not state.booked and (state.request is None or state.deferred or not (state.answered or was_cut(ctx))):
            return
        final = state.final or (state.told and state.uncounted is None and ctx.outcome is Outcome.OK)
        counts = dict(state.reported)
        if not final:
            counts["input_tokens"] = counts["input_tokens"] or self._prompt(state, ctx).total
            if state.uncounted is not None:
                counts["output_tokens"] += state.uncounted.total
            ctx.measure("tokenizer", self._by(state))
            state.estimated = True
        elif state.estimated:  # as it seemed before all had come
            ctx.measure("tokenizer", "")
        ctx.measure("usage_reported", final)
        ctx.measure("usage_estimated", not final)
        for name, count in counts.items():
            # What the provider alone can know is not said to be 0 where it said nothing.
            if final or count or name in ("input_tokens", "output_tokens"):
                ctx.measure(name, count)
        ctx.measure("total_tokens", counts["input_tokens"] + counts["output_tokens"])
        if state.model:
            ctx.measure("model_served", _name(state.model))
        if state.request is not None and (self.parameters.split_prompt or self.parameters.ledger is not None):
            self._split(state, ctx, counts["input_tokens"] if final else None)
        self._price(state, counts, ctx)

    def _ask(self, message: ModelRequest, ctx: Context[State]) -> None:
        if not isinstance(message, TokenCount):
            ctx.state.request = message
            ctx.measure("usage_reported", False)

    def _see(self, message: ModelAnswer, ctx: Context[State]) -> None:
        state = ctx.state
        if isinstance(message, TokenCounted):
            if message.tokens is not None and message.tokens < _IMPLAUSIBLE:
                ctx.measure("counted_tokens", message.tokens)
            return
        state.answered = True
        state.model = state.model or message.model
        whole = not isinstance(message, CompletionChunk)
        if isinstance(message, Completion) and message.finish_reasons:
            state.finished = True
        usage = message.usage
        grew = None if usage is None else self._take(usage, state)
        if grew is not None and (grew or whole or state.finished):
            state.final, state.uncounted = whole or state.finished, None
        elif isinstance(message, Completion):
            self._count(message.pieces, state)

    def _take(self, usage: Usage, state: State) -> bool | None:
        """Whether the output grew by what the provider says; None where it says nothing that can be a count."""
        if usage.estimated:
            return None
        counts = {name: getattr(usage, name) for name in COUNTS}
        if max(counts.values()) >= _IMPLAUSIBLE:
            return None
        grew = bool(counts["output_tokens"] > state.reported["output_tokens"])
        state.reported |= {name: count for name, count in counts.items() if count}
        state.told = True
        return grew

    def _count(self, pieces: Sequence[Piece], state: State) -> None:
        """Takes the texts of a message of which the provider has said nothing yet."""
        if not pieces:
            return
        uncounted = state.uncounted or AnswerTokens(self._counting, self._by(state))
        if uncounted.add(pieces):
            state.uncounted, state.final = uncounted, False

    def _by(self, state: State) -> By:
        if state.by is None:
            state.by = self._counting.by(*state.models)
        return state.by

    def _prompt(self, state: State, ctx: Context[State]) -> PromptTokens:
        """The prompt as it went on."""
        if state.prompt is None:
            state.prompt = self._counting.prompt(asked_by(state, ctx)[1].prompt(), self._by(state))
        return state.prompt

    def _split(self, state: State, ctx: Context[State], told: int | None) -> None:
        """What the prompt is made of.

        Args:
            told: its tokens, where the provider says them.
        """
        came, went = asked_by(state, ctx)
        parts = self._prompt(state, ctx) if told is None else rough(went.prompt()).scaled(told)
        for name, count in parts.as_measures().items():
            ctx.measure(name, count)
        if state.synthetic is None:
            state.synthetic = 0 if came is went else self._counting.added(came.prompt(), went.prompt(), self._by(state))
        ctx.measure("synthetic_tokens", state.synthetic)
        rounds = went.rounds if isinstance(went, Generation) else None
        if rounds is not None and "loops" not in ctx.measures:  # another policy may know better
            ctx.measure("loops", rounds)

    def _price(self, state: State, counts: Mapping[str, int], ctx: Context[State]) -> None:
        if self._prices is None:
            return
        cost = self._prices.cost(state.models, counts, ctx.time)
        known, state.priced = state.priced, cost is not None
        if cost is not None:
            ctx.measure("cost", cost)
            ctx.measure("currency", self._prices.currency)
        else:
            ctx.measure("price_unknown", _name(next(iter(state.models), "unnamed")))
        if known is not None and known is not state.priced:  # what was said of fewer tokens is taken back
            for name in ("price_unknown",) if state.priced else ("cost", "currency"):
                ctx.measure(name, "")


def _name(text: str) -> str:
    """A model's name as a measure has it: bounded, and what protobuf can carry."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()


class _Asking(UsageMeter):
    """The same, where streams are asked for their usage."""

    def on_request(self, message: ModelRequest, ctx: Context[State]) -> Verdict:  # type: ignore[override]
        self._ask(message, ctx)
        asking = message.including_usage() if isinstance(message, Generation) else message
        ctx.state.hides = asking is not message
        return Mutation(message=asking) if ctx.state.hides else None

    def on_response(self, message: ModelAnswer, ctx: Context[State]) -> Verdict:  # type: ignore[override]
        self._see(message, ctx)
        if not ctx.state.hides or not isinstance(message, CompletionChunk):
            return None
        left = message.without_usage()
        if left is None:
            return Mutation(drop=True)
        return None if left is message else Mutation(message=left)


class _Keeping(UsageMeter):
    """The same, with a record of each exchange."""

    def new_state(self) -> State:
        return State(booking=Booking())

    def on_request_headers(self, ctx: Context[State]) -> None:
        assert ctx.state.booking is not None  # `new_state`
        ctx.state.booking.arrived = ctx.now

    async def on_request(self, message: ModelRequest, ctx: Context[State]) -> Verdict:  # type: ignore[override]
        self._ask(message, ctx)
        await self._begin(message, ctx)
        return None

    def on_response(self, message: ModelAnswer, ctx: Context[State]) -> None:
        self._see(message, ctx)
        self._go_on(message, ctx)

    async def on_complete(self, ctx: Context[State]) -> None:
        assert self._books is not None
        assert ctx.state.booking is not None
        state = ctx.state
        self.settle(ctx)  # in shadow only now all that was asked is known
        await self._books.close(ctx.state.booking, ctx)
        if not (state.deferred and state.final and state.finished and state.stored):
            return
        made = Booking()
        state.booked = await self._books.open(made, state.request, ctx, of=state.stored)
        if state.booked:
            self.settle(ctx)
            await self._books.close(made, ctx)

    async def _begin(self, message: ModelRequest, ctx: Context[State]) -> None:
        """Opens the record of what will be used."""
        assert self._books is not None
        assert ctx.state.booking is not None
        booking = ctx.state.booking
        if isinstance(message, TokenCount) or not await self._books.open(booking, message, ctx):
            return
        if not (isinstance(message, Generation) and message.deferred):
            self._books.soon(booking, lambda: self._expect(ctx))

    def _expect(self, ctx: Context[State]) -> None:
        """Writes what the prompt will have taken, for the case that this process ends before anything is answered."""
        assert self._books is not None
        assert ctx.state.booking is not None
        counts = dict.fromkeys(COUNTS, 0) | {"input_tokens": rough(asked_by(ctx.state, ctx)[1].prompt()).total}
        cost = None if self._prices is None else self._prices.cost(ctx.state.models, counts, ctx.time)
        priced = {} if cost is None or self._prices is None else {"cost": cost, "currency": self._prices.currency}
        self._books.expect(ctx.state.booking, {**counts, **priced}, ctx)

    def _go_on(self, message: ModelAnswer, ctx: Context[State]) -> None:
        """Writes the figures so far, where that is due."""
        assert self._books is not None
        assert ctx.state.booking is not None
        self._look_for_deferred(message, ctx)
        if self._books.heard(ctx.state.booking, message, ctx, final=ctx.state.final):
            self.settle(ctx)
            self._books.checkpoint(ctx.state.booking, ctx)

    def _look_for_deferred(self, message: ModelAnswer, ctx: Context[State]) -> None:
        """Notes which answer it is that was not made for this exchange alone."""
        state = ctx.state
        if state.request is None:
            asked = next((came for came, _ in ctx.requests if isinstance(came, StoredRequest)), None)
            if asked is not None and message.deferred:
                state.deferred, state.stored = True, asked.thing.id
        elif isinstance(state.request, Generation) and state.request.deferred and not state.stored:
            found = (thing.id for thing in message.handed_out if thing.kind is StoredKind.RESPONSE)
            state.deferred, state.stored = True, next(found, "")


class _AskingAndKeeping(_Keeping, _Asking):
    """Both."""

    async def on_request(self, message: ModelRequest, ctx: Context[State]) -> Verdict:  # type: ignore[override]
        verdict = _Asking.on_request(self, message, ctx)
        await self._begin(message, ctx)
        return verdict

    def on_response(self, message: ModelAnswer, ctx: Context[State]) -> Verdict:  # type: ignore[override]
        verdict = _Asking.on_response(self, message, ctx)
        self._go_on(message, ctx)
        return verdict


# By whether streams are asked for their usage, and whether records are kept.
_KINDS = {
    (False, False): UsageMeter,
    (True, False): _Asking,
    (False, True): _Keeping,
    (True, True): _AskingAndKeeping,
}
