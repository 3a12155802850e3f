"""A scorer: a service that says yes or no to a call, asked over HTTP with JSON.

Rules:
- It is sent `{"principal", "actor", "server", "tool", "arguments"}`, and a yes is status 200 with a JSON object whose
  `allow` is true. Whatever else comes of it is a no.
- It is asked over HTTPS, or on this host's own loopback. Certificates are verified, and a redirect is not followed:
  what is asked is what the bundle says. No proxy of the environment is used.
- It answers within the time that the policy has (`timeout`, and the bundle's `limits.decision`), with at most
  MAX_ANSWER, and so many calls at once wait for it as the bundle says.

Not here: when it is asked, what follows (confirm.py).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from ext_proc.policy import Secret

MAX_ANSWER = 64 * 1024  # bytes
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Scorer(BaseModel, extra="forbid"):
    """A service that says yes or no."""

    url: str = Field(description="Where it is asked: `https`, or `http` on this host's loopback.")
    token: Secret | None = Field(default=None, description="Sent as a bearer token; none if left out.")
    at_once: int = Field(default=16, ge=1, le=256, description="The most calls that wait for it; further ones are no.")

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return web_address(url)


def web_address(url: str) -> str:
    """A URL that nobody on the way can read or answer.

    Raises:
        ValueError: it is neither `https` nor on the loopback, or has a user, a fragment or no host.
    """
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (local or parts.scheme == "https"):
        raise ValueError("expected https://..., or http://... on the loopback")
    if parts.username is not None or parts.fragment or not url.isascii() or any(c.isspace() for c in url):
        raise ValueError("expected a URL in ASCII without a user and a fragment")
    return url


class ScoreError(Exception):
    """No answer that says yes or no: a slug for the trail."""


class Scores:
    """Asks one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._waiting = 0

    async def allow(self, question: Any, patience: float) -> bool:
        """What it says.

        Args:
            question: JSON.
            patience: seconds.

        Raises:
            ScoreError: it said nothing that counts, or too many ask.
        """
        if self._waiting >= self._scorer.at_once:
            raise ScoreError("scorer-busy")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def settle(result: bool | None) -> None:
            self._waiting -= 1
            if not future.done():
                if result is None:
                    future.set_exception(ScoreError("scorer-failed"))
                else:
                    future.set_result(result)

        def work() -> None:
            try:
                result = _ask(self._scorer, question, patience)
            except Exception:
                result = None
            try:
                loop.call_soon_threadsafe(settle, result)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._waiting += 1
        # A thread of its own keeps no process from its end: a scorer may be as slow as it likes.
        threading.Thread(target=work, name="scorer", daemon=True).start()
        return await future


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the error that it then is."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask(scorer: Scorer, question: Any, timeout: float) -> bool | None:
    """Its answer; None where it gave none that counts. Blocks, for up to twice `timeout` seconds."""
    until = time.monotonic() + timeout
    headers = {"content-type": "application/json", "accept": "application/json"}
    if scorer.token is not None:
        headers["authorization"] = f"Bearer {scorer.token.reveal().decode().strip()}"
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(_NoRedirect, https, urllib.request.ProxyHandler({}))
    sent = urllib.request.Request(scorer.url, json.dumps(question).encode(), headers, method="POST")
    body = bytearray()
    try:
        with opener.open(sent, timeout=timeout) as answer:
            if answer.status != 200:
                return None
            while piece := answer.read1(MAX_ANSWER):
                body += piece
                if len(body) > MAX_ANSWER or time.monotonic() > until:
                    return None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (OSError, http.client.HTTPException):
        return None
    said = json.loads(body)
    return said.get("allow") is True if isinstance(said, dict) else None
