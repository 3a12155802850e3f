"""The pages of confirm: on one a person decides about a request, and `/` lists the requests that wait for them.

Rules:
- To anybody who may not decide, a request that is there and one that never was are the same page: not found.
- The list holds what its reader may decide, and nothing else; to who may decide nothing here it is not found either.
- The page of a request shows who asks and for whom, the server, the tool and the exact arguments, with nothing hidden
  in them, and what a yes allows. All of it is escaped.
- A decision is a POST with a token of this policy's own, bound to the visitor, the request and the decision. A decision
  that was made stays: the same one again, or another, leads to the page that shows it.
- With a no a person may say why: it is told to who calls, and shown here.

Not here: who may decide (confirm_visitors.py), the frame, the origin of a form, the visitor's credential (the server).
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from typing import Literal

from ext_proc.policy import Page, Visit
from ext_proc.scanning.visible import visible
from gatehouse_policies.confirm_keys import Keys, Signature
from gatehouse_policies.confirm_requests import Request, Requests
from gatehouse_policies.confirm_visitors import By, fingerprint, may_decide, may_visit
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
    if visit.path == "/" and visit.method == "GET" and may_visit(visit.identity, by):
        return await _listed(visit, requests, by)
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
    decision = _DECISIONS[choice]
    why = visit.form.get("why", "") if decision == "denied" else ""
    decided, now = await requests.decide(kept, decision, visit.identity, visit.store, visit.time, why)
    return Page(see=here, reason=f"confirmation-{decided.decision}" if now else "")


async def _listed(visit: Visit, requests: Requests, by: By) -> Page:
    waiting = await requests.waiting(visit.identity, fingerprint(by), visit.store, visit.time)
    rows = "".join(
        f'<tr><td><a href="{_escaped(visit.base)}/r/{request.id}">{_code(request.tool)}</a></td>'
        f"<td>{_code(request.server)}</td><td>{_person(request.subject, '')}</td><td>{_time(request.asked)}</td></tr>\n"
        for request in waiting
        if may_decide(visit.identity, request, by)
    )
    if not rows:
        return Page(title="Nothing waits for you", body="<p>No call waits for your answer here.</p>")
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Tool", "Server", "In the name of", "Asked at"))
    body = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    note = "<p class=note>The newest are listed, a few of each caller. To the others only their links lead.</p>"
    return Page(title="Calls that wait for you", body=f"{body}{note}")


async def _shown(request: Request, visit: Visit, keys: Keys, expires: float) -> Page:
    title = "Allow this call?" if not request.decision else "This call was decided"
    facts = [
        ("Tool", _code(request.tool)),
        ("Server", _code(request.server)),
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
        said += f" The reason given: {_escaped(visible(request.why))}" if request.why else ""
        return Page(200, title, f"{body}<p class=warning>{said}{until}</p>\n{_others(visit)}")
    says = _escaped(allowed(request.uses, expires))
    body += (
        f"<p class=warning>A yes lets this tool be called with exactly these arguments, {says} from now. "
        f"It can be given until {_time(request.until)}.</p>\n"
        "<p><label for=why>If you deny it, why? The caller reads this; it may be a model.</label>"
        "<textarea id=why name=why form=deny rows=2 maxlength=500></textarea></p>\n<div class=choices>\n"
    )
    for choice, label, look in (("approve", "Approve", " class=yes"), ("deny", "Deny", "")):
        token = await _token(request, choice, visit, keys)
        body += (
            f'<form id="{choice}" method="post" action="{_escaped(visit.base)}/r/{request.id}">'
            f'<input type="hidden" name="decision" value="{choice}">'
            f'<input type="hidden" name="token" value="{_escaped(token)}">'
            f"<button{look}>{label}</button></form>\n"
        )
    return Page(200, title, f"{body}</div>\n{_others(visit)}")


def _person(subject: str, issuer: str, nobody: str = "somebody that nobody vouches for") -> str:
    if not subject:
        return _escaped(nobody)
    by = f' <span class="note">(by the word of {_escaped(name(issuer))})</span>' if issuer else ""
    return f"{_code(subject)}{by}"


def _code(text: str) -> str:
    return f"<code>{_escaped(name(text))}</code>"


def _others(visit: Visit) -> str:
    return f'<p><a href="{_escaped(visit.base)}/">What else waits for you</a></p>'


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
