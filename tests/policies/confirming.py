"""Calls that need a yes, those who say it, and the visits of a page: for the tests of confirm.

Not here: any test.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ext_proc.engine.pipeline import Binding
from ext_proc.headers import Headers
from ext_proc.identity import Identity, Kind, from_claims
from ext_proc.messages import RequestHead, ToolCall
from ext_proc.pages import PublicPages
from ext_proc.policy import Context, Exchanged, Keyspace, Page, Respond, Visit
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Store
from ext_proc.testing import HttpResponse, Played, call, response
from ext_proc.trail import Trail
from gatehouse_policies.confirm import Confirm, Parameters
from tests.policies import town
from tests.policies.town import MODERN, PATIENCE, Town

PAGES = "https://gate.example.com/gatehouse/ask"
KEY = "gatehouse-confirm"
ANN: Mapping[str, Any] = {**town.ANN, "jti": "calls-for-ann"}
ANNS_AGENT: Mapping[str, Any] = {**town.ANNS_AGENT, "jti": "agent-of-ann"}
BOB: Mapping[str, Any] = {**town.BOB, "jti": "calls-for-bob"}
ARGUMENTS = {"path": "/srv/a"}
FORM: Mapping[str, Any] = {"form": {}}
URL: Mapping[str, Any] = {"url": {}}
ANN_IN_A_BROWSER = Identity(kind=Kind.HUMAN, issuer=ANN["iss"], subject="ann", credential="browser-of-ann")
BOB_IN_A_BROWSER = Identity(
    kind=Kind.HUMAN, issuer=ANN["iss"], subject="bob", groups=("sre",), credential="browser-of-bob"
)


def policy(**parameters: Any) -> Confirm:
    return Confirm("ask", Parameters.model_validate({"tools": ["delete_*"], **parameters}))


def _now() -> float:
    return time.time()  # looked up each time: a test may have put it ahead


class Gate(Town):
    """A route with confirm, whose pages people find at PAGES."""

    def __init__(
        self, confirm: Confirm | None = None, *more: Any, store: Store | None = None, pages: bool = True, **route: Any
    ) -> None:
        self.confirm = policy() if confirm is None else confirm
        bound = Binding(self.confirm, timeout=PATIENCE)
        super().__init__(bound, *more, store=EmbeddedStore.in_memory(_now) if store is None else store, **route)
        if pages:
            self.book = replace(self.book, pages=PublicPages("https://gate.example.com", "/gatehouse"))

    def call(
        self,
        arguments: Any = ARGUMENTS,
        *,
        tool: str = "delete_file",
        claims: Mapping[str, Any] | None = ANN,
        elicitation: Mapping[str, Any] | None = FORM,
        version: str = MODERN,
        answer: HttpResponse | None = None,
        **params: Any,
    ) -> Played:
        """One call of the tool; `params` as the wire has them."""
        sent = call(tool, arguments)
        if version == MODERN:
            capabilities = {} if elicitation is None else {"elicitation": elicitation}
            sent["params"]["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": capabilities,
            }
        sent["params"] |= params
        headers = {"mcp-method": "tools/call", "mcp-name": tool} if version == MODERN else {}
        return self.play(sent, answer, claims, version=version, headers=headers)

    def retry(self, asked: Played | str, said: Any = None, arguments: Any = ARGUMENTS, **more: Any) -> Played:
        """The same call again, with the state and an answer; by default a yes."""
        state = asked if isinstance(asked, str) else state_of(asked)
        return self.call(arguments, requestState=state, inputResponses={KEY: YES if said is None else said}, **more)

    def visit(
        self,
        path: str,
        who: Identity = ANN_IN_A_BROWSER,
        form: Mapping[str, str] | None = None,
        confirm: Confirm | None = None,
    ) -> Page:
        """A visit of the page; a POST if there is a form."""
        visit = Visit(
            method="GET" if form is None else "POST",
            path=path,
            base="/gatehouse/ask",
            identity=who,
            store=Keyspace(self.store, "ask"),
            time=time.time(),
            id="visit-1",
            form=form or {},
        )
        return asyncio.run((confirm or self.confirm).page(visit))

    def decide(self, path: str, choice: str = "approve", who: Identity = ANN_IN_A_BROWSER) -> Page:
        """Looks at the page, and presses one of its buttons."""
        return self.visit(path, who, forms_of(self.visit(path, who))[choice])


YES = {"action": "accept", "content": {"confirmed": True}}
DECLINE = {"action": "decline"}


def context_of(
    gate: Gate, claims: Mapping[str, Any] = ANN, store: Store | None = None, version: str = MODERN
) -> Context[Any]:
    """What the policy is given with a call, outside of the engine."""
    head = RequestHead("POST", "/mcp", "tools.example", Headers([("mcp-protocol-version", version.encode())]))
    identity = from_claims(claims, credential=str(claims.get("jti", "")))
    exchanged = Exchanged(identity, "tools", "mcp", head, Trail("t"), "tools", time=time.time())
    exchanged.store, exchanged.pages = store or gate.store, PAGES.rpartition("/")[0]
    return Context(exchanged, gate.confirm.new_state(), "ask")


async def asked_at_once(
    gate: Gate,
    *sent: Mapping[str, Any],
    claims: Mapping[str, Any] = ANN,
    store: Store | None = None,
    version: str = MODERN,
) -> list[str]:
    """What the policy says of the params of calls that are all made at the same time: "on", or the reason."""

    async def one(params: Mapping[str, Any]) -> str:
        context = context_of(gate, claims, store, version)
        verdict = await gate.confirm.on_request(ToolCall({**call("delete_file"), "params": params}), context)
        return getattr(verdict, "reason", "on")

    return list(await asyncio.gather(*map(one, sent)))


async def state_for(gate: Gate, store: Store) -> str:
    """The state that a client with forms is handed out for ARGUMENTS, with what is kept in this store."""
    params = {"name": "delete_file", "arguments": ARGUMENTS}
    params["_meta"] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": FORM}}
    verdict = await gate.confirm.on_request(
        ToolCall({**call("delete_file"), "params": params}), context_of(gate, store=store)
    )
    assert isinstance(verdict, Respond)
    return str(json.loads(verdict.body)["result"]["requestState"])


def state_of(played: Played) -> str:
    """The state that the gate handed out."""
    return str(result_of(played)["requestState"])


def result_of(played: Played) -> Any:
    assert played.client is not None
    return played.client.json["result"]


def error_of(played: Played) -> Any:
    assert played.client is not None
    return played.client.json["error"]


def elicitation_of(played: Played) -> Any:
    """The params of the one elicitation."""
    (request,) = result_of(played)["inputRequests"].values()
    assert request["method"] == "elicitation/create"
    return request["params"]


def path_of(text: str) -> str:
    """The path of the page whose address stands in a text, below the policy's."""
    (found,) = re.findall(re.escape(PAGES) + r"(/r/[A-Za-z0-9_-]{22})", text)
    return str(found)


def forms_of(page: Page) -> dict[str, dict[str, str]]:
    """The fields of a page's forms, by what they decide."""
    forms = re.findall(r'name="decision" value="(\w+)"><input type="hidden" name="token" value="([^"]+)"', page.body)
    return {choice: {"decision": choice, "token": token} for choice, token in forms}


def word(played: Played) -> str:
    """The reason of the policy's word about the request."""
    return played.trail.entries[0].reason


def asks_for_more(state: str | None = "v1.of-the-server") -> HttpResponse:
    """A server that asks for input itself."""
    result: dict[str, Any] = {
        "resultType": "input_required",
        "inputRequests": {"size": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}},
    }
    if state is not None:
        result["requestState"] = state
    return response({"jsonrpc": "2.0", "id": 1, "result": result})
