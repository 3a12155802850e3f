"""A policy as a bundle set it up, for one route.

Not here: what a hook is (hooks.py), asking it (run.py), the order of policies (pipeline.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.engine.hooks import hooks_of
from ext_proc.expressions import Expression
from ext_proc.policy import Policy


class Binding:
    """A policy as a bundle set it up.

    Args:
        policy: the plug-in.
        enforce: False for `mode: shadow` (a policy that is off is not bound at all).
        deny_on_error: `on_error: deny`.
        timeout: seconds for one call of an `async def` hook.
        when: the policy has a say only where this holds.

    Raises:
        TypeError: a hook's annotations are not readable.
    """

    __slots__ = ("deny_on_error", "enforce", "hooks", "policy", "timeout", "when")

    def __init__(
        self,
        policy: Policy[Any, Any],
        *,
        enforce: bool = True,
        deny_on_error: bool = True,
        timeout: float = 0.050,
        when: Expression | None = None,
    ) -> None:
        self.policy = policy
        self.enforce = enforce
        self.deny_on_error = deny_on_error
        self.timeout = timeout
        self.when = when
        self.hooks = hooks_of(policy)
