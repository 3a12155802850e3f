"""policies/bundles/a2a.yaml does what it says of agents: skills, methods, tasks, notifications, cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import examine
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import HttpRequest, pass_through, request, response
from tests.policies.agent_exchanges import hands_out, on_task, send

BUNDLE = Path(__file__).parents[3] / "policies" / "bundles" / "a2a.yaml"
ANN = {"iss": "idp", "sub": "ann", "sub_profile": "user", "groups": ["finance"]}
ANNS_AGENT = {**ANN, "act": {"sub": "helper"}}
PAT = {"iss": "idp", "sub": "pat", "sub_profile": "user"}
BOT = {"iss": "idp", "sub": "nightly", "client_id": "nightly"}


class Desk:
    def __init__(self) -> None:
        found = examine(BUNDLE)
        assert (found.problems, found.warnings) == ((), ())
        assert found.rulebook is not None
        self.book = found.rulebook
        self.store = EmbeddedStore.in_memory()

    def reason(self, message: Any, claims: dict[str, Any] | None, answer: Any = None) -> str:
        """Why it is denied; "" if it is not."""
        asked = request(message.raw, path="/a2a", claims=claims)
        played = pass_through(self.book, asked, response((answer or hands_out("t0")).raw), store=self.store)
        assert (played.upstream is None) is (played.trail.denied is not None)
        return "" if played.trail.denied is None else played.trail.denied.reason


@pytest.mark.parametrize(
    ("claims", "may"),
    [(ANN, {"pay", "talk", "cancel"}), (ANNS_AGENT, {"talk", "cancel"}), (PAT, {"talk", "cancel"}), (BOT, {"talk"})],
    ids=["finance", "finance's agent", "somebody else", "a bot"],
)
def test_each_caller_may_ask_for_what_it_says(claims: dict[str, Any], may: set[str]) -> None:
    here = Desk()
    assert here.reason(send(), claims, hands_out("t1")) == ""
    asked = {
        "pay": send(metadata={"skillId": "payments.transfer"}),
        "talk": send(metadata={"skillId": "weather"}),
        "cancel": on_task("CancelTask", "t1", "0.3"),
    }
    assert {name for name, message in asked.items() if not here.reason(message, claims)} == may


def test_who_is_not_known_gets_a_card_and_nothing_else() -> None:
    here = Desk()
    card = HttpRequest(method="GET", path="/.well-known/agent-card.json", headers={})
    played = pass_through(here.book, card, response({"name": "Travel"}), store=here.store)
    assert played.client is not None
    assert played.client.json == {"name": "Travel"}
    assert here.reason(send(), None) == "method-not-allowed"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://hooks.example.com/a", ""),
        ("https://eu.notify.example.com:8443/a", ""),
        ("https://eu.notify.example.com/a", "push-url-not-listed"),
        ("https://169.254.169.254/", "push-url-address"),
    ],
)
def test_notifications_go_where_it_says(url: str, reason: str) -> None:
    config = {"taskPushNotificationConfig": {"url": url}}
    assert Desk().reason(send(configuration=config), PAT) == reason
