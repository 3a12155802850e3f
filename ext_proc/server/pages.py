"""The pages of policies for people, on a listener of their own that stands behind Envoy.

Rules:
- The path is the bundle's `pages.url`, then the policy, then what the policy makes of it; Envoy leads it here
  unchanged, `Host` too, which must be the one of `pages.url`: another name for us is nobody's link (DNS rebinding).
- A visitor is known by the bundle's own chain, from the headers of the visit. Nobody without a credential that holds
  sees any page, or learns which there are. No cookie is set or read.
- A form counts only with `Origin` of the pages' own, which every browser sends with a POST (Fetch, "append a request
  Origin header"); where the browser tells more (`Sec-Fetch-Site`), that must agree. Whatever is missing fails.
- The rulebook in force when the visit comes is the one for all of it, with its store. Only a policy that enforces and
  that a route names has pages.
- Every visit is logged and counted: who, which policy, what was decided; never a path, a query or a form.
- A page that raises, is too late, or is no page is a fault of the policy: the visitor gets the visit's id.

Not here: HTTP (http.py), how pages look (page_layout.py), what they say (a policy's `page`).
"""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from ext_proc.credentials.source import Presented
from ext_proc.engine.checkpoint import Pending
from ext_proc.engine.identification import INVALID, UNAVAILABLE
from ext_proc.engine.route import Rulebook
from ext_proc.errors import GatehouseError
from ext_proc.events import NO_FACTS
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN, Identity
from ext_proc.pages import Page, PublicPages, Visit
from ext_proc.policy import Policy
from ext_proc.server.driver import begin, is_being_cancelled, resume
from ext_proc.server.http import HttpKind, HttpRequest, HttpResponse
from ext_proc.server.openings import Leases
from ext_proc.server.page_layout import HEADERS, HTML, document
from ext_proc.server.trail_id import new_trail_id
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import Store, StoreError
from ext_proc.telemetry.log import Log, fault
from ext_proc.telemetry.metrics import Metrics

MAX_HEAD: Final = 64 * 1024  # bytes; Envoy itself takes 60 KiB of headers
MAX_CONNECTIONS: Final = 128
MAX_PAGE: Final = 1024 * 1024  # characters
MAX_FIELDS: Final = 64
MAX_NAME: Final = 256  # characters of a name in the log
FORM: Final = "application/x-www-form-urlencoded"

_PORTS = {"https": ":443", "http": ":80"}
_SAFE = re.compile(r"[!-\[\]-~]*", re.ASCII)  # a URL's characters: no blank, no backslash
_NOWHERE = PublicPages("")


def unserved(rulebook: Rulebook, listening: bool) -> str:
    """What an operator should know of pages and their listener, for the log; "" where they fit."""
    names = rulebook.names_with_pages()
    if names and not listening:
        return f"nothing serves the pages of {', '.join(names)}: start with --pages"
    if listening and not names:
        return "there is a listener for pages, and no policy in force has any"
    return ""


class _Refused(GatehouseError):
    """A visit that reaches no policy's page, or none that can be shown."""

    def __init__(
        self, status: int, reason: str, title: str, sentence: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.title = title
        self.sentence = sentence
        self.headers = headers


@dataclass(slots=True)
class _Record:
    """What is logged and counted of one visit."""

    id: str
    revision: str
    method: str
    policy: str = ""
    identity: Identity = UNKNOWN
    status: int = 0
    reason: str = "cut-off"


class Pages:
    """Answers visits.

    Args:
        rulebook: gives the bundle in force.
        leases: the store and the policies in force, leased for each visit.
        decisions: the decision log.
        clock: monotonic seconds; `wall` those since the Unix epoch.
    """

    def __init__(
        self,
        *,
        rulebook: Callable[[], Rulebook],
        leases: Leases,
        metrics: Metrics,
        log: Log,
        decisions: Log,
        region: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._rulebook = rulebook
        self._leases = leases
        self._metrics = metrics
        self._log = log
        self._decisions = decisions
        self._region = region
        self._clock = clock
        self._wall = wall
        self.kind = HttpKind(
            "the listener for pages",
            methods=("GET", "HEAD", "POST"),
            head=MAX_HEAD,
            body=lambda: (rulebook().pages or _NOWHERE).form,
            connections=MAX_CONNECTIONS,
            headers=HEADERS,
            loopback_names=False,  # `Host` is the public one, and looked at here
        )

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to one visit."""
        began = self._clock()
        rulebook = self._rulebook()
        record = _Record(new_trail_id(self._wall), rulebook.revision, request.method)
        store = self._leases.lease(record.id)
        try:
            response = await self._visited(request, rulebook, store, record)
            record.status = response.status
            return response
        finally:
            self._leases.release(record.id)
            self._tell(record, self._clock() - began)

    async def _visited(self, request: HttpRequest, rulebook: Rulebook, store: Store, record: _Record) -> HttpResponse:
        try:
            public = _public(request, rulebook)
            record.identity = await self._visitor(request, rulebook)
            policy, path = _policy(request, rulebook, public)
            record.policy = policy.name
            visit = Visit(
                method="POST" if request.method == "POST" else "GET",
                path=path,
                base=f"{public.prefix}/{policy.name}",
                identity=record.identity,
                store=Keyspace(store, policy.name),
                time=self._wall(),
                id=record.id,
                query=request.query,
                form=_form(request),
            )
            page = await self._page(policy, visit, public.timeout)
        except _Refused as refused:
            record.reason = refused.reason
            body = f"<p>{refused.sentence}</p>\n<p class=note>Visit <code>{record.id}</code></p>"
            return HttpResponse(document(refused.title, body), HTML, refused.status, refused.headers)
        record.reason = page.reason
        if page.see:
            body = f'<p><a href="{html.escape(page.see)}">Go on</a></p>'
            return HttpResponse(document("Go on", body), HTML, 303, (("location", page.see),))
        return HttpResponse(document(page.title, page.body), HTML, page.status)

    async def _visitor(self, request: HttpRequest, rulebook: Rulebook) -> Identity:
        """Who visits.

        Raises:
            _Refused: nobody, or who presents what does not hold.
        """
        presented = Presented(request.headers, NO_FACTS, self._wall())
        asking = rulebook.identity.identify(presented, rulebook.limits.decision)
        found = begin(asking)
        if isinstance(found, Pending):
            found = await resume(asking, found)
        if not isinstance(found, Identity):
            if found.unavailable:
                sentence = "Who you are cannot be told at present. Please come again in a moment."
                raise _Refused(503, found.reason, "Not now", sentence, UNAVAILABLE.headers)
            sentence = "Your credential is not valid. Please sign in again."
            raise _Refused(401, found.reason, "Who are you?", sentence, INVALID.headers)
        if not found.verified:
            sentence = "Nobody has told who you are. Please sign in, and come again."
            challenge = (("www-authenticate", "Bearer"),)
            raise _Refused(401, "credential-missing", "Who are you?", sentence, challenge)
        return found

    async def _page(self, policy: Policy[Any, Any], visit: Visit, seconds: float) -> Page:
        """The policy's page.

        Raises:
            _Refused: there is none that can be shown.
        """
        try:
            async with asyncio.timeout(seconds) as limit:
                page = await policy.page(visit)
            if limit.expired():
                raise TimeoutError("the page went on after its time")
            return _sound(page, visit.base)
        except StoreError as error:
            self._log.error("a page failed: the store does not answer", visit=visit.id, policy=policy.name)
            sentence = "What is decided cannot be kept at present. Please come again in a moment."
            raise _Refused(503, "store-unavailable", "Not now", sentence, UNAVAILABLE.headers) from error
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            self._log.error("a page failed", visit=visit.id, policy=policy.name, **fault(error))
            if isinstance(error, TimeoutError):
                sentence = "This took too long, and may have been done or not. Please look again."
                raise _Refused(503, "page-too-late", "Not now", sentence, UNAVAILABLE.headers) from error
            raise _Refused(500, "page-failed", "This failed", "The page could not be made.") from error

    def _tell(self, record: _Record, seconds: float) -> None:
        """Logs and counts a visit that is over."""
        identity = record.identity
        self._metrics.visited(record.policy, record.status, record.reason)
        say = self._decisions.warning if record.status >= 400 or identity.shared else self._decisions.info
        say(
            "visit",
            region=self._region,
            id=record.id,
            revision=record.revision,
            policy=record.policy,
            method=record.method,
            status=record.status,
            reason=record.reason,
            kind=str(identity.kind),
            subject=identity.subject[:MAX_NAME],
            actor=identity.actor[:MAX_NAME],
            shared=identity.shared,
            duration_ms=round(seconds * 1000, 3),
        )


def _public(request: HttpRequest, rulebook: Rulebook) -> PublicPages:
    """Where the pages are, if the request is for them and comes from one of them.

    Raises:
        _Refused: it is not.
    """
    public = rulebook.pages
    if public is None:
        raise _Refused(404, "no-pages", "Not found", "There are no pages here.")
    if not _is_for(request.headers, public.origin):
        sentence = "This is not the address of these pages. Please follow the link that you were given."
        raise _Refused(421, "host-unknown", "Wrong address", sentence)
    if request.method == "POST" and not _comes_from(request.headers, public.origin):
        sentence = "This form was not sent from its own page, and nothing was done."
        raise _Refused(403, "cross-origin", "Not sent from here", sentence)
    return public


def _is_for(headers: Headers, origin: str) -> bool:
    scheme, _, authority = origin.partition("://")
    hosts = headers.get_all("host")
    host = hosts[0].decode("latin-1").lower().removesuffix(_PORTS[scheme]) if len(hosts) == 1 else ""
    return host == authority


def _comes_from(headers: Headers, origin: str) -> bool:
    return headers.get_all("origin") == (origin.encode(),) and set(headers.get_all("sec-fetch-site")) <= {
        b"same-origin"
    }


def _policy(request: HttpRequest, rulebook: Rulebook, public: PublicPages) -> tuple[Policy[Any, Any], str]:
    """The policy whose page is visited, and the path below it.

    Raises:
        _Refused: there is none.
    """
    prefix = public.prefix + "/"
    name, _, path = request.path.removeprefix(prefix).partition("/")
    policy = rulebook.with_pages(name) if request.path.startswith(prefix) else None
    if policy is None:
        raise _Refused(404, "no-such-page", "Not found", "There is no such page.")
    return policy, "/" + path


def _form(request: HttpRequest) -> dict[str, str]:
    """The fields of a POST.

    Raises:
        _Refused: it is no form.
    """
    if request.method != "POST":
        return {}
    if [value.lower() for value in request.headers.get_all("content-type")] != [FORM.encode()]:
        raise _Refused(415, "form-type", "Not a form", "Only a form can be sent here.")
    try:
        return dict(
            parse_qsl(request.body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        )
    except ValueError:
        raise _Refused(400, "form-malformed", "Not a form", "The form cannot be read.") from None


def _sound(page: object, base: str) -> Page:
    """The page, if it is one that can be sent.

    Raises:
        TypeError, ValueError: it is not.
    """
    if not isinstance(page, Page):
        raise TypeError("a policy's page is no Page")
    if not 200 <= page.status <= 599 or len(page.title) + len(page.body) > MAX_PAGE:
        raise ValueError("a page has a status from 200 to 599, and at most a million characters")
    if page.see and not (
        _SAFE.fullmatch(page.see) and (page.see == base or page.see.startswith((base + "/", base + "?")))
    ):
        raise ValueError("a page leads to pages of its own policy alone")
    return replace(page, reason=page.reason[:MAX_NAME])
