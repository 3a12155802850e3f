"""The policies that only observe an answer: told of each message as it comes, without a checkpoint.

Rules:
- The same policies in the same order, the same conditions, times and entries in the trail as by `Pipeline.decide`: what
  differs is only that nothing is decided, so that nobody has to be asked.

Not here: which answers are only observed (pipeline.py, response_body.py), the call of a hook (run.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ext_proc.engine.run import Run
from ext_proc.messages import Message


class Observers:
    """Those of one answer.

    Args:
        runs: in the order in which they are told; none waits.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    def tell(self, message: Message) -> None:
        """Shows a message to all that want it. Never raises for a policy's fault."""
        for run in self._runs:
            if isinstance(message, run.hook.wants):
                run.at_once(message)
