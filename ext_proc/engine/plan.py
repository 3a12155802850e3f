"""The planner: which parts of an exchange Envoy is asked for, and how.

Rules:
- The filter's static configuration is the cheapest (headers only); each exchange asks for exactly what its route needs.
- BUFFERED for a request body that surely fits Envoy's buffer: one message, whose reply can still change headers and the
  route. For any other the body is moved to full duplex before the headers are answered (a standalone override), and
  they wait for it; past its buffer Envoy would answer 413, and a request that only trailers end passes a BUFFERED one
  without a word, for it has no body to hand over.
- A response's headers can be held back only in full duplex that was chosen with the *request*. Chosen so early it is
  never lowered: Envoy 1.40 sends a body that comes with its headers at once, and loses it when the mode changes
  meanwhile (docs/adr/0005). So it is reserved only where every answer would be decided anyway.
- STREAMED with empty replies where an answer is only read. It can hold nothing.
- Past the buffer limit Envoy answers a BUFFERED response with 500: only a length known to fit is buffered.

Not here: what happens with the bodies (request_body.py, response_body.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ext_proc.codecs.codec import Codec
from ext_proc.engine.route import Route
from ext_proc.events import BodyMode
from ext_proc.headers import content_length
from ext_proc.limits import Limits
from ext_proc.messages import Message, RequestHead, ResponseHead
from ext_proc.replies import Modes
from ext_proc.trail import Stage

NOTHING_MORE = Modes(response_headers=False)


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """What is asked for when the request's headers came.

    Attributes:
        body: NONE, BUFFERED, or FULL_DUPLEX_STREAMED with the headers reply held.
        reserve: full duplex for the response, so that its headers can be held until the body was decided.
        too_large: the declared length is past the limit: refuse before a byte of it is read.
    """

    body: BodyMode
    reserve: bool
    too_large: bool = False

    @property
    def modes(self) -> Modes:
        """The override that says so. Full duplex needs the trailers."""
        response = BodyMode.FULL_DUPLEX_STREAMED if self.reserve else BodyMode.NONE
        return Modes(
            request_body=self.body,
            response_body=response,
            request_trailers=self.body is BodyMode.FULL_DUPLEX_STREAMED,
            response_trailers=self.reserve,
        )


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What is asked for when the response's headers came.

    Attributes:
        body: the mode.
        hold_headers: whether the headers reply waits for the body (full duplex only): where something could answer in
            the body's place.
        edits: whether messages may be changed or denied, so that none may leave undecided.
    """

    body: BodyMode
    hold_headers: bool = False
    edits: bool = False

    @property
    def modes(self) -> Modes:
        """The override that says so. Trailers are asked for where the end of the body is to be seen."""
        return Modes(
            response_body=self.body,
            response_trailers=self.body in (BodyMode.STREAMED, BodyMode.FULL_DUPLEX_STREAMED),
        )


UNREAD = ResponsePlan(BodyMode.NONE)


def plan_request(
    route: Route, codecs: Sequence[Codec], head: RequestHead, body_follows: bool, limits: Limits
) -> RequestPlan:
    """The plan for a request that one of `codecs` reads; which one, the body may have to tell.

    Args:
        body_follows: False for a request that its headers alone decide (GET, DELETE).
    """
    # Any answer at all counts here: which one it will be is known only when the request's body came.
    reserve = all(route.pipeline.holds_all(Stage.RESPONSE, codec.answers(())) for codec in codecs)
    if not body_follows:
        return RequestPlan(BodyMode.NONE, reserve)
    length = content_length(head.headers)
    if not length or length > limits.envoy_buffer:
        # Nothing else may stand in a standalone override, so the response's mode is chosen with the response.
        too_large = length is not None and length > limits.request_body
        return RequestPlan(BodyMode.FULL_DUPLEX_STREAMED, reserve=False, too_large=too_large)
    return RequestPlan(BodyMode.BUFFERED, reserve, too_large=length > limits.request_body)


def plan_response(
    route: Route,
    codec: Codec,
    requests: Sequence[Message],
    response: ResponseHead,
    limits: Limits,
    *,
    joins: bool,
    reserved: bool,
    fixed: BodyMode | None = None,
) -> ResponsePlan:
    """The plan for an answer that `codec` can read.

    Args:
        requests: what it answers.
        joins: whether errors of ours join the answer.
        reserved: whether full duplex was chosen with the request, or is fixed.
        fixed: the mode of somebody else's configuration, not to be overridden; None where the choice is ours.
    """
    if response.end_of_stream:
        return UNREAD
    classes = codec.answers(requests)
    edits = joins or route.pipeline.guards(classes)
    if not edits and not route.read_answers and not route.pipeline.reads(classes):
        return UNREAD
    streams = codec.streams(response)
    if reserved:
        return ResponsePlan(BodyMode.FULL_DUPLEX_STREAMED, hold_headers=edits and not streams, edits=edits)
    if fixed is not None:
        return ResponsePlan(fixed, edits=edits)
    length = content_length(response.headers)
    if not streams and length is not None and length <= min(limits.envoy_buffer, limits.response_body):
        return ResponsePlan(BodyMode.BUFFERED, edits=edits)
    return ResponsePlan(BodyMode.FULL_DUPLEX_STREAMED if edits else BodyMode.STREAMED, edits=edits)
