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

from ext_proc.messages import Message
from ext_proc.policy import Context, Deny, Exchanged, Mutation, Respond, Text, TextDeny, TextWindow
from ext_proc.trail import Stage


@dataclass(slots=True)
class Budget:
    """The seconds left for the hooks of all messages that came in one event: Envoy's `message_timeout` runs per
    ext_proc message, however many protocol messages are in it."""

    left: float


@dataclass(slots=True)
class Checkpoint:
    """What is to be decided.

    Attributes:
        stage: where the exchange stands.
        exchanged: the exchange as policies see it.
        contexts: the contexts of this exchange by position of the policy; the pipeline's own memory between stages.
        budget: what the hooks may take; the pipeline takes from it what they took.
        message: the message in question; None at the headers stages, for text, and at COMPLETE.
        windows: at stage TEXT, what each policy is shown of a channel, by position of the policy.
    """

    stage: Stage
    exchanged: Exchanged
    contexts: dict[int, Context[Any]]
    budget: Budget
    message: Message | None = None
    windows: Mapping[int, TextWindow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts folded.

    Attributes:
        mutation: what the policies changed; its `message` is the last version, None where nobody changed it.
        denial: the first enforced Deny or Respond, which stopped the rest; None if it may go on.
        texts: at stage TEXT, the word of each policy that was shown a window, by its position.
        text_denial: at stage TEXT, the first enforced TextDeny, which stopped the rest.
    """

    mutation: Mutation = field(default_factory=Mutation)
    denial: Deny | Respond | None = None
    texts: Mapping[int, Text] = field(default_factory=dict)
    text_denial: TextDeny | None = None


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
