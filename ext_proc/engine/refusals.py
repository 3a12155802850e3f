"""Answers of ours in place of an upstream's answer that has not begun to leave.

Rules:
- Every request of the exchange is told, with its own id, in the protocol's own shape.

Not here: denials of requests (scope.Scope.deny), the end of an answer that has begun to leave (response_body.py).
"""

from __future__ import annotations

from ext_proc.engine.scope import Scope
from ext_proc.messages import Message, Opaque
from ext_proc.policy import Deny, Respond
from ext_proc.trail import Stage

UNREADABLE = Deny("unreadable-answer", "the upstream's answer could not be read", status=502)
UNDECIDED = Deny("undecided-request", "the gateway was not asked about this request", status=500)
CANNOT_HOLD = Deny("mode-cannot-hold", "the gateway cannot decide about this answer before it leaves", status=500)
HELD_TOO_LONG = Deny("answer-too-slow", "the upstream's answer took too long", status=504)


def refuse(scope: Scope, denial: Deny | Respond) -> None:
    """Answers with a policy's own response, or tells every request that it was denied."""
    if isinstance(denial, Respond):
        scope.deny(Opaque("responded", ""), denial)
    else:
        refuse_all(scope, denial)


def refuse_all(scope: Scope, denial: Deny) -> None:
    """Answers every request of the exchange with one denial."""
    assert scope.codec is not None
    requests: list[tuple[Message, Deny]] = [(message, denial) for message in scope.requests]
    denials = requests + scope.refused or [(Opaque(denial.reason, denial.message), denial)]
    scope.answer(scope.codec.denial(denials, scope.exchanged.request, scope.trail.id, batch=len(denials) > 1))


def refuse_too_large(scope: Scope) -> None:
    """Puts the protocol's own error in the place of Envoy's 413 for a body past its buffer."""
    scope.engine_denial(Stage.REQUEST, "request-too-large")
    opaque = Opaque("request-too-large", "the body is larger than the gateway reads", too_large=True)
    scope.deny(opaque, Deny(opaque.reason, opaque.detail, status=413))
