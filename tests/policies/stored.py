"""Exchanges with models whose provider keeps what it answers, one after the other, on one store.

Not here: answers as values (unit/codecs/openai_responses_building.py), any policy but the one that is tested.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.codec import Codec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.codecs.openai_stored import OpenAiStoredCodec
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.limits import Limits
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Store
from ext_proc.testing import Cut, HttpResponse, Played, pass_through, request, response, whole
from gatehouse_policies.session_binding import Parameters, SessionBinding
from tests.policies.town import ANN, PATIENCE
from tests.unit.codecs.openai_responses_building import answer, asking, says

PATH = "/v1/responses"


def policy(**parameters: Any) -> SessionBinding:
    """The policy with these parameters; those in `stored` are what it is about here."""
    return SessionBinding("sessions", Parameters.model_validate(parameters))


def answered(*items: Any, id: str = "resp_1", **fields: Any) -> dict[str, Any]:
    """A whole answer; without `items` one message."""
    return answer(*(items or [says("hello")]), id=id, **fields)


class Provider:
    """One route to a provider, and one store."""

    def __init__(
        self,
        *bound: SessionBinding | Binding,
        store: Store | None = None,
        server: str = "",
        codecs: Sequence[Codec] = (OpenAiResponsesCodec(), OpenAiStoredCodec()),
    ) -> None:
        policies = [each if isinstance(each, Binding) else Binding(each, timeout=PATIENCE) for each in bound]
        pipeline = Pipeline(policies, time.monotonic)
        route = Route("models", RouteMatch(path="/"), "openai", tuple(codecs), pipeline, server=server)
        self.book = Rulebook("test", "r1", (route,), limits=Limits(decision=PATIENCE))
        self.store = EmbeddedStore.in_memory() if store is None else store
        self._exchanges = 0

    def ask(
        self,
        claims: Mapping[str, Any] | None = ANN,
        came: Any = None,
        *,
        path: str = PATH,
        status: int = 200,
        cut: Cut = whole,
        sent: Any = None,
        method: str = "POST",
        **fields: Any,
    ) -> Played:
        """Plays one request for a response.

        Args:
            came: the provider's answer, as a value, or as the bytes of an event stream.
            sent: the whole request, b"" for none; otherwise `fields` beside a model and an input.
        """
        if isinstance(came, bytes):
            back = HttpResponse(came, status, {"content-type": "text/event-stream"}, sized=False)
        else:
            back = response(answered() if came is None else came, status=status)
        self._exchanges += 1
        asked = request(asking(**fields) if sent is None else sent, path=path, claims=claims, method=method)
        return pass_through(self.book, asked, back, cut, store=self.store, trail_id=f"trail-{self._exchanges}")


def told(played: Played) -> tuple[int, dict[str, Any]]:
    """The status and the error that the client got, but for the trail's id."""
    assert played.client is not None
    error = dict(played.client.json["error"])
    assert error.pop("trail")
    return played.client.status, error
