"""The texts of a message that is all there (a request, a tool's result) on their way through the policies.

Rules:
- Each text is shown once, whole and closed; nothing waits.
- Texts are those of the message as its own policies left it, and are changed in it.
- What should be text and is not is denied where a policy could edit text: some reader may take it for text.

Not here: streamed answers (text_flow.py), where a message keeps its texts (the codecs).
"""

from __future__ import annotations

from collections.abc import Generator

from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.questions import Questions
from ext_proc.engine.scope import Scope
from ext_proc.engine.track import Track
from ext_proc.messages import Message, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Stage


def decide_texts(scope: Scope, stage: Stage, message: Message) -> Generator[Checkpoint, Decision, Message | Deny]:
    """Shows a message's texts to the policies.

    Args:
        stage: REQUEST_TEXT or RESPONSE_TEXT.

    Returns:
        The message with their edits, itself where there are none; or the denial.
    """
    assert scope.route is not None
    assert scope.codec is not None
    if not scope.route.pipeline.shows_text(stage, (type(message),)):
        return message
    limits = scope.rulebook.limits
    pieces = scope.codec.texts(message, limits)
    questions = Questions(scope, stage)
    if isinstance(pieces, Opaque):
        if not questions.counting:
            scope.trail.note(f"texts were not shown: {pieces.reason}")
            return message
        scope.engine_denial(stage, pieces.reason)
        return Deny(pieces.reason, pieces.detail, status=413 if pieces.too_large else 400)
    changed: dict[int, str] = {}
    for index, piece in enumerate(pieces):
        track = Track(piece.channel, questions.listeners, questions.counting, piece.form, limits)
        denial = yield from questions.ask(track.whole(piece.text))
        if denial is not None:
            return Deny(denial.reason, denial.message)
        text = track.rendered(0, piece.text) + track.tail()
        if text != piece.text:
            changed[index] = text
        if questions.out_of_time:
            break
    return scope.codec.with_texts(message, changed) if changed else message
