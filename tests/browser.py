"""A real headless Chromium for tests of pages, driven by Playwright: started once, a fresh profile for each visit.

Rules:
- It is the Chromium of the system. Where there is none, the tests that need it fail and say what to install: what a
  browser does with a page is nothing that a machine without one could leave out.
- It reaches the loopback and nothing else.
- It lives in a thread with a loop of its own, for Playwright's would be in the way of the tests'.

Not here: what is visited (tests/envoy/test_pages.py).
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from playwright.async_api import Browser, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "needs Chromium, which is not here: apt-get install chromium"
PATIENCE = 10_000.0  # milliseconds for one step
_ARGUMENTS = [
    "--no-sandbox",  # tests run as root, too
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]

Result = TypeVar("Result")


def executable() -> str:
    """The system's Chromium; fails the test where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.fail(MISSING)


class Chromium:
    """A running browser.

    Args:
        loop: the one that it lives on, in another thread.
    """

    def __init__(self, browser: Browser, loop: asyncio.AbstractEventLoop) -> None:
        self._browser = browser
        self._loop = loop

    def visit(
        self, steps: Callable[[Page], Awaitable[Result]], headers: Mapping[str, str] | None = None, **options: Any
    ) -> Result:
        """What `steps` make of an empty page, in a profile of its own.

        Args:
            headers: go with every request, as a proxy that knows the person would have it.
            options: of Playwright's `new_context`.
        """
        visiting = self._visit(steps, dict(headers or {}), options)
        return asyncio.run_coroutine_threadsafe(visiting, self._loop).result()

    async def _visit(
        self, steps: Callable[[Page], Awaitable[Result]], headers: dict[str, str], options: Mapping[str, Any]
    ) -> Result:
        context = await self._browser.new_context(extra_http_headers=headers, **options)
        try:
            context.set_default_timeout(PATIENCE)
            return await steps(await context.new_page())
        finally:
            await context.close()


@contextmanager
def running_chromium() -> Iterator[Chromium]:
    """A browser that is ended afterwards."""
    path = executable()
    runner = asyncio.Runner()
    loop = runner.get_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def on_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    playwright = async_playwright()
    try:
        driver = on_loop(playwright.start())
        try:
            browser = on_loop(driver.chromium.launch(executable_path=path, args=_ARGUMENTS))
            try:
                yield Chromium(browser, loop)
            finally:
                on_loop(browser.close())
        finally:
            on_loop(driver.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        runner.close()
