"""One exchange under one list of events: what was answered, what left, and when.

Rules:
- An input is choices (of codecs, policy, limits, modes, then of events) and two bodies (inputs.py).
- Outside full duplex a body reply answers the oldest body that has none; what Envoy has of it leaves, or what it is
  told to send instead.

Not here: what must hold (event_laws.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.codec import Codec
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.engine.checkpoint import Decision
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.events import BodyMode, BodyReceived, CloseCause, Closed, Direction, Event, HeadersReceived, Tick
from ext_proc.messages import Message
from ext_proc.policy import Context, Deny, Verdict
from ext_proc.replies import Abort, BodyReply, HeadersReply, ImmediateReply, ModesReply, Reply, StreamedBody
from ext_proc.testing import decide
from ext_proc.trail import Stage
from tests.exchange import text_policies as on_texts
from tests.exchange.policies import Base, DenyTool, Watcher
from tests.fuzz.codec_laws import AUTO, SMALL
from tests.fuzz.event_lists import REQUEST, RESPONSE, EventList
from tests.fuzz.inputs import parts


class Judge(Base):
    """Decides about every message, and denies those of some numbers.

    Attributes:
        allowed, denied: the messages, by stage.
        completed: how often the exchange ended.
    """

    def __init__(self, requests: Sequence[int] = (), answers: Sequence[int] = ()) -> None:
        super().__init__("judge")
        self._denies = {Stage.REQUEST: requests, Stage.RESPONSE: answers}
        self.allowed: dict[Stage, list[Message]] = {Stage.REQUEST: [], Stage.RESPONSE: []}
        self.denied: dict[Stage, list[Message]] = {Stage.REQUEST: [], Stage.RESPONSE: []}
        self.completed = 0

    def decided(self, stage: Stage) -> int:
        """How many messages it decided about."""
        return len(self.allowed[stage]) + len(self.denied[stage])

    def on_request(self, message: Message, ctx: Context[Any]) -> Verdict:
        return self._judge(Stage.REQUEST, message)

    def on_response(self, message: Message, ctx: Context[Any]) -> Verdict:
        return self._judge(Stage.RESPONSE, message)

    def on_complete(self, ctx: Context[Any]) -> None:
        self.completed += 1

    def _judge(self, stage: Stage, message: Message) -> Verdict:
        if self.decided(stage) in self._denies[stage]:
            self.denied[stage].append(message)
            return Deny("judged", "not this one")
        self.allowed[stage].append(message)
        return None


_POLICIES: tuple[Callable[[], Base | on_texts.Base], ...] = (
    Judge,
    lambda: Judge(requests=(0,)),
    lambda: Judge(answers=(0,)),
    lambda: Judge(requests=(1,), answers=(1, 2)),
    Watcher,
    lambda: on_texts.Replace("the", "THE"),
    on_texts.Sentences,
    lambda: on_texts.DenyAt(20, "..."),
    lambda: DenyTool("search"),
)
CODECS: tuple[tuple[tuple[Codec, ...], str], ...] = (
    ((McpCodec(),), "/mcp"),
    ((OpenAiChatCodec(),), "/v1/chat/completions"),
    (AUTO, "/mcp"),
    (AUTO, "/v1/models"),
    ((A2aCodec(),), "/agent"),
    ((AnthropicCodec(),), "/v1/messages"),
    ((GeminiCodec(),), "/v1beta/models/m:streamGenerateContent"),
    ((OpenAiResponsesCodec(),), "/v1/responses"),
)
_MODES = (BodyMode.NONE, BodyMode.BUFFERED, BodyMode.STREAMED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.BUFFERED_PARTIAL)
_LATE = Decision(denial=Deny("late", "late"))


class Run:
    """One exchange under one list of events.

    Attributes:
        listed: whether the route lets all that is opaque pass; never what is malformed or too large.
        heads: the headers that came.
        left: what left of each body.
        released: each time some of a body left: how much of it had, and how many of its messages were decided.
        unread: the directions whose bodies Envoy was told to pass on by itself.
        answer: what the client was answered in place of the upstream; None if it was not.
        aborted: whether the RPC was ended with an error.
        was_duplex: whether the last event came in full duplex.
        was_lowered: whether the answer's mode, once full duplex, became another.
        was_early: whether the answer came before the request was decided: only an earlier filter's can.
    """

    def __init__(self, data: bytes) -> None:
        choices, bodies = parts(data, 2)
        self.codecs, path = choices.of(CODECS)
        self.policy = choices.of(_POLICIES)()
        self.listed = choices.of((False, True))
        self.limits = replace(SMALL, hold=60.0, envoy_buffer=choices.of((1 << 20, 50)))
        self.fixed = (choices.of(_MODES), choices.of(_MODES))
        self.events = EventList(choices, path, (bodies[0], bodies[1]), self.fixed)
        pipeline = Pipeline([Binding(self.policy)], lambda: 0.0)
        opaque = (OpaqueRule(),) if self.listed else ()
        route = Route("fuzzed", RouteMatch(path="/"), "fuzzed", self.codecs, pipeline, allow_opaque=opaque)
        self.exchange = Exchange(Rulebook("fuzz", "r1", (route,), limits=self.limits), "t")
        self.heads: dict[Direction, HeadersReceived] = {}
        self.left = {REQUEST: bytearray(), RESPONSE: bytearray()}
        self.released: dict[Direction, list[tuple[int, int]]] = {REQUEST: [], RESPONSE: []}
        self.unread: set[Direction] = set()
        self.answer: ImmediateReply | None = None
        self.aborted = False
        self.was_duplex = self.was_early = self.was_lowered = False
        self._unanswered = {REQUEST: deque[bytes](), RESPONSE: deque[bytes]()}

    def __iter__(self) -> Iterator[tuple[Event, Sequence[Reply]]]:
        """Each event with the replies that came after it."""
        for event in self.events:
            yield event, self._take(event)
            if self.events.orderly and (self.aborted or isinstance(event, Closed)):
                break
        closed = Closed(CloseCause.FAILED if self.aborted else CloseCause.HALF_CLOSED)
        yield closed, self._take(closed)

    def came(self, direction: Direction) -> bytes:
        """What came of a body."""
        return bytes(self.events.sides[direction].came)

    def _take(self, event: Event) -> Sequence[Reply]:
        if isinstance(event, HeadersReceived):
            self.heads.setdefault(event.direction, event)
            if event.direction is RESPONSE and isinstance(self.policy, Judge):
                self.was_early = not self.policy.decided(Stage.REQUEST)
        elif isinstance(event, BodyReceived):
            self._unanswered[event.direction].append(event.data)
        if not isinstance(event, Tick | Closed):
            self.was_duplex = self.events.sides[event.direction].mode is BodyMode.FULL_DUPLEX_STREAMED
        outstanding = self.exchange.next_checkpoint()
        self.exchange.receive(event)
        if isinstance(event, Closed) and outstanding is not None:
            self.exchange.resolve(_LATE)
        if isinstance(event, Closed) or not self.events.paused:
            decide(self.exchange)
        replies = self.exchange.replies()
        for reply in replies:
            self._note_reply(reply)
        return replies

    def _note_reply(self, reply: Reply) -> None:
        sides = self.events.sides
        match reply:
            case ModesReply():
                sides[REQUEST].mode = reply.modes.request_body
            case HeadersReply():
                side = sides[reply.direction]
                side.answered = True
                if reply.modes is not None:
                    chosen = sides[RESPONSE].mode is BodyMode.FULL_DUPLEX_STREAMED
                    self.was_lowered = chosen and reply.modes.response_body is not BodyMode.FULL_DUPLEX_STREAMED
                    sides[RESPONSE].mode = reply.modes.response_body
                if reply.modes is not None and reply.direction is REQUEST:
                    side.mode = reply.modes.request_body
                if side.mode is BodyMode.NONE and not self.heads[reply.direction].end_of_stream and not self.answer:
                    self.unread.add(reply.direction)
            case BodyReply():
                waiting = self._unanswered[reply.direction]
                came = waiting.popleft() if waiting else b""
                self._leaves(reply.direction, came if reply.body is None else reply.body)
            case StreamedBody():
                self._leaves(reply.direction, reply.data)
            case ImmediateReply():
                self.answer = reply
                # What came while a decision took its time is worked off after it, and so taken for our answer.
                waits = self.events.has_paused and not sides[RESPONSE].answered
                self.events.own_answer = RESPONSE not in self.heads or waits
            case Abort():
                self.aborted = True

    def _leaves(self, direction: Direction, data: bytes) -> None:
        self.left[direction] += data
        if data and isinstance(self.policy, Judge):
            stage = Stage.REQUEST if direction is REQUEST else Stage.RESPONSE
            self.released[direction].append((len(self.left[direction]), self.policy.decided(stage)))
