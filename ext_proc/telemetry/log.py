"""Two logs of JSON lines: what was decided (stdout), and what the process has to say (stderr).

Rules:
- One line in the decision log per exchange: a denial, and a credential that serves a human and an agent, is a warning;
  anything else is information.
- No payload. The text of an arbitrary exception may hold some: a fault is logged as its class and where it was raised.
- Loggers are made here and handed on; nothing configures structlog for others who use it in this process.

Not here: who is told first (recorder.py).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import structlog

from ext_proc.engine.identification import SHARED
from ext_proc.telemetry.encoding import to_json
from ext_proc.trail import Outcome, Stage, Trail

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FRAMES = 12  # the innermost frames of a fault that are logged


class Log(Protocol):
    """What is asked of a logger: an event in a few words, and its facts."""

    def debug(self, event: str, **facts: Any) -> Any: ...

    def info(self, event: str, **facts: Any) -> Any: ...

    def warning(self, event: str, **facts: Any) -> Any: ...

    def error(self, event: str, **facts: Any) -> Any: ...


def json_log(stream: BinaryIO, level: str = "info") -> Log:
    """A log that writes JSON lines to `stream`, each with `event`, `level` and `timestamp` (ISO 8601, UTC).

    Args:
        level: the lowest level that is written, one of `LEVELS`.

    Raises:
        KeyError: `level` is none of `LEVELS`.
    """
    log: Log = structlog.wrap_logger(
        structlog.BytesLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return log


def _serialize(event: dict[str, Any], **_: Any) -> bytes:
    return to_json(event)


def decision_log(log: Log, region: str) -> Callable[[Trail], None]:
    """The view that writes each trail to `log`."""

    def write(trail: Trail) -> None:
        denied = trail.denied is not None or trail.outcome is Outcome.REFUSED
        shared = any(entry.stage is Stage.IDENTITY and entry.reason == SHARED for entry in trail.entries)
        say = log.warning if denied or shared else log.info
        say("decision", region=region, **trail.as_dict())

    return write


def fault(error: BaseException) -> dict[str, Any]:
    """The facts of an exception that are safe to log: its class and the innermost frames, never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "error": type(error).__name__,
        "raised_at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


class StandardLibraryHandler(logging.Handler):
    """Brings what libraries say through `logging` into the process's log, a traceback reduced to `fault`'s facts."""

    def __init__(self, log: Log, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            facts |= fault(record.exc_info[1])
        try:
            say(record.getMessage(), **facts)
        except Exception:
            self.handleError(record)
