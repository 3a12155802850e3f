"""A policy's hooks, read from its class: which stages it wants, which messages, and whether it may hold them back.

Rules:
- The annotation is the subscription: a hook's message class, or a union of them, is all it sees; and `on_text` sees the
  texts of one direction or both by the class of its window.
- `-> None` only observes; any other return annotation may change or deny.
- What cannot be read from the class is an error when the bundle is loaded.

Not here: calling a hook (pipeline.py).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from ext_proc.messages import Message, RequestText, ResponseText, TextWindow
from ext_proc.policy import Policy
from ext_proc.trail import Stage

_STAGES = {
    Stage.REQUEST_HEADERS: "on_request_headers",
    Stage.REQUEST: "on_request",
    Stage.REQUEST_TEXT: "on_text",
    Stage.RESPONSE_HEADERS: "on_response_headers",
    Stage.RESPONSE: "on_response",
    Stage.RESPONSE_TEXT: "on_text",
    Stage.COMPLETE: "on_complete",
}
_WITH_MESSAGE = (Stage.REQUEST, Stage.RESPONSE)
# What `on_text` is shown; a hook annotated with their common class has both stages.
WINDOWS: Mapping[Stage, type[TextWindow]] = {Stage.REQUEST_TEXT: RequestText, Stage.RESPONSE_TEXT: ResponseText}
_TWO_ARGUMENTS = (*_WITH_MESSAGE, *WINDOWS)


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of one policy.

    Attributes:
        call: the bound method.
        wants: the message classes it subscribes to; () at stages without a message.
        is_async: whether it returns an awaitable.
        observes: whether it can neither change nor deny.
    """

    call: Callable[..., Any]
    wants: tuple[type[Message], ...]
    is_async: bool
    observes: bool


def hooks_of(policy: Policy[Any, Any]) -> dict[Stage, Hook]:
    """The hooks that `policy` defines, by stage.

    Raises:
        TypeError: a hook without the annotations that its subscription is read from, or a misspelt `on_` method.
    """
    known = set(_STAGES.values())
    for name in dir(type(policy)):
        if name.startswith("on_") and name not in known:
            raise TypeError(f"{type(policy).__qualname__}.{name} is no hook; hooks are {', '.join(sorted(known))}")
    found: dict[Stage, Hook] = {}
    for stage, name in _STAGES.items():
        function = getattr(type(policy), name, None)
        if function is None:
            continue
        where = f"{type(policy).__qualname__}.{name}"
        parameters = [parameter for parameter in inspect.signature(function).parameters if parameter != "self"]
        expected = 2 if stage in _TWO_ARGUMENTS else 1
        if len(parameters) != expected:
            first = "text, " if stage in WINDOWS else "message, "
            raise TypeError(f"{where} must take (self, {first if expected == 2 else ''}ctx)")
        try:
            hints = get_type_hints(function)
        except NameError as error:
            raise TypeError(f"{where}: cannot read its annotations ({error})") from error
        if "return" not in hints:
            raise TypeError(f"{where} needs a return annotation: Verdict, or None if it only observes")
        if stage in WINDOWS and not _is_shown(WINDOWS[stage], hints.get(parameters[0]), where):
            continue
        found[stage] = Hook(
            call=getattr(policy, name),
            wants=_classes(hints.get(parameters[0]), where) if stage in _WITH_MESSAGE else (),
            is_async=inspect.iscoroutinefunction(function),
            observes=hints["return"] is type(None),
        )
    return found


def _is_shown(window: type[TextWindow], annotation: Any, where: str) -> bool:
    """Whether an `on_text` hook with this annotation is shown such windows."""
    options = _options(annotation)
    for option in options:
        if not (isinstance(option, type) and issubclass(option, TextWindow)):
            known = "RequestText, ResponseText or TextWindow (both directions)"
            raise TypeError(f"{where}: annotate its text with {known}, not {option!r}")
    return issubclass(window, options)


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _classes(annotation: Any, where: str) -> tuple[type[Message], ...]:
    options = _options(annotation)
    for option in options:
        if not (isinstance(option, type) and issubclass(option, Message)):
            raise TypeError(f"{where}: annotate its message with a class of ext_proc.messages, not {option!r}")
    return options
