"""The steps of the tour: what is asked by whom, and what must come of it.

Rules:
- A step says what the client must see, and which exchange, outcome and reason must be on record.

Not here: how it is asked (asks.py, asks_of_people.py), walking and showing the steps (walk.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.demo.asks import (
    ADMIN,
    AGENTS,
    ANALYST,
    ASSISTANT,
    DELETES,
    HOSTED,
    NOBODY,
    PINNED,
    PROPOSING,
    Ask,
    Seen,
    calls,
    chats,
    functions,
    gets,
    is_challenged,
    is_pulled,
    is_sent_elsewhere,
    lists,
    lists_and_calls,
    posts,
    repeats,
    takes_over,
)
from ext_proc.demo.asks_of_agents import diverts, gives, spies
from ext_proc.demo.asks_of_people import says, visits
from ext_proc.demo.record import Exchange, is_about


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        asked: what is asked, for the reader.
        caller: one of NOBODY, ANALYST, ADMIN, ASSISTANT.
        ask: does it, and says what the client saw.
        sees: text that must be in it.
        exchange: method and target of the exchange on record, a target of None being any; None where no route may
            govern it.
        outcome, reason: what must be on record; a reason of "" is not looked at.
        facts: those that must be on record, perhaps among others.
    """

    asked: str
    caller: str
    ask: Ask
    sees: str
    exchange: Exchange | None
    outcome: str = "ok"
    reason: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    def is_fulfilled(self, seen: Seen, decision: Mapping[str, Any] | None) -> bool:
        """Whether the client saw what it must see, and the decision on record is the one that it must be.

        Args:
            decision: the trail on record as /decisions shows it; None where the exchange passed ungoverned.
        """
        if self.sees not in seen.text or (decision is None) != (self.exchange is None):
            return False
        if decision is None or self.exchange is None:
            return True
        reasons = {entry["reason"] for entry in decision["entries"]}
        return (
            is_about(decision, self.exchange)
            and decision["outcome"] == self.outcome
            and (not self.reason or self.reason in reasons)
            and self.facts.items() <= decision["facts"].items()
            # A refused client is told where to look; nobody else is.
            and seen.trail == (decision["id"] if self.outcome == "refused" else "")
        )


_SMUGGLED = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    b'"params":{"name":"search","name":"delete_file","arguments":{"path":"/"}}}'
)
# A header for what reads headers only, and a body for the server.
_TWO_FACED = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search"}
ASKS_USAGE = {"stream_options": {"include_usage": True}}
LIST, CALL, CHAT, TASK = "tools/list", "tools/call", "chat", "GetTask"
STEPS: tuple[Step, ...] = (
    Step("list the tools", NOBODY, lists(NOBODY, "legacy"),
         "search, docs.read, docs.report, docs.statistics, docs.echo, docs.order", (LIST, ""),
         reason="hid 2 of 8 tools"),
    Step("list them on the wire of 2026-07-28", ADMIN, lists(ADMIN, "2026-07-28"),
         "search, docs.read, delete_file, docs.report", (LIST, ""), reason="hid 1 of 8 tools"),
    Step("search for a word", NOBODY, calls(NOBODY, "legacy", "search", query="queue"),
         "runbook", (CALL, "search"), reason="rules[1]"),
    Step("a report that takes its time", ANALYST, calls(ANALYST, "legacy", "docs.report"),
         "the report is done (after 5 progress", (CALL, "docs.report"), reason="rules[1]"),
    Step("statistics as structured content", ANALYST, calls(ANALYST, "2026-07-28", "docs.statistics"),
         '"documents": 3', (CALL, "docs.statistics"), reason="rules[1]"),
    Step("text in any script", NOBODY, calls(NOBODY, "2026-07-28", "docs.echo", text="Grüße, 世界 🌍"),
         "Grüße, 世界 🌍", (CALL, "docs.echo"), reason="rules[1]"),
    Step("a document that is not there: a failure inside HTTP 200", NOBODY,
         calls(NOBODY, "2026-07-28", "docs.read", name="salaries"),
         "tool error: ", (CALL, "docs.read"), "tool_error", "rules[1]"),
    Step("delete a file", ANALYST, calls(ANALYST, "legacy", "delete_file", path="/tmp/x"),
         "error -31403: deleting needs the admin group", (CALL, "delete_file"), "refused", "tool-not-allowed"),
    Step("delete a file", ADMIN, calls(ADMIN, "2026-07-28", "delete_file", path="/tmp/x"),
         "deleted /tmp/x", (CALL, "delete_file"), reason="rules[2]"),
    Step("a tool that no rule names", ADMIN, calls(ADMIN, "2026-07-28", "export_salaries"),
         "error -31403: this tool is not allowed here", (CALL, "export_salaries"), "refused", "tool-not-allowed"),
    Step("a call cut off in the middle", NOBODY, posts(_SMUGGLED[:60]),
         "HTTP 400, error -32700", ("", ""), "refused", "json-malformed"),
    Step("a call with two names, for two readers", NOBODY, posts(_SMUGGLED),
         "HTTP 400, error -32700", ("", ""), "refused", "json-duplicate-key"),
    Step("something that is not MCP", NOBODY, posts(b"DROP TABLE users", "text/plain"),
         "HTTP 403, error -31403", ("", ""), "refused", "not-this-protocol"),
    Step("read a document by its number", NOBODY, lists_and_calls(NOBODY, "2026-07-28", "docs.read", name=5),
         "These arguments do not fit the tool. name: expected text.", (CALL, "docs.read"), "refused",
         "arguments-invalid"),
    Step("a text that the bundle does not let through", ANALYST,
         lists_and_calls(ANALYST, "legacy", "docs.echo", text="<script>"),
         "text: expected text that matches ^[a-z ]+$.", (CALL, "docs.echo"), "refused", "arguments-invalid"),
    Step("a call whose headers name another tool", NOBODY, posts(DELETES, lines={**AGENTS, **_TWO_FACED}),
         "HTTP 400, error -32020: the header Mcp-Name", (CALL, "delete_file"), "refused", "header-mismatch"),
    Step("the same search, four times in a row", ANALYST, repeats(4, ANALYST, "2026-07-28", "search", query="queue"),
         "tool error: this call was made 3 times", (CALL, "search"), "refused", "identical-calls"),
    Step("ping in a session that an admin opened", ANALYST, takes_over(ANALYST, ADMIN),
         "HTTP 404, error -32600: session not found", ("", ""), "refused", "session-unknown",
         facts={"session_of_another": True}),
    Step("delete a file behind OAuth, without a token", NOBODY, is_challenged(NOBODY),
         "HTTP 401, Bearer resource_metadata=", ("", ""), "refused", "token-needed"),
    Step("the same with a token that is for less", ADMIN, is_challenged(ADMIN),
         'error="insufficient_scope"', (CALL, "delete_file"), "refused", "scope-missing"),
    Step("list the tools again, after the server says something else of one", ANALYST,
         is_pulled(ANALYST, "2026-07-28"), "6 tools, and then 5: without docs.echo", (LIST, ""),
         reason="held back 1 of 8 tools: changed"),
    Step("call that tool", ANALYST, calls(ANALYST, "2026-07-28", "docs.echo", PINNED, text="hello"),
         "this tool is held back until somebody has looked", (CALL, "docs.echo"), "refused", "tool-quarantined"),
    Step("delete a file; the client asks its user, who says yes", ASSISTANT,
         says(True, ASSISTANT, "2026-07-28", "/srv/a"), "then: deleted /srv/a", (CALL, "delete_file"),
         reason="confirmed"),
    Step("delete a file; the user says no", ASSISTANT, says(False, ASSISTANT, "2026-07-28", "/srv/b"),
         "then: the person who was asked said no", (CALL, "delete_file"), "refused", "confirmation-declined"),
    Step("delete a file on a wire without forms; the yes is said at a page", ASSISTANT, visits(ASSISTANT, "/srv/c"),
         "taken with 303; then: deleted /srv/c", (CALL, "delete_file"), reason="confirmed"),
    Step("a server that sends people to a page that looks right", ANALYST, is_sent_elsewhere(ANALYST, "2026-07-28"),
         "error -31403: the server asked for elicitation", (CALL, "docs.order"), "refused", "url-not-listed"),
    Step("give an agent a task", ANALYST, gives(ANALYST), "the agent asks back", (TASK, None), reason="rules[0]"),
    Step("look at a task that an admin gave the agent", ANALYST, spies(ANALYST, ADMIN), "TaskNotFound",
         (TASK, None), "refused", "task-unknown"),
    Step("have the agent call an address inside of its network", ADMIN, diverts(ADMIN),
         "notifications cannot be sent to this URL", ("CreateTaskPushNotificationConfig", None), "refused",
         "push-url-address"),
    Step("chat with a model that may search the web", ANALYST,
         chats("small", forged="model-a", lines=HOSTED, more={"web_search_options": {}}), "PermissionDeniedError",
         (CHAT, "small"), "refused", "hosted-tool-not-allowed"),
    Step("chat with a model by its alias", ANALYST, chats("small", forged="model-a"),
         "small: This is model-b. You said: who are you?", (CHAT, "small"), reason="upstream model-b",
         facts={"upstream": "model-b", "model": "model-b", "input_tokens": 3, "output_tokens": 8,
                "cost": "0.00000525", "currency": "EUR"}),
    Step("chat as a stream, the routing header forged, a million tokens asked for", ANALYST,
         chats("model-a", forged="model-b", stream=True, max_tokens=1_000_000, more=ASKS_USAGE),
         "model-a: This is model-a. You said: who are you? (in 8 pieces, and usage)", (CHAT, "model-a"),
         reason="changed max_tokens",
         facts={"upstream": "model-a", "usage_reported": True, "output_tokens": 8, "cost": "0.0000875"}),
    Step("a model proposes to search, and to delete a file: as a stream", ANALYST,
         chats("model-a", forged="model-b", stream=True, lines=PROPOSING,
               more={"tools": functions("search", "delete_file")}),
         "(in 8 pieces), and calls search", (CHAT, "model-a"), reason="stripped: rules[1]",
         facts={"proposals_denied": 1, "usage_reported": True}),
    Step("a model that nobody listed", ANALYST, chats("model-x", forged="model-a"),
         "NotFoundError: ", (CHAT, "model-x"), "refused", "model-unknown"),
    Step("a page that no route is for", NOBODY, gets("/"), "HTTP 404", None),
)  # fmt: skip
