"""All that a plug-in author imports: Policy, verdicts, Context.

Rules:
- A policy is one class with `Parameters` (a pydantic model) and `State` (lives for one exchange).
- The annotation of a hook's message is its subscription: `def on_response(self, message: ToolList, ctx)` sees tool
  lists only, `def on_text(self, text: RequestText, ctx)` texts of requests only (TextWindow: both directions).
- A hook annotated `-> None` only observes; one annotated `-> Verdict` may hold the message back until it has decided.
- `def` hooks compute, `async def` hooks do I/O. A `def` hook must not block: its time is measured, too late counts as
  an error.
- A policy may be shared by many exchanges at once: what belongs to one exchange lives in `ctx.state`.

Not here: how verdicts are folded (engine/pipeline.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel

from ext_proc.bundle_file import BundleFile, BundlePath
from ext_proc.expressions import Condition, Expression, ExpressionError, Formula
from ext_proc.headers import HeaderMutation
from ext_proc.identity import Identity
from ext_proc.messages import (
    Channel,
    ChannelKind,
    HeadersOnly,
    Message,
    RequestHead,
    RequestText,
    ResponseHead,
    ResponseText,
    Role,
    TextWindow,
)
from ext_proc.pages import Page, Visit
from ext_proc.secret import Secret
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import ABSENT, NO_STORE, Count, Counted, Entry, Key, Store, StoreError, Write
from ext_proc.trail import Outcome, Trail
from ext_proc.units import Period
from ext_proc.verdicts import Deny, Edit, Mutation, Respond, Text, TextDeny, TextVerdict, Verdict

__all__ = [
    "ABSENT",
    "BundleFile",
    "BundlePath",
    "Channel",
    "ChannelKind",
    "Condition",
    "Context",
    "Count",
    "Counted",
    "Deny",
    "Edit",
    "Entry",
    "Exchanged",
    "Expression",
    "ExpressionError",
    "Formula",
    "HeaderMutation",
    "Key",
    "Keyspace",
    "Mutation",
    "NoParameters",
    "Page",
    "Period",
    "Policy",
    "RequestText",
    "Respond",
    "ResponseText",
    "Role",
    "Secret",
    "StoreError",
    "Text",
    "TextDeny",
    "TextVerdict",
    "TextWindow",
    "Verdict",
    "Visit",
    "Write",
]

Parameters = TypeVar("Parameters", bound=BaseModel)
State = TypeVar("State")

OPENING = 10.0  # seconds that a policy may take to open, or to close
MAX_MEASURES = 64
MAX_MEASURE = 128  # characters of a measure's value
_FIGURES = (str, int, float)


@dataclass(slots=True)
class Exchanged:
    """What all contexts of one exchange share; written by the engine alone.

    Attributes:
        now: the transport's monotonic time in seconds, as of the last event.
        time: its seconds since the Unix epoch, as of the last event.
        store: where policies keep what outlives the exchange.
        pages: what the URLs of policies' pages start with; "" where the bundle has no pages.
        outcome: how the exchange ended; meaningful in `on_complete`.
        variables: the CEL activation, as far as it belongs to the exchange; made by the first who asks.
        measures: figures that policies gave.
        requests: the messages of the request that went on, each as it came and as it went.
    """

    identity: Identity
    route: str
    protocol: str
    request: RequestHead
    trail: Trail
    server: str = ""
    now: float = 0.0
    time: float = 0.0
    store: Store = NO_STORE
    pages: str = ""
    response: ResponseHead | None = None
    outcome: Outcome = Outcome.OK
    variables: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, str | int | float | bool] = field(default_factory=dict)
    requests: list[tuple[Message, Message]] = field(default_factory=list)


class Context(Generic[State]):
    """One policy's view of one exchange.

    Attributes:
        state: what `Policy.new_state` gave at the exchange's first hook; the policy's own until the exchange is over.
        deadline: the monotonic time in seconds by which the hook must have answered.
    """

    __slots__ = ("_exchanged", "_policy", "_reason", "_space", "deadline", "state")

    def __init__(self, exchanged: Exchanged, state: State, policy: str = "", *, shadow: bool = False) -> None:
        self._exchanged = exchanged
        self._policy = policy
        # What a shadow policy keeps is its own: nothing that enforces reads it, nor does itself once it enforces.
        self._space = "shadow." if shadow else ""
        self._reason = ""
        self.state = state
        self.deadline = float("inf")

    @property
    def identity(self) -> Identity:
        return self._exchanged.identity

    @property
    def route(self) -> str:
        """The route's name in the bundle."""
        return self._exchanged.route

    @property
    def protocol(self) -> str:
        """The route's `protocol` in the bundle."""
        return self._exchanged.protocol

    @property
    def server(self) -> str:
        """The upstream's name in the bundle: the route's, unless it names another."""
        return self._exchanged.server

    @property
    def request(self) -> RequestHead:
        return self._exchanged.request

    @property
    def response(self) -> ResponseHead | None:
        """The response's head, once it came."""
        return self._exchanged.response

    @property
    def now(self) -> float:
        """Monotonic seconds, as of the last event: the only clock that a recorded exchange can repeat."""
        return self._exchanged.now

    @property
    def time(self) -> float:
        """Seconds since the Unix epoch, as of the last event; for what the world dates (tokens, expiries)."""
        return self._exchanged.time

    @property
    def store(self) -> Keyspace:
        """What this policy keeps beyond the exchange, by its name in the bundle; for `async def` hooks."""
        return Keyspace(self._exchanged.store, self._space + self._policy)

    def shared(self, space: str) -> Keyspace:
        """What several policies keep together, by a name that they agree on."""
        return Keyspace(self._exchanged.store, f"{self._space}shared.{space}")

    @property
    def pages(self) -> str:
        """The URL of this policy's first page, e.g. "https://gate.example.com/gatehouse/ask"; "" where the bundle does
        not say where people find pages (`pages.url`)."""
        return f"{self._exchanged.pages}/{self._policy}" if self._exchanged.pages else ""

    @property
    def trail_id(self) -> str:
        return self._exchanged.trail.id

    @property
    def revision(self) -> str:
        """The bundle's."""
        return self._exchanged.trail.revision

    @property
    def measures(self) -> Mapping[str, str | int | float | bool]:
        """The figures that this and other policies gave so far."""
        return self._exchanged.measures

    @property
    def requests(self) -> Sequence[tuple[Message, Message]]:
        """The messages of the request that went on, each as it came and as it went; known once it was decided."""
        return self._exchanged.requests

    @property
    def path(self) -> Sequence[str]:
        """The policies that had a word so far, each with its gravest: "access:allow"; ":shadow" where it did not
        count."""
        return self._exchanged.trail.path()

    @property
    def outcome(self) -> Outcome:
        """How the exchange ended; meaningful in `settle` and `on_complete`."""
        return self._exchanged.outcome

    @property
    def cause(self) -> str:
        """Whether it came to its end ("complete"), or why it was over before; meaningful in `on_complete`."""
        return self._exchanged.trail.cause

    def variables(self, message: Message | None = None) -> Mapping[str, Any]:
        """The CEL activation: `identity`, `request`, `route`, `server`, and for a message `message` and `args`.

        The part that belongs to the exchange is built once and shared by all policies.
        """
        shared = self._exchanged.variables
        if not shared:
            head = self._exchanged.request
            shared.update(
                identity=self._exchanged.identity.as_variables(),
                route=self._exchanged.route,
                server=self._exchanged.server,
                request={
                    "method": head.method,
                    "path": head.path,
                    "host": head.authority,
                    "headers": {name: _printable(value) for name, value in reversed(head.headers.lines)},
                },
            )
        if message is None:
            return shared
        return {**shared, "message": message.as_variables(), "args": getattr(message, "arguments", {})}

    def because(self, reason: str) -> None:
        """Says why, for the trail, where the verdict is no denial: e.g. which rule allowed it. Never payload."""
        self._reason = reason

    def measure(self, name: str, value: str | int | float | bool) -> None:
        """Puts a figure about the exchange into the trail and Envoy's dynamic metadata. Never payload.

        Args:
            name: lower case with underscores, e.g. "input_tokens"; the last value of a name counts.

        Raises:
            ValueError: the value is no figure or short text, or there are more than MAX_MEASURES names.
        """
        if not isinstance(value, _FIGURES) or len(str(value)) > MAX_MEASURE:
            raise ValueError("a measure is a number, a boolean or a short text")
        if name not in self._exchanged.measures and len(self._exchanged.measures) >= MAX_MEASURES:
            raise ValueError(f"an exchange has at most {MAX_MEASURES} measures")
        self._exchanged.measures[name] = value

    def take_reason(self) -> str:
        """The reason given since the last hook, for the engine."""
        reason, self._reason = self._reason, ""
        return reason


def _printable(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class NoParameters(BaseModel, extra="forbid"):
    """For a policy that has nothing to set."""


class Policy(Generic[Parameters, State]):
    """A plug-in: subclass it, define the hooks you need, register it under the entry point group `gatehouse.policies`.

    Hooks, each `def` or `async def`, all optional:
        on_request_headers(self, ctx) -> Verdict
        on_request(self, message: <class>, ctx) -> Verdict
        on_response_headers(self, ctx) -> Verdict
        on_response(self, message: <class>, ctx) -> Verdict
        on_text(self, text: RequestText | ResponseText, ctx) -> TextVerdict
        on_complete(self, ctx) -> None

    Args:
        name: the policy's name in the bundle.
        parameters: the validated parameters.
    """

    # Whether it keeps state beyond the exchange: then several hosts need a store that they share.
    keeps_state: ClassVar[bool] = False
    # Whether it has to see answers as the upstream gave them: then none that changes them stands behind it on a route.
    sees_answers_first: ClassVar[bool] = False
    # Whether it has pages for people, which `page` makes.
    has_pages: ClassVar[bool] = False
    # Whether calls that a model proposes have to be whole when it sees them: then a streamed answer waits from a call's
    # name until its arguments have come, in shadow too. A policy may set it by its parameters.
    wants_whole_calls: bool = False
    # The kinds of text that `on_text` is called for.
    channels: ClassVar[frozenset[ChannelKind]] = frozenset(ChannelKind)

    def __init__(self, name: str, parameters: Parameters) -> None:
        self.name = name
        self.parameters = parameters

    async def open(self) -> None:
        """Opens what the policy needs while its bundle is in force: a file, a connection, a task.

        Called once, on the loop that its hooks run on, before the bundle comes into force; never by `gatehouse check`,
        and not for a policy that is off or on no route. It has OPENING seconds.

        Raises:
            Exception: the bundle is refused: at the start the process ends, at a reload the one before stays in force.
                The text is told to the operator.
        """

    async def close(self) -> None:
        """Closes it, once, after `open`, when no exchange and no visit to a page runs under the policy's bundle."""

    def weaknesses(self) -> Sequence[str]:
        """What may be set up so and is probably not meant, in sentences, for `gatehouse check` and the log."""
        return ()

    def new_state(self) -> State:
        """A fresh state for one exchange; None unless overridden."""
        return None  # type: ignore[return-value]  # State is None for a policy that does not override this

    def by_headers(self, message: HeadersOnly, ctx: Context[State]) -> bool | Deny | None:
        """What `on_request` would say of the request whose headers these are: its denial; True to let it pass;
        False where only the body tells; None where it may also change what is asked, so that no later policy can tell.
        """
        return None

    def settle(self, ctx: Context[State]) -> None:
        """The last figures (`ctx.measure`), which are known only when all has come.

        It is called where the policy saw something of the exchange: before Envoy is told how that ended, and before
        `on_complete`; so perhaps more than once, each time with what came until then. It computes, and briefly. What it
        raises is noted in the trail.
        """

    def challenge(self, error: str) -> str:
        """`www-authenticate` for a caller whose credential does not hold (RFC 6750 section 3); "" where it is not its
        matter. `error` is "invalid_token". The first enforcing policy of a route with a word of its own is taken."""
        return ""

    async def page(self, visit: Visit) -> Page:
        """The page for a person's visit below the policy's own path; called only where `has_pages`, and only for who
        is verified. See pages.py.

        Raises:
            StoreError: the visitor is told to come again (503). Any other exception is a fault (500).
        """
        return Page(404, "Not found", "<p>There is no such page.</p>")

    @classmethod
    def parameters_model(cls) -> type[BaseModel]:
        """The pydantic model of the policy's parameters, from its `Policy[Parameters, State]` base.

        Raises:
            TypeError: the class does not name its model.
        """
        for klass in cls.__mro__:
            for base in getattr(klass, "__orig_bases__", ()):
                origin = get_origin(base)
                if isinstance(origin, type) and issubclass(origin, Policy):
                    model = get_args(base)[0]
                    if isinstance(model, type) and issubclass(model, BaseModel):
                        return model
        raise TypeError(f"{cls.__qualname__} must derive from Policy[Parameters, State] with a pydantic model")
