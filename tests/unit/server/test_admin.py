"""What the admin endpoint shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.expressions import Expression
from ext_proc.headers import Headers
from ext_proc.policy import Context, Policy, Verdict
from ext_proc.server.admin import DEFAULT_LIMIT, Admin
from ext_proc.server.http import HttpRequest, HttpResponse
from ext_proc.telemetry.history import SIZE, History
from ext_proc.telemetry.metrics import Metrics
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word


class Hidden(BaseModel):
    value: str


class Guard(Policy[Hidden, None]):
    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        return None


def rulebook() -> Rulebook:
    guard = Guard("guard", Hidden(value="hush-parameter"))
    pipeline = Pipeline([Binding(guard, enforce=False, when=Expression("route == 'hush-condition'"))], lambda: 0.0)
    match = RouteMatch(path="/mcp", hosts=("a.example",), headers={"x-key": "hush-header"})
    return Rulebook("acme", "7", (Route("tools", match, "mcp", (), pipeline),), deny_unmatched=True)


class Setting:
    def __init__(self) -> None:
        self.history = History(wall_clock=lambda: 1_700_000_000.5)
        self.metrics = Metrics("eu")
        self.ready = True
        self.admin = Admin(
            rulebook=rulebook, ready=lambda: self.ready, metrics=self.metrics, history=self.history, region="eu"
        )

    async def get(self, path: str, **query: str) -> HttpResponse:
        return await self.admin.handle(HttpRequest(path, query))

    async def decisions(self, **query: str) -> list[dict[str, Any]]:
        response = await self.get("/decisions", **query)
        assert (response.status, response.content_type) == (200, "application/json")
        found: list[dict[str, Any]] = json.loads(response.body)["decisions"]
        return found


def trail(trail_id: str, outcome: Outcome = Outcome.OK, policy: str = "") -> Trail:
    made = Trail(trail_id, outcome=outcome)
    if policy:
        made.record(Entry(policy, Stage.REQUEST, Word.DENY, "no", 0.001, enforced=True))
    return made


async def test_it_is_alive_also_while_it_drains() -> None:
    setting = Setting()
    setting.ready = False
    assert (await setting.get("/healthz")).status == 200


async def test_it_is_ready_until_it_drains() -> None:
    setting = Setting()
    assert (await setting.get("/readyz")).status == 200
    setting.ready = False
    assert (await setting.get("/readyz")).status == 503


async def test_metrics_come_as_prometheus_text() -> None:
    setting = Setting()
    setting.metrics.in_force("acme", "7")
    response = await setting.get("/metrics")
    assert response.content_type.startswith("text/plain; version=")
    assert b'gatehouse_bundle_info{name="acme",region="eu",revision="7"} 1.0' in response.body


async def test_metrics_come_as_openmetrics_to_who_asks() -> None:
    request = HttpRequest("/metrics", headers=Headers.of(accept="application/openmetrics-text; version=1.0.0"))
    response = await Setting().admin.handle(request)
    assert response.content_type.startswith("application/openmetrics-text")
    assert response.body.endswith(b"# EOF\n")


async def test_the_bundle_is_shown_without_what_may_be_secret() -> None:
    response = await Setting().get("/bundle")
    assert response.content_type == "application/json"
    assert b"hush" not in response.body
    assert json.loads(response.body) == {
        "name": "acme",
        "revision": "7",
        "unmatched": "deny",
        "routes": [
            {
                "name": "tools",
                "protocol": "mcp",
                "match": {"path": "/mcp", "exact": "", "hosts": ["a.example"], "headers": ["x-key"]},
                "policies": ["guard"],
            }
        ],
        "policies": [
            {
                "name": "guard",
                "class": f"{Guard.__module__}:Guard",
                "mode": "shadow",
                "on_error": "deny",
                "conditional": True,
                "stages": ["request_headers"],
            }
        ],
    }


async def test_an_unknown_path_is_not_found() -> None:
    assert (await Setting().get("/debug")).status == 404


async def test_decisions_come_newest_first_up_to_a_limit() -> None:
    setting = Setting()
    for number in range(SIZE + 5):
        setting.history.record(trail(str(number)))
    assert [found["id"] for found in await setting.decisions(limit="2")] == ["1004", "1003"]
    assert len(await setting.decisions()) == DEFAULT_LIMIT
    everything = await setting.decisions(limit="1000")
    assert (len(everything), everything[-1]["id"]) == (SIZE, "5")


async def test_a_decision_is_the_whole_trail_with_time_and_region() -> None:
    setting = Setting()
    record = trail("a", Outcome.REFUSED, "guard")
    setting.history.record(record)
    (found,) = await setting.decisions()
    assert found == {"recorded": "2023-11-14T22:13:20.500+00:00", "region": "eu", **record.as_dict()}


async def test_decisions_are_filtered_by_id_outcome_and_policy() -> None:
    setting = Setting()
    setting.history.record(trail("a"))
    setting.history.record(trail("b", Outcome.REFUSED, "guard"))
    setting.history.record(trail("c", Outcome.REFUSED, "other"))

    async def ids(**query: str) -> list[str]:
        return [found["id"] for found in await setting.decisions(**query)]

    assert await ids(id="b") == ["b"]
    assert await ids(id="nobody") == []
    assert await ids(outcome="refused") == ["c", "b"]
    assert await ids(policy="guard") == ["b"]
    assert await ids(outcome="ok", policy="guard") == []
    assert await ids(id="a", outcome="refused") == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "x"},
        {"limit": "٣"},
        {"limit": "9" * 5000},
        {"outcome": "fine"},
        {"since": "1"},
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_in_words(query: dict[str, str]) -> None:
    response = await Setting().get("/decisions", **query)
    assert (response.status, response.content_type) == (400, "application/json")
    assert json.loads(response.body)["error"]


async def test_a_decision_with_bytes_that_are_no_text_is_shown() -> None:
    setting = Setting()
    record = trail("a")
    record.target = b"\xff".decode("utf-8", "surrogateescape")
    setting.history.record(record)
    (found,) = await setting.decisions()
    assert found["target"] == "\udcff"
