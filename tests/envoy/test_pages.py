"""Pages of policies through a real Envoy, in a real Chromium: a person says yes, and nobody else can make them.

Rules:
- The browser carries the person's token with every request, to every site: as a sign-in by cookie or certificate would.
- Calls are known by what Envoy verified, visits by what Gatehouse verifies itself; both are the same person.
- What must not happen is looked for where it would show: in the log of visits, in what a call is told, in dialogs.

Not here: the same by raw HTTP (tests/unit/server/test_pages.py).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
import yaml
from playwright.async_api import ConsoleMessage, Dialog, Page

from tests.browser import Chromium
from tests.envoy.callers import bearer, post
from tests.envoy.exchanges import answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import log_lines, mark, metric
from tests.envoy.pages import ANYWHERE, stack_with_pages
from tests.envoy.upstream import json_body
from tests.unit.server.publishers import Publisher, document, publishing

MARKUP = (
    "<script>alert('script')</script><img src=x onerror=\"alert('image')\">"
    "<a id=a href=\"javascript:alert('link')\">go</a><p id=s style='color:rgb(1,2,3)'>s</p>"
    "<form action=https://evil.example/><button id=f>send</button></form><base href=https://evil.example/>"
    "<iframe srcdoc=\"<script>parent.alert('frame')</script>\"></iframe>"
)

Result = TypeVar("Result")


def text_of_bundle(keys: Path) -> str:
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "gatehouse/v1",
                "kind": "Bundle",
                "metadata": {"name": "pages"},
                "pages": {"url": f"{ANYWHERE}/gatehouse"},
                "unmatched": "deny",
                "identity": [
                    {"metadata": {}},
                    {"jwt": {"issuer": "gatehouse-demo", "audiences": ["gatehouse"], "jwks": {"file": str(keys)}}},
                ],
                "clients": [{"id": "portal", "kind": "interactive"}, {"id": "assistant", "kind": "agent"}],
                "routes": [{"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["ask"]}],
                "policies": [
                    {
                        "name": "ask",
                        "type": "tests.asking:Asking",
                        "timeout": "2s",
                        "parameters": {"text": MARKUP, "markup": MARKUP},
                    }
                ],
                "limits": {"decision": "900ms"},
                "store": {"embedded": {"timeout": "1s"}},
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Site:
    """A stack with pages, and the browser of one person."""

    running: Running
    chromium: Chromium

    @property
    def base(self) -> str:
        return f"{self.running.stack.url}/gatehouse/ask"

    def token(self, who: str, client: str = "portal", seconds: float = 1800.0) -> str:
        return self.running.stack.token(who, {"client_id": client}, seconds)

    def visit(self, who: str, steps: Callable[[Page], Awaitable[Result]], client: str = "portal") -> Result:
        """What a signed-in person does in a browser."""
        return self.chromium.visit(steps, bearer(self.token(who, client)))

    def told(self, since: int) -> list[tuple[str, str, int, str]]:
        """The visits after the mark: subject, method, status, reason."""
        lines = [line for line in log_lines(self.running, since) if line["event"] == "visit"]
        return [(line["subject"], line["method"], line["status"], line["reason"]) for line in lines]

    def answered(self, who: str, token: str = "") -> Any:
        """The answer to a tool call of this person, whose token there is another one than in the browser."""
        headers = bearer(token or self.token(who, seconds=3600.0)) | {"content-type": "application/json"}
        return post(self.running, headers).json()

    def called(self, who: str) -> Any:
        """What a tool call of this person is told: its result, or the reason of its denial."""
        answer = self.answered(who)
        return answer["error"]["data"]["reason"] if "error" in answer else answer["result"]


@pytest.fixture(scope="module")
def site(gatehouse_stack: Stacks, chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:  # a socket's path is short
        running = stack_with_pages(gatehouse_stack, text_of_bundle(keys), f"unix:{folder}/pages.sock", keys)
        running.upstream.answer_with(json_body(answer_to(call())))
        yield Site(running, chromium)


@pytest.fixture
def elsewhere() -> Iterator[Publisher]:
    """Another site on this machine; its name is `localhost`, the pages' is 127.0.0.1."""
    with publishing(document(b"")) as publisher:
        yield publisher


def url_of(publisher: Publisher) -> str:
    return publisher.url.replace("127.0.0.1", "localhost")


def shows(publisher: Publisher, html: str) -> None:
    publisher.answer = document(html.encode(), content_type="text/html")


def test_a_person_says_yes_in_a_browser_and_the_call_passes(site: Site) -> None:
    denied = site.answered("ann")["error"]
    assert denied["data"]["reason"] == "ask-first"
    (link,) = re.findall(r"http\S+", denied["message"])
    since = mark(site.running)

    async def says_yes(page: Page) -> str:
        await page.goto(link)
        assert await page.title() == "Say yes, ann?"
        await page.get_by_role("button", name="Yes").click()
        await page.wait_for_url("**/done")
        return await page.inner_text("h1")

    assert site.visit("ann", says_yes) == "Done"
    assert site.told(since) == [
        ("ann", "GET", 200, ""),
        ("ann", "POST", 303, "confirmed"),
        ("ann", "GET", 200, ""),
    ]
    assert site.called("ann")["content"]
    assert site.called("bob") == "ask-first"
    assert metric(site.running, "gatehouse_page_visits_total", policy="ask", status="3xx", reason="confirmed") >= 1


def test_a_person_says_no(site: Site) -> None:
    async def says_no(page: Page) -> str:
        await page.goto(site.base)
        await page.get_by_role("button", name="No").click()
        return await page.inner_text("main")

    assert "Nothing will be done." in site.visit("cleo", says_no)
    assert site.called("cleo") == "ask-first"


def test_the_page_can_be_read_and_used_by_keyboard_on_a_small_screen(site: Site) -> None:
    async def looks(page: Page) -> dict[str, Any]:
        await page.goto(site.base)
        await page.keyboard.press("Tab")
        focused = "getComputedStyle(document.activeElement)"
        return {
            "role": await page.get_by_role("main").get_by_role("heading", level=1).count(),
            "language": await page.get_attribute("html", "lang"),
            "fits": await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"),
            "outline": await page.evaluate(f"{focused}.outlineStyle + ' ' + {focused}.outlineWidth"),
            "dark": await page.evaluate("getComputedStyle(document.body).colorScheme"),
        }

    found = site.chromium.visit(
        looks, bearer(site.token("ann")), viewport={"width": 320, "height": 640}, color_scheme="dark"
    )
    assert found == {
        "role": 1,
        "language": "en",
        "fits": True,
        "outline": "solid 3px",
        "dark": "light dark",
    }


def test_text_that_is_escaped_stays_text(site: Site) -> None:
    async def looks(page: Page) -> int:
        await page.goto(site.base)
        assert await page.inner_text("pre") == MARKUP
        return await page.locator("script, img, iframe, base, a, [style]").count()

    assert site.visit("ann", looks) == 0


def names(directive: str) -> Callable[[ConsoleMessage], bool]:
    """Whether the browser says that it refused something by this directive of the content security policy."""
    return lambda message: directive in message.text


def test_markup_that_gets_into_a_page_never_runs(site: Site) -> None:
    dialogs: list[str] = []
    refused: list[str] = []

    async def opened(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        await dialog.dismiss()

    def logged(message: ConsoleMessage) -> None:
        refused.append(message.text)

    async def looks(page: Page) -> tuple[int, str, str]:
        page.on("dialog", opened)
        page.on("console", logged)
        await page.goto(f"{site.base}/raw")
        # Neither click leads anywhere, so that what refuses it is waited for.
        for one, directive in (("#a", "script-src"), ("#f", "form-action")):
            async with page.expect_console_message(names(directive)):
                await page.dispatch_event(one, "click")
        colour = await page.evaluate("getComputedStyle(document.getElementById('s')).color")
        return await page.locator("main script").count(), colour, page.url

    scripts, colour, url = site.visit("ann", looks)
    assert (scripts, dialogs) == (1, [])
    assert colour != "rgb(1, 2, 3)"
    assert url == f"{site.base}/raw"
    for directive in ("script-src", "style-src", "img-src", "form-action", "base-uri"):
        assert any(directive in text for text in refused), (directive, refused)


def test_a_form_on_another_site_does_nothing(site: Site, elsewhere: Publisher) -> None:
    async def token(page: Page) -> str:
        await page.goto(site.base)
        return str(await page.get_attribute("input[name=token]", "value"))

    stolen = site.visit("dora", token)
    shows(
        elsewhere,
        f'<form method=post action="{site.base}/"><input name=token value="{stolen}">'
        "<button name=answer value=yes>Win</button></form>",
    )
    since = mark(site.running)

    async def is_lured(page: Page) -> str:
        await page.goto(url_of(elsewhere))
        await page.get_by_role("button").click()
        await page.wait_for_url(f"{site.base}/")
        return await page.inner_text("main")

    assert "nothing was done" in site.visit("dora", is_lured)
    assert site.told(since) == [("", "POST", 403, "cross-origin")]
    assert site.called("dora") == "ask-first"


def test_a_script_on_another_site_can_neither_read_nor_send(site: Site, elsewhere: Publisher) -> None:
    shows(elsewhere, "<title>elsewhere</title>")
    since = mark(site.running)

    async def tries(page: Page) -> list[str]:
        await page.goto(url_of(elsewhere))
        attempts = (
            "fetch(url, {credentials: 'include'})",
            "fetch(url, {mode: 'no-cors', method: 'POST', body: new URLSearchParams({answer: 'yes'})})",
            "fetch(url, {mode: 'no-cors'})",
        )
        script = "async url => { try { const a = await %s; return a.type + a.status } catch (e) { return e.name } }"
        return [await page.evaluate(script % attempt, f"{site.base}/") for attempt in attempts]

    assert set(site.visit("eve", tries)) <= {"TypeError", "opaque0"}
    assert [visit for visit in site.told(since) if visit[1] == "POST" and visit[2] != 403] == []
    assert site.called("eve") == "ask-first"


def test_a_page_is_shown_in_nobodys_frame(site: Site, elsewhere: Publisher) -> None:
    shows(elsewhere, f'<iframe src="{site.base}/" width=600 height=400></iframe>')

    async def is_framed(page: Page) -> list[str]:
        await page.goto(url_of(elsewhere), wait_until="load")
        return [await frame.content() for frame in page.frames[1:]]

    contents = site.visit("fred", is_framed)
    assert len(contents) == 1
    assert "Say yes" not in contents[0]


def test_nobody_and_an_agent_get_nothing(site: Site) -> None:
    async def looks(page: Page) -> tuple[int, str]:
        answer = await page.goto(site.base)
        assert answer is not None
        return answer.status, await page.content()

    since = mark(site.running)
    status, content = site.chromium.visit(looks)
    assert (status, "token" in content) == (401, False)
    assert site.visit("ann", looks, "assistant")[0] == 403
    form = {"token": "x", "answer": "yes"}
    headers = {"origin": site.running.stack.url, **bearer(site.token("ann", "assistant"))}
    answer = httpx2.post(f"{site.base}/", data=form, headers=headers, timeout=10.0, trust_env=False)
    assert answer.status_code == 403
    assert [(status, reason) for _, _, status, reason in site.told(since)] == [
        (401, "credential-missing"),
        (403, "no-person"),
        (403, "no-person"),
    ]


def test_the_token_of_a_call_is_known_at_the_page_although_envoy_verified_one_and_gatehouse_the_other(
    site: Site,
) -> None:
    token = site.token("gina", seconds=900.0)
    assert "error" in site.answered("gina", token)
    since = mark(site.running)
    for held, status in ((token, 403), (site.token("gina", seconds=901.0), 200)):
        answer = httpx2.get(f"{site.base}/", headers=bearer(held), timeout=10.0, trust_env=False)
        assert answer.status_code == status
    assert [visit[3] for visit in site.told(since)] == ["own-credential", ""]


def test_envoy_leads_no_other_path_to_the_pages(site: Site) -> None:
    since = mark(site.running)
    for path in ("/gatehousex/ask", "/ask", "/x/../gatehouse%2fask"):
        answer = httpx2.get(site.running.stack.url + path, headers=bearer(site.token("ann")), trust_env=False)
        assert answer.status_code in (400, 404)
    assert site.told(since) == []


def test_a_form_that_is_too_long_and_another_method_are_refused_through_envoy(site: Site) -> None:
    headers = {"origin": site.running.stack.url, **bearer(site.token("ann"))}
    long = httpx2.post(f"{site.base}/", data={"a": "x" * 20_000}, headers=headers, timeout=10.0, trust_env=False)
    assert long.status_code == 413
    other = httpx2.delete(f"{site.base}/", headers=headers, timeout=10.0, trust_env=False)
    assert (other.status_code, other.headers["allow"]) == (405, "GET, HEAD, POST")
    assert re.search("form-action 'self'", other.headers["content-security-policy"])


def test_envoy_takes_the_route_and_the_cluster_without_a_warning(site: Site) -> None:
    said = (site.running.stack.logs / "envoy.log").read_text(encoding="utf-8")
    assert [line for line in said.splitlines() if "][warning][" in line or "][error][" in line] == []
