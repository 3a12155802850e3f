"""The page on which a person decides about a request of confirm's.

Rules:
- To anybody who may not decide, a request that is there and one that never was are the same page: not found.
- It shows who asks and for whom, the server, the tool and the exact arguments, with nothing hidden in them, and what a
  yes allows. All of it is escaped.
- A decision is a POST with a token of this policy's own, bound to the visitor, the request and the decision. A decision
  that was made stays: the same one again, or another, leads to the page that shows it.

Not here: who may decide (confirm_visitors.py), the frame, the origin of a form, the visitor's credential (the server).
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from typing import Literal

from ext_proc.policy import Page, Visit
from gatehouse_policies.confirm_keys import Keys, Signature
from gatehouse_policies.confirm_requests import Request, Requests
from gatehouse_policies.confirm_visitors import By, may_decide
from gatehouse_policies.confirm_words import allowed, name, pretty

_PATH = re.compile(r"/r/([A-Za-z0-9_-]{22})", re.ASCII)
_PURPOSE = "form"
_NOT_FOUND = Page(404, "Not found", "<p>There is no such page.</p>")
_STALE = Page(
    403,
    "Please decide again",
    "<p class=warning>This form is not one that you were shown here, or it is too old. Nothing was decided: go back, "
    "load the page again, and decide there.</p>",
)
_DECISIONS: dict[str, Literal["approved", "denied"]] = {"approve": "approved", "deny": "denied"}
_DONE = {
    "approved": "It was allowed",
    "denied": "It was refused",
    "withdrawn": "It was refused by the client that was sent here",
}


def address(first: str, id: str) -> str:
    """The URL of a request's page.

    Args:
        first: that of the policy's first page.
    """
    return f"{first}/r/{id}"


async def show(visit: Visit, requests: Requests, keys: Keys, by: By, expires: float) -> Page:
    """The page for a visit.

    Args:
        expires: seconds for which a yes will hold.

    Raises:
        StoreError: the store failed.
    """
    found = _PATH.fullmatch(visit.path)
    kept = None if found is None else await requests.get(found[1], visit.store, visit.time)
    if kept is None or not may_decide(visit.identity, kept.request, by):
        return _NOT_FOUND
    request = kept.request
    if visit.method != "POST":
        return await _shown(request, visit, keys, expires)
    here = f"{visit.base}/r/{request.id}"
    choice = visit.form.get("decision", "")
    if choice not in _DECISIONS or not await _is_own(visit.form.get("token", ""), request, choice, visit, keys):
        return _STALE
    decided, now = await requests.decide(kept, _DECISIONS[choice], visit.identity, visit.store, visit.time)
    return Page(see=here, reason=f"confirmation-{decided.decision}" if now else "")


async def _shown(request: Request, visit: Visit, keys: Keys, expires: float) -> Page:
    title = "Allow this call?" if not request.decision else "This call was decided"
    facts = [
        ("Tool", f"<code>{_escaped(name(request.tool))}</code>"),
        ("Server", f"<code>{_escaped(name(request.server))}</code>"),
        ("In the name of", _person(request.subject, request.issuer)),
        ("Asked for by", _person(request.actor or request.client, "", "the same, without an agent that is known of")),
        ("Asked at", _time(request.asked)),
        ("Arguments", f"<pre dir=ltr tabindex=0>{_escaped(pretty(request.arguments))}</pre>"),
    ]
    listed = "".join(f"<dt>{term}</dt>\n<dd>{value}</dd>\n" for term, value in facts)
    body = f"<dl>\n{listed}</dl>\n"
    if request.decision:
        until = f" What it allows ends at {_time(request.until)}." if request.decision == "approved" else ""
        who = f" by {_person(request.decider_name, '')}" if request.decider_name else ""
        said = f"{_DONE[request.decision]}{who}, at {_time(request.decided)}."
        return Page(200, title, f"{body}<p class=warning>{said}{until}</p>")
    says = _escaped(allowed(request.uses, expires))
    body += (
        f"<p class=warning>A yes lets this tool be called with exactly these arguments, {says} from now. "
        f"It can be given until {_time(request.until)}.</p>\n<div class=choices>\n"
    )
    for choice, label, look in (("approve", "Approve", " class=yes"), ("deny", "Deny", "")):
        token = await _token(request, choice, visit, keys)
        body += (
            f'<form method="post" action="{_escaped(visit.base)}/r/{request.id}">'
            f'<input type="hidden" name="decision" value="{choice}">'
            f'<input type="hidden" name="token" value="{_escaped(token)}">'
            f"<button{look}>{label}</button></form>\n"
        )
    return Page(200, title, f"{body}</div>")


def _person(subject: str, issuer: str, nobody: str = "somebody that nobody vouches for") -> str:
    if not subject:
        return _escaped(nobody)
    by = f' <span class="note">(by the word of {_escaped(name(issuer))})</span>' if issuer else ""
    return f"<code>{_escaped(name(subject))}</code>{by}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _escaped(text: str) -> str:
    return html.escape(text)


def _signed(request: Request, choice: str, visit: Visit) -> str:
    return json.dumps([request.id, choice, visit.identity.key])


async def _token(request: Request, choice: str, visit: Visit, keys: Keys) -> str:
    signature = await keys.sign(_PURPOSE, _signed(request, choice, visit), visit.store, visit.time)
    return f"{signature.key}.{signature.mac}"


async def _is_own(token: str, request: Request, choice: str, visit: Visit, keys: Keys) -> bool:
    key, _, mac = token.rpartition(".")
    text = _signed(request, choice, visit)
    return await keys.verifies(Signature(key, mac), _PURPOSE, text, visit.store, visit.time)
