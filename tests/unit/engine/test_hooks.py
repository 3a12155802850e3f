"""What a policy wants is read from its class."""

from __future__ import annotations

import pytest

from ext_proc.engine.hooks import hooks_of
from ext_proc.messages import McpRequest, Message, ToolCall, ToolList
from ext_proc.policy import (
    Context,
    NoParameters,
    Policy,
    RequestText,
    ResponseText,
    TextVerdict,
    TextWindow,
    Verdict,
)
from ext_proc.trail import Stage


class Quiet(Policy[NoParameters, None]):
    pass


class Full(Quiet):
    def on_request(self, message: ToolCall | ToolList, ctx: Context[None]) -> Verdict:
        return None

    async def on_response(self, message: Message, ctx: Context[None]) -> None:
        return None

    def on_complete(self, ctx: Context[None]) -> None:
        return None


def test_the_annotation_is_the_subscription() -> None:
    hook = hooks_of(Full("full", NoParameters()))[Stage.REQUEST]
    assert hook.wants == (ToolCall, ToolList)
    assert (hook.is_async, hook.observes) == (False, False)


def test_a_hook_that_returns_none_by_annotation_only_observes() -> None:
    hook = hooks_of(Full("full", NoParameters()))[Stage.RESPONSE]
    assert (hook.is_async, hook.observes) == (True, True)


def test_a_policy_has_only_the_hooks_that_it_defines() -> None:
    assert hooks_of(Quiet("quiet", NoParameters())) == {}
    assert set(hooks_of(Full("full", NoParameters()))) == {Stage.REQUEST, Stage.RESPONSE, Stage.COMPLETE}


class OfRequests(Quiet):
    def on_text(self, text: RequestText, ctx: Context[None]) -> TextVerdict:
        return None


class OfAnswers(Quiet):
    async def on_text(self, text: ResponseText, ctx: Context[None]) -> None:
        return None


class OfBoth(Quiet):
    def on_text(self, text: TextWindow, ctx: Context[None]) -> TextVerdict:
        return None


class OfEither(Quiet):
    def on_text(self, text: RequestText | ResponseText, ctx: Context[None]) -> TextVerdict:
        return None


@pytest.mark.parametrize(
    ("policy", "stages"),
    [
        (OfRequests, {Stage.REQUEST_TEXT}),
        (OfAnswers, {Stage.RESPONSE_TEXT}),
        (OfBoth, {Stage.REQUEST_TEXT, Stage.RESPONSE_TEXT}),
        (OfEither, {Stage.REQUEST_TEXT, Stage.RESPONSE_TEXT}),
    ],
)
def test_the_class_of_a_window_says_in_which_direction_text_is_wanted(policy: type[Quiet], stages: set[Stage]) -> None:
    assert hooks_of(policy("p", NoParameters())).keys() == stages


class WrongText(Quiet):
    def on_text(self, text: str, ctx: Context[None]) -> TextVerdict:
        return None


class TextWithoutAnnotation(Quiet):
    def on_text(self, text, ctx: Context[None]) -> TextVerdict:  # type: ignore[no-untyped-def]  # the fault under test
        return None


class Misspelt(Quiet):
    def on_requests(self, message: McpRequest, ctx: Context[None]) -> Verdict:
        return None


class Unannotated(Quiet):
    def on_request(self, message, ctx):  # type: ignore[no-untyped-def]  # the fault under test
        return None


class WrongMessage(Quiet):
    def on_request(self, message: str, ctx: Context[None]) -> Verdict:
        return None


class WrongShape(Quiet):
    def on_request(self, message: ToolCall) -> Verdict:
        return None


class UnknownName(Quiet):
    def on_request(self, message: "Nowhere", ctx: Context[None]) -> Verdict:  # type: ignore[name-defined]  # noqa: F821, UP037
        return None


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (Misspelt, "on_requests is no hook"),
        (Unannotated, "needs a return annotation"),
        (WrongMessage, "annotate its message with a class of ext_proc.messages"),
        (WrongShape, r"must take \(self, message, ctx\)"),
        (UnknownName, "cannot read its annotations"),
        (WrongText, "annotate its text with RequestText, ResponseText or TextWindow"),
        (TextWithoutAnnotation, "annotate its text with RequestText, ResponseText or TextWindow"),
    ],
)
def test_what_cannot_be_read_from_the_class_is_an_error_that_says_so(policy: type[Quiet], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        hooks_of(policy("p", NoParameters()))
