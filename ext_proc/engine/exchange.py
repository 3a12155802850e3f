"""One HTTP exchange: events in, checkpoints out for decision, replies out for Envoy. Sans-IO, and without a clock.

Rules:
- Outside full duplex exactly one reply answers one event.
- Events are worked off in the order they came; one checkpoint is outstanding at a time. A piece of an answer that is
  only observed leads to none.
- `Closed` ends everything: an outstanding checkpoint is dropped, and one with stage COMPLETE follows, exactly once.
- OK (`Finish`) is sent only after Envoy's half-close: a clean end of ours before it would let the rest through unread.
- An event that breaks ext_proc's rules aborts the RPC with an error status, so that Envoy fails closed.

Not here: what each event leads to (request_side.py, response_side.py), who decides (pipeline.py), I/O (server/).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ext_proc.engine.checkpoint import Budget, Checkpoint, Decision
from ext_proc.engine.identification import Identification
from ext_proc.engine.pipeline import Pipeline
from ext_proc.engine.request_side import RequestSide
from ext_proc.engine.response_side import ResponseSide
from ext_proc.engine.route import Rulebook
from ext_proc.engine.scope import Scope, Steps
from ext_proc.errors import ProtocolError
from ext_proc.events import (
    BodyReceived,
    CloseCause,
    Closed,
    Direction,
    Event,
    HeadersReceived,
    Tick,
    TrailersReceived,
)
from ext_proc.replies import Abort, Finish, Reply
from ext_proc.stores.store import NO_STORE, Store
from ext_proc.trail import Outcome, Stage, Trail

_NOBODY = Pipeline((), lambda: 0.0)


class Exchange:
    """One exchange.

    Args:
        rulebook: the bundle it begins and ends with.
        trail_id: the id that a denied client is told.
        store: where policies keep what outlives the exchange.

    Attributes:
        trail: the record; final once COMPLETE was resolved.
    """

    def __init__(self, rulebook: Rulebook, trail_id: str, store: Store = NO_STORE) -> None:
        self.trail = Trail(trail_id, revision=rulebook.revision)
        self._scope = Scope(rulebook, self.trail, store)
        self._request = RequestSide(self._scope)
        self._response = ResponseSide(self._scope)
        self._inbox: deque[HeadersReceived | BodyReceived | TrailersReceived] = deque()
        self._steps: Steps | None = None
        self._checkpoint: Checkpoint | None = None
        self._handed_out = False
        self._started = False
        self._silent = False
        self._closed = False
        self._aborted = False

    @property
    def pipeline(self) -> Pipeline | Identification:
        """Whose `decide` is to be run for the outstanding checkpoint."""
        if self._checkpoint is not None and self._checkpoint.stage is Stage.IDENTITY:
            return self._scope.rulebook.identity
        return _NOBODY if self._scope.route is None else self._scope.route.pipeline

    @property
    def over(self) -> bool:
        """Whether COMPLETE was resolved: nothing more will happen."""
        return self._closed and self._checkpoint is None

    def receive(self, event: Event) -> None:
        """Takes one event, and tells those who only observe. Whatever it holds, this does not raise; after `Closed`
        further events are ignored."""
        if isinstance(event, Tick):
            self._tick(event)
        elif self._closed:
            return
        elif isinstance(event, Closed):
            self._close(event.cause)
        elif not self._aborted and not self._observed(event):
            self._inbox.append(event)
            self._work()

    def next_checkpoint(self) -> Checkpoint | None:
        """What is to be decided now; the same one until it is resolved."""
        self._handed_out = self._checkpoint is not None
        return self._checkpoint

    def resolve(self, decision: Decision) -> None:
        """Takes the decision on the checkpoint last handed out; does nothing if `Closed` came in between."""
        if not self._handed_out or self._checkpoint is None:
            return
        self._handed_out = False
        if self._checkpoint.stage is Stage.COMPLETE:
            self._checkpoint = None
            self.trail.duration = self._scope.exchanged.now - self.trail.started
            return
        self._step(decision)
        self._work()

    def replies(self) -> Sequence[Reply]:
        """The replies that are due, in order; each is handed out once. An Abort or Finish is the last."""
        replies, self._scope.replies = self._scope.replies, []
        if self._silent:
            return [reply for reply in replies if isinstance(reply, Abort | Finish)]
        return replies

    def wake_at(self) -> float | None:
        """The monotonic time in seconds at which a Tick is wanted; None if none is."""
        side = self._holding()
        if side is None or side.held_since is None:
            return None
        return side.held_since + self._scope.rulebook.limits.hold

    def _holding(self) -> RequestSide | ResponseSide | None:
        """The side that holds a headers reply back; never both."""
        if self._closed or self._aborted:
            return None
        for side in (self._request, self._response):
            if side.held_since is not None:
                return side
        return None

    def _tick(self, tick: Tick) -> None:
        now = tick.now
        if not self._started:
            self._started = True
            self.trail.started = now
        self._scope.exchanged.now, self._scope.exchanged.time = now, tick.time
        wake_at = self.wake_at()
        if wake_at is not None and now >= wake_at and self._steps is None:
            side = self._holding()
            assert side is not None
            side.expire()

    def _work(self) -> None:
        """Works off events until one waits for a decision."""
        while self._steps is None and self._inbox and not self._aborted:
            event = self._inbox.popleft()
            if isinstance(event, HeadersReceived):
                self._silent = self._silent or event.facts.observability_mode
            # Envoy's message_timeout starts anew with each of its messages.
            self._scope.budget.left = self._scope.rulebook.limits.decision
            side = self._request if event.direction is Direction.REQUEST else self._response
            self._steps = side.steps(event)
            self._step(None)

    def _observed(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> bool:
        """Works off what nobody has to decide about: a piece of an answer that is only observed. Whether it is one."""
        if self._steps is not None or not isinstance(event, BodyReceived) or event.direction is Direction.REQUEST:
            return False
        self._scope.budget.left = self._scope.rulebook.limits.decision
        return self._response.observe(event)

    def _step(self, decision: Decision | None) -> None:
        assert self._steps is not None
        try:
            self._checkpoint = self._steps.send(decision)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration:
            self._steps = self._checkpoint = None
        except ProtocolError as error:
            self._steps = self._checkpoint = None
            self._aborted = True
            self._inbox.clear()
            self.trail.note(str(error))
            self.trail.outcome = self.trail.outcome.worse(Outcome.INVALID)
            self._scope.send(Abort(str(error)))

    def _close(self, cause: CloseCause) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        self._inbox.clear()
        self._closed = True
        # Envoy resets the RPC after a complete exchange too: a cause tells something only where something was missing.
        complete = self._response.complete and cause is not CloseCause.FAILED
        self.trail.cause = "complete" if complete else cause.value
        self._response.close()
        self._scope.settle()
        self.trail.facts = {**self._scope.facts, **self._scope.exchanged.measures}
        if cause is CloseCause.HALF_CLOSED and not self._aborted:
            self._scope.send(Finish())
        self._handed_out = False
        scope = self._scope
        self._checkpoint = Checkpoint(
            Stage.COMPLETE, scope.exchanged, scope.contexts, Budget(float("inf")), later=scope.later
        )
