"""Who calls, decided before any policy is asked: the word of the bundle's sources of identity, as a decision.

Rules:
- A credential that does not hold is answered with 401 and `invalid_token` (RFC 6750 section 3.1), in the protocol's own
  error shape, and reaches neither a policy nor the upstream. Why it does not hold stands in the trail alone.
- Keys that are not known are waited for once, for as long as the hooks of one message may take; then the answer is 401,
  or 503 where nothing tells whether the credential holds.
- Where a policy knows how its clients get a credential, the challenge is its own (RFC 9728 section 5.1).
- That a credential serves a human and an agent is noted; it does not deny.

Not here: the sources (credentials/).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Any

from ext_proc.credentials.chain import Chain
from ext_proc.credentials.source import KeyMissing, Presented, Rejected
from ext_proc.engine.checkpoint import Checkpoint, Decision, Pending
from ext_proc.engine.pipeline import Binding
from ext_proc.identity import Identity
from ext_proc.policy import Deny, Respond
from ext_proc.trail import Entry, Stage, Word

SHARED = "credential-shared"
ERROR = "invalid_token"
INVALID = Deny(
    "invalid-credential",
    "the credential is not valid",
    status=401,
    headers=(("www-authenticate", f'Bearer error="{ERROR}"'),),
)
UNAVAILABLE = Deny(
    "identity-unavailable", "who is calling cannot be told at present", status=503, headers=(("retry-after", "1"),)
)


class Identification:
    """Decides checkpoints of stage IDENTITY, as a pipeline decides the others.

    Args:
        clock: monotonic seconds, for durations only.
    """

    def __init__(self, chain: Chain, clock: Callable[[], float]) -> None:
        self.chain = chain
        self._clock = clock

    def decide(self, checkpoint: Checkpoint) -> Generator[Pending, Any, Decision]:
        """Who calls, or the denial.

        Yields:
            Pending where keys have to be fetched first; known keys never wait.
        """
        started = self._clock()
        presented = Presented(checkpoint.exchanged.request.headers, checkpoint.facts, checkpoint.exchanged.time)
        found = yield from self.identify(presented, checkpoint.budget.left)
        spent = self._clock() - started
        checkpoint.budget.left -= spent
        trail = checkpoint.exchanged.trail
        if isinstance(found, Identity):
            if found.shared:
                trail.record(Entry("gatehouse", Stage.IDENTITY, Word.ALLOW, SHARED, spent, enforced=True))
                trail.note(f"credential {found.credential} serves a human and an agent")
            return Decision(identity=found)
        trail.record(Entry("gatehouse", Stage.IDENTITY, Word.DENY, found.reason, spent, enforced=True))
        return Decision(denial=UNAVAILABLE if found.unavailable else INVALID)

    def identify(self, presented: Presented, patience: float) -> Generator[Pending, Any, Identity | Rejected]:
        """Who presents this, or why it does not hold.

        Args:
            patience: seconds that keys may be waited for.

        Yields:
            Pending where keys have to be fetched first; known keys never wait.
        """
        found = self.chain.identify(presented)
        if not isinstance(found, KeyMissing):
            return found
        refreshed = found.keys.refresh()
        if refreshed is None:
            return found.rejected
        try:
            yield Pending(refreshed, max(patience, 0.0))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:  # too late, or a fault of who fetches: neither makes the credential invalid
            return Rejected("keys-unavailable", unavailable=True)
        found = self.chain.identify(presented)
        return found.rejected if isinstance(found, KeyMissing) else found


def challenged(denial: Deny | Respond, bindings: Iterable[Binding]) -> Deny | Respond:
    """The denial with the challenge of the route's first enforcing policy that has one."""
    if denial is not INVALID:
        return denial
    for binding in bindings:
        if not binding.enforce:
            continue
        try:
            challenge = binding.policy.challenge(ERROR)
        except Exception:  # the caller is refused all the same, in our own words
            continue
        if challenge:
            return replace(INVALID, headers=(("www-authenticate", challenge),))
    return denial
