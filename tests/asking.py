"""A small policy with pages, for tests: `type: tests.asking:Asking`. A person says yes, once, by a form with a token,
and not with the credential that the call came with.

Not here: who gets to it (tests/unit/server/test_pages.py, tests/envoy/test_pages.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from html import escape
from typing import Any

from pydantic import BaseModel

from ext_proc.identity import Kind
from ext_proc.messages import ToolCall
from ext_proc.policy import ABSENT, Context, Deny, Key, Page, Policy, StoreError, Verdict, Visit, Write

KEY = b"only a test's"


class Shown(BaseModel, extra="forbid"):
    """What the pages show."""

    text: str = "delete /srv?"
    markup: str = ""  # put into a page as it is, as no policy should


class Asking(Policy[Shown, None]):
    """Lets no tool be called before a person said yes on its page; an agent is shown nothing."""

    keeps_state = True
    has_pages = True

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        if await ctx.store.get(Key(ctx.identity.key, "yes")) is None:
            asked = Write(Key(ctx.identity.key, "asked"), ctx.identity.credential.encode(), 600.0)
            await ctx.store.write([asked])
            return Deny("ask-first", f"a person has to say yes: {ctx.pages}/")
        return None

    async def page(self, visit: Visit) -> Page:
        if visit.identity.kind is not Kind.HUMAN:
            return Page(403, "For people", "<p>This is for people.</p>", reason="no-person")
        asked = await visit.store.get(Key(visit.identity.key, "asked"))
        if asked is not None and asked.value == visit.identity.credential.encode():
            return Page(403, "Not by this", "<p>The call came with this.</p>", reason="own-credential")
        if visit.path == "/" and visit.method == "POST":
            return await self._said(visit)
        pages = {
            "/": self._ask,
            "/raw": self._raw,
            "/done": self._done,
            "/query": self._query,
            "/broken": self._broken,
            "/exit": self._exit,
            "/slow": self._slow,
            "/store": self._store,
            "/odd": self._odd,
            "/away": self._away,
            "/surrogate": self._surrogate,
        }
        return await pages.get(visit.path, super().page)(visit)

    async def _ask(self, visit: Visit) -> Page:
        return Page(
            title=f"Say yes, {visit.identity.subject}?",
            body=f"<pre>{escape(self.parameters.text)}</pre>"
            f'<form method=post action="{escape(visit.base)}/">'
            f'<input type=hidden name=token value="{_token(visit)}">'
            "<div class=choices><button class=yes name=answer value=yes>Yes</button>"
            "<button name=answer value=no>No</button></div></form>",
        )

    async def _said(self, visit: Visit) -> Page:
        if not hmac.compare_digest(visit.form.get("token", ""), _token(visit)):
            return Page(403, "Not asked", "<p>Nobody asked you that.</p>", reason="token-wrong")
        if visit.form.get("answer") != "yes":
            return Page(title="No", body="<p>Nothing will be done.</p>", reason="refused")
        await visit.store.write([Write(Key(visit.identity.key, "yes"), b"1", 600.0, ABSENT)])
        return Page(see=f"{visit.base}/done", reason="confirmed")

    async def _done(self, visit: Visit) -> Page:
        entry = await visit.store.get(Key(visit.identity.key, "yes"))
        return Page(title="Done" if entry else "Not done", body="<p>You may close this page.</p>")

    async def _raw(self, visit: Visit) -> Page:
        return Page(title=self.parameters.markup, body=self.parameters.markup)

    async def _query(self, visit: Visit) -> Page:
        return Page(title="Query", body=f"<p>{escape(repr(dict(visit.query)))} {visit.base} {visit.id}</p>")

    async def _broken(self, visit: Visit) -> Page:
        raise ValueError("a secret")

    async def _exit(self, visit: Visit) -> Page:
        raise SystemExit(3)

    async def _slow(self, visit: Visit) -> Page:
        await asyncio.Event().wait()
        raise AssertionError

    async def _store(self, visit: Visit) -> Page:
        raise StoreError("a secret")

    async def _odd(self, visit: Visit) -> Any:
        return "text"

    async def _away(self, visit: Visit) -> Page:
        return Page(see=visit.query["to"])

    async def _surrogate(self, visit: Visit) -> Page:
        return Page(title="\ud800", body="<p>\udfff</p>")


def _token(visit: Visit) -> str:
    return hmac.new(KEY, visit.identity.key.encode(), hashlib.sha256).hexdigest()
