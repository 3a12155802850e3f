"""A stage with something to decide on, and what was decided.

Rules:
- The exchange hands out one checkpoint at a time and takes one decision for it.
- A decision is final: it holds the message as the policies left it, or one denial.

Not here: who decides (pipeline.py), what follows from it (exchange.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.events import NO_FACTS, EnvoyFacts
from ext_proc.identity import Identity
from ext_proc.messages import Message, TextWindow
from ext_proc.policy import Context, Deny, Exchanged, Mutation, Respond, Text, TextDeny
from ext_proc.trail import Stage

MOST_ASKED = 64  # questions that one exchange keeps for later
MOST_KEPT = 1024 * 1024  # bytes of messages


@dataclass(slots=True)
class Budget:
    """The seconds left for the hooks of all messages that came in one event: Envoy's `message_timeout` runs per
    ext_proc message, however many protocol messages are in it."""

    left: float


@dataclass(slots=True)
class Later:
    """What shadow policies are asked once the exchange is over, because they would have to be waited for.

    Attributes:
        asked: by whom (the position of the policy), at which stage, about which message; in the order of the exchange.
        left: bytes of messages that may still be kept.
    """

    asked: list[tuple[int, Stage, Message | None]] = field(default_factory=list)
    left: int = MOST_KEPT

    def keep(self, index: int, stage: Stage, message: Message | None) -> bool:
        """Whether it was kept: not where that would be too much."""
        size = 0 if message is None else len(message.raw)
        if len(self.asked) >= MOST_ASKED or size > self.left:
            return False
        self.left -= size
        self.asked.append((index, stage, message))
        return True


@dataclass(slots=True)
class Checkpoint:
    """What is to be decided.

    Attributes:
        stage: where the exchange stands.
        exchanged: the exchange as policies see it.
        contexts: the contexts of this exchange by position of the policy; the pipeline's own memory between stages.
        budget: what the hooks may take; the pipeline takes from it what they took.
        message: the message in question; None at the headers stages, for text, and at COMPLETE; at REQUEST_HEADERS
            what the headers say that the body is, once the hooks of that stage were asked.
        windows: of a text, what each policy is shown, by position of the policy.
        later: what waits for COMPLETE.
        facts: at stage IDENTITY, what Envoy verified and forwarded.
    """

    stage: Stage
    exchanged: Exchanged
    contexts: dict[int, Context[Any]]
    budget: Budget
    message: Message | None = None
    windows: Mapping[int, TextWindow] = field(default_factory=dict)
    later: Later = field(default_factory=Later)
    facts: EnvoyFacts = NO_FACTS


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts folded.

    Attributes:
        mutation: what the policies changed; its `message` is the last version, None where nobody changed it.
        denial: the first enforced Deny or Respond, which stopped the rest; None if it may go on.
        texts: of a text, the word of each policy that was shown a window, by its position.
        text_denial: of a text, the first enforced TextDeny, which stopped the rest.
        identity: at stage IDENTITY, who calls; None where that was denied.
        settled: of headers alone, whether every policy that would be asked about the body would let it pass unchanged.
    """

    mutation: Mutation = field(default_factory=Mutation)
    denial: Deny | Respond | None = None
    texts: Mapping[int, Text] = field(default_factory=dict)
    text_denial: TextDeny | None = None
    identity: Identity | None = None
    settled: bool = False


PASS = Decision()


@dataclass(frozen=True, slots=True)
class Pending:
    """What `Pipeline.decide` yields for an `async def` hook: the transport awaits it and sends the value back in.

    Attributes:
        awaitable: to be awaited; past `timeout` it is cancelled and TimeoutError thrown into the generator, as is any
            other exception of it.
        timeout: in seconds.
    """

    awaitable: Awaitable[Any]
    timeout: float
