"""What may leave where a policy decides about every message: nothing before it did, and nothing of what it denied.

Rules:
- What left, and when, is compared with what another decoder, fed whole, makes of what came.
- What the client or the upstream reads of what left is decided too: it is decoded once more.
- Where opaque traffic is listed it passes; what is malformed or too large never does.

Not here: the runs (event_run.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ext_proc.codecs.auto import candidates
from ext_proc.codecs.codec import Codec, Decoder, Frame, Match
from ext_proc.engine.decoding import SniffingDecoder, can_decode, coding_of, read_through
from ext_proc.engine.request_side import is_upgrade, request_head
from ext_proc.messages import Message, Opaque, RequestHead, ResponseHead
from ext_proc.trail import Stage
from tests.fuzz.event_lists import REQUEST, RESPONSE
from tests.fuzz.event_run import Judge, Run
from tests.fuzz.framing_laws import alike

_OURS = b'"trail":"t"'  # in every error that we make


def no_request_leaks(run: Run, judge: Judge) -> None:
    """A request goes on when all of it was decided."""
    left = bytes(run.left[REQUEST])
    assert run.listed or REQUEST not in run.unread, "a request went on unread"
    if not left:
        return
    head = request_head(run.heads[REQUEST])
    codec = _reader(run, head)
    if codec is None or codec.transport_message(head) is not None:
        assert run.listed, "a body that nobody reads went on"
        return
    came = _messages(_decoded(_request_decoder(run, head), run.came(REQUEST)))
    assert not (len(came) == 1 and _is_unfit(came[0])), "what cannot be read went on"
    readable = [message for message in came if not isinstance(message, Opaque)]
    assert readable or run.listed, "what cannot be read went on"
    assert all(decided >= len(readable) for _, decided in run.released[REQUEST]), "a request went on undecided"
    found = _messages(_decoded(codec.request_decoder(head, run.limits), left))
    assert not any(message.raw in _forbidden(judge, Stage.REQUEST) for message in found), "what was denied went on"


def no_answer_leaks(run: Run, judge: Judge) -> None:
    """An answer leaves message by message, as each was decided."""
    if list(run.heads) != [REQUEST, RESPONSE] or run.events.own_answer:
        return  # an earlier filter's answer, or ours
    request, status = request_head(run.heads[REQUEST]), run.heads[RESPONSE].headers.get(":status") or ""
    head = ResponseHead(int(status) if status.isascii() and status else 0, run.heads[RESPONSE].headers)
    failed, codec = head.status >= 400, _reader(run, request)
    assert failed or run.listed or RESPONSE not in run.unread, "an answer went on unread"
    left = bytes(run.left[RESPONSE])
    if not left or (failed and run.was_early):
        return  # an error where no request went on is Envoy's own
    if codec is None or not judge.allowed[Stage.REQUEST]:
        assert run.listed, "an answer to what nobody decided"
        return
    if not (codec.readable(head) and can_decode(head.headers)):
        assert failed or run.listed, "an answer that nobody reads has left"
        return
    if coding_of(head.headers):
        return

    def decoder() -> Decoder:
        return codec.response_decoder(judge.allowed[Stage.REQUEST], request, head, run.limits)

    frames = _decoded(decoder(), run.came(RESPONSE))
    forbidden = _forbidden(judge, Stage.RESPONSE) | {m.raw for m in _messages(frames) if _is_unfit(m)}
    allowed = {message.raw for message in judge.allowed[Stage.RESPONSE]}
    for message in _messages(_decoded(decoder(), left)):
        assert message.raw not in forbidden, "what was denied has left"
        is_known = isinstance(message, Opaque) or message.raw in allowed or _OURS in message.raw
        assert is_known, "a client reads what nobody decided"
    _left_in_time(run, frames, left, forbidden)


def _left_in_time(run: Run, frames: Sequence[Frame], left: bytes, forbidden: set[bytes]) -> None:
    """What left as it came was decided by then, up to the first frame in whose place something else stands."""
    same = alike(run.came(RESPONSE), left)
    at = decided_by_then = 0
    for frame in frames:
        if at >= same or any(message.raw in forbidden for message in frame.messages):
            return
        decided_by_then += sum(not isinstance(message, Opaque) for message in frame.messages)
        decisions = [decided for length, decided in run.released[RESPONSE] if length > at]
        assert all(decided >= decided_by_then for decided in decisions), "an answer left undecided"
        at += len(frame.raw)


def _reader(run: Run, head: RequestHead) -> Codec | None:
    """Who reads the request, as its headers tell, or else what came of its body; None if nobody can."""
    found = candidates(run.codecs, head)
    if not found or not can_decode(head.headers) or is_upgrade(head):
        return None
    chosen: list[Codec] = []
    if found[0].matches(head) is not Match.YES:
        sniffing = SniffingDecoder(found, head, run.limits, chosen.append)
        _decoded(read_through(sniffing, head.headers, run.limits), run.came(REQUEST))
    return chosen[0] if chosen else found[0]


def _request_decoder(run: Run, head: RequestHead) -> Decoder:
    found = candidates(run.codecs, head)
    if found[0].matches(head) is Match.YES:
        decoder = found[0].request_decoder(head, run.limits)
    else:
        decoder = SniffingDecoder(found, head, run.limits, lambda codec: None)
    return read_through(decoder, head.headers, run.limits)


def _is_unfit(message: Message) -> bool:
    return isinstance(message, Opaque) and (message.malformed or message.too_large)


def _forbidden(judge: Judge, stage: Stage) -> set[bytes]:
    """The bytes of messages that were denied, wherever they stand."""
    return {message.raw for message in judge.denied[stage]} - {message.raw for message in judge.allowed[stage]}


def _decoded(decoder: Decoder, data: bytes) -> list[Frame]:
    return [*decoder.feed(data), *decoder.close()]


def _messages(frames: Sequence[Frame]) -> list[Message]:
    return [message for frame in frames for message in frame.messages]
