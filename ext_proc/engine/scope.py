"""What both directions of one exchange share: the rulebook it began with, its trail, and the way to ask and to answer.

Rules:
- The bundle that an exchange began with is the one it ends with.
- `ask` is the only way to the policies; `send` the only way to Envoy.

Not here: any event (exchange.py, request_side.py, response_side.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ext_proc.codecs.codec import Codec
from ext_proc.engine.checkpoint import PASS, Budget, Checkpoint, Decision, Later
from ext_proc.engine.route import Route, Rulebook
from ext_proc.events import BodyMode, Direction, EnvoyFacts
from ext_proc.framing.header_value import encode_header_value
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import Message, Opaque, RequestHead
from ext_proc.policy import Context, Deny, Exchanged, Mutation, Respond
from ext_proc.replies import NO_METADATA, ImmediateReply, Metadata, Modes, Reply, StreamedBody
from ext_proc.stores.store import Store
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word

NAMESPACE = "gatehouse"
CHUNK = 64 * 1024  # bytes; the most that Envoy wants in one message of full duplex
MAX_NAME = 256  # characters of a method's or target's name in the trail, headers and metadata

# A checkpoint goes out, its decision comes in.
Steps = Generator[Checkpoint, Decision, None]
Asked = Generator[Checkpoint, Decision, Decision]


class Scope:
    """One exchange's shared state.

    Attributes:
        route, codec: what governs it; None until the request's headers came, and for an exchange that nothing governs.
        requests: the messages of the request that went on to the upstream.
        refused: the messages of a batch that did not, with their denials; their errors join the answer.
        fixed_request, fixed_response: body modes of somebody else's filter configuration, which are worked with and not
            overridden; NONE for ours.
        reserved: whether full duplex was chosen for the response with the request.
        decided: whether the request was decided and went on.
        unread: whether it went on unread, as the route lists it: Envoy is not asked about its answer.
    """

    def __init__(self, rulebook: Rulebook, trail: Trail, store: Store) -> None:
        self.rulebook = rulebook
        self.trail = trail
        self.route: Route | None = None
        self.codec: Codec | None = None
        self.requests: list[Message] = []
        self.refused: list[tuple[Message, Deny]] = []
        self.fixed_request = BodyMode.NONE
        self.fixed_response = BodyMode.NONE
        self.reserved = False
        self.decided = False
        self.unread = False
        self._replied = False
        self.replies: list[Reply] = []
        self.contexts: dict[int, Context[Any]] = {}
        self.budget = Budget(rulebook.limits.decision)
        self.later = Later()
        self.facts: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        head = RequestHead("", "", "", Headers())
        self.exchanged = Exchanged(UNKNOWN, "", "", head, trail, store=store)
        self.exchanged.pages = rulebook.pages.url if rulebook.pages is not None else ""

    def override(self, modes: Modes) -> Modes | None:
        """The override to send; None under somebody else's fixed modes, where nothing tells whether it would count."""
        fixed = self.fixed_request is not BodyMode.NONE or self.fixed_response is not BodyMode.NONE
        return None if fixed else modes

    def has_replied(self) -> bool:
        """Whether the client has its answer from us."""
        return self._replied

    def begin(self, route: Route, head: RequestHead) -> None:
        """The request's headers came and `route` governs it."""
        self.route = route
        self.exchanged.route = self.trail.route = route.name
        self.exchanged.server = route.server or route.name
        self.exchanged.protocol = self.trail.protocol = route.protocol
        self.exchanged.request = head
        self.facts["protocol"] = route.protocol

    def identify(self, facts: EnvoyFacts) -> Asked:
        """Asks who calls, before anybody else is asked anything."""
        decision = yield Checkpoint(Stage.IDENTITY, self.exchanged, self.contexts, self.budget, facts=facts)
        identity = decision.identity
        if identity is not None:
            self.exchanged.identity = identity
            self.trail.kind = str(identity.kind)
            self.trail.subject, self.trail.actor = identity.subject[:MAX_NAME], identity.actor[:MAX_NAME]
            if identity.tenant:
                self.facts["tenant"] = identity.tenant
        return decision

    def send(self, reply: Reply) -> None:
        """Queues a reply."""
        self.replies.append(reply)

    def checkpoint(self, stage: Stage, message: Message | None = None) -> Checkpoint:
        """Something to decide on, within this exchange."""
        return Checkpoint(stage, self.exchanged, self.contexts, self.budget, message, later=self.later)

    def ask(self, stage: Stage, message: Message | None = None) -> Asked:
        """Puts a checkpoint to the policies and takes what they decided; header and routing facts are kept here."""
        decision = yield self.checkpoint(stage, message)
        if decision is not PASS:
            self.facts.update(decision.mutation.facts)
            self.metadata.update(decision.mutation.metadata)
        return decision

    def forward(self, came: Message, went: Message) -> None:
        """A message of the request goes on."""
        self.requests.append(went)
        self.exchanged.requests.append((came, went))

    def name_messages(self, messages: Sequence[Message]) -> None:
        """Writes what is asked into the trail and the facts; a batch has no one tool to route by."""
        methods = list(dict.fromkeys(message.method[:MAX_NAME] for message in messages if message.method))
        targets = list(dict.fromkeys(message.target[:MAX_NAME] for message in messages if message.target))
        self.trail.method = ",".join(methods)[:MAX_NAME]
        self.trail.target = ",".join(targets)[:MAX_NAME]
        if len(messages) > 1:
            self.facts["method"] = "batch"
        elif messages and messages[0].method:
            self.facts["method"] = messages[0].method[:MAX_NAME]
            if messages[0].names:
                self.facts[messages[0].names] = messages[0].target[:MAX_NAME]

    def routing_headers(self) -> HeaderMutation:
        """The facts as request headers, in values that any HTTP hop can carry."""
        prefix = self.rulebook.header_prefix
        return HeaderMutation(
            set=tuple(
                (prefix + name, encode_header_value(value[:MAX_NAME]).encode()) for name, value in self.facts.items()
            )
        )

    def settle(self) -> None:
        """Asks the policies that saw something of the exchange for their last figures."""
        self.exchanged.outcome = self.trail.outcome
        for index, context in self.contexts.items():
            assert self.route is not None, "without a route there are no policies"
            policy = self.route.pipeline.bindings[index].policy
            try:
                policy.settle(context)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # native code's panics too; the error's text may hold payload
                self.trail.note(f"the figures of {policy.name} failed: {type(error).__name__}")

    def described(self, *, final: bool) -> Metadata:
        """Dynamic metadata: what is known of the exchange; with the outcome once that is final."""
        values: dict[str, Any] = {"trail": self.trail.id, "route": self.trail.route, **self.facts, **self.metadata}
        if self.rulebook.revision:
            values["revision"] = self.rulebook.revision
        if final:
            self.settle()
            values.update(self.exchanged.measures)
            values["outcome"] = str(self.trail.outcome)
            denied = self.trail.denied
            if denied is not None:
                values["policy"], values["reason"] = denied.policy, denied.reason
        return {NAMESPACE: values}

    def engine_denial(self, stage: Stage, reason: str) -> None:
        """Records a denial of the engine's own."""
        self.trail.record(Entry("gatehouse", stage, Word.DENY, reason, 0.0, enforced=True))

    def answer(self, reply: ImmediateReply) -> None:
        """Answers the client in place of the upstream; nothing after this is governed."""
        self._replied = True
        self.trail.outcome = Outcome.REFUSED
        self.trail.status = reply.status
        denied = self.trail.denied
        details = "gatehouse" if denied is None else f"gatehouse_{denied.reason}"
        self.send(
            ImmediateReply(
                reply.status,
                reply.body,
                reply.headers,
                details=details.replace(" ", "_"),
                metadata=self.described(final=True),
            )
        )

    def opaque_denial(self, message: Opaque, *, allowed: bool) -> Deny | None:
        """The recorded denial of a request that cannot be read; None where it may pass.

        Args:
            allowed: whether `allow_opaque` may list it.
        """
        assert self.route is not None
        head = self.exchanged.request
        listed = allowed and any(rule.accepts(head, head.headers) for rule in self.route.allow_opaque)
        if listed or not self.route.pipeline.enforces:
            return None
        self.engine_denial(Stage.REQUEST, message.reason)
        return Deny(reason=message.reason, message=message.detail, status=413 if message.too_large else None)

    def deny(self, message: Message, denial: Deny | Respond) -> None:
        """Answers one denied message, in the protocol's shape or as the policy says."""
        if isinstance(denial, Respond):
            lines = tuple((name.lower(), value.encode()) for name, value in denial.headers)
            self.answer(ImmediateReply(denial.status, denial.body, lines))
            return
        assert self.codec is not None
        self.answer(self.codec.denial([(message, denial)], self.exchanged.request, self.trail.id))


def chunks(direction: Direction, body: bytes, *, end: bool, metadata: Metadata = NO_METADATA) -> Iterator[StreamedBody]:
    """`body` in pieces that full duplex can carry; the last carries the metadata, and ends the stream if `end`."""
    starts = range(0, len(body), CHUNK) if body or not end else (0,)
    for start in starts:
        last = start + CHUNK >= len(body)
        yield StreamedBody(direction, body[start : start + CHUNK], end and last, metadata if last else NO_METADATA)


def changed(mutation: Mutation, message: Message) -> Message | None:
    """The message that a mutation puts in the place of `message`; None where it leaves it."""
    return None if mutation.message is message else mutation.message
