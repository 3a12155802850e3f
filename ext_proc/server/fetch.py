"""One document over HTTP, bounded in size and time: how the keys of issuers are fetched.

Rules:
- A redirect is not followed: where keys come from is what the bundle says.
- Certificates are verified against the system's authorities (`SSL_CERT_FILE` names others).
- A proxy of the environment is used for `https` alone (`HTTPS_PROXY`), where it can change nothing: through one for
  `http` the keys of this host's own loopback would be whatever it says.
- Whatever goes wrong is a FetchError with words for the operator; none holds anything of the answer.

Not here: when something is fetched, and what follows (keys.py).
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from ext_proc.errors import GatehouseError

_CHUNK = 64 * 1024  # bytes
_ACCEPT = "application/jwk-set+json, application/json"


class FetchError(GatehouseError):
    """The document could not be had."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the error that it then is."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(url: str, timeout: float, max_bytes: int) -> bytes:
    """The body that `url` answers with. Blocks, for up to twice `timeout` seconds where a server is slow on purpose.

    Raises:
        FetchError: no answer, no time, too much, or another status than 200.
    """
    until = time.monotonic() + timeout
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener = urllib.request.build_opener(_NoRedirect, https, urllib.request.ProxyHandler(proxies))
    request = urllib.request.Request(url, headers={"accept": _ACCEPT})
    body = bytearray()
    try:
        with opener.open(request, timeout=timeout) as answer:
            if answer.status != 200:
                raise FetchError(f"it answered with status {answer.status}")
            while piece := answer.read1(_CHUNK):
                body += piece
                if len(body) > max_bytes:
                    raise FetchError(f"it answered with more than {max_bytes // 1024} KiB")
                if time.monotonic() > until:
                    raise FetchError(f"it took longer than {timeout:g} s")
    except urllib.error.HTTPError as error:
        error.close()
        moved = "; redirects are not followed" if 300 <= error.code < 400 else ""
        raise FetchError(f"it answered with status {error.code}{moved}") from None
    except urllib.error.URLError as error:
        raise FetchError(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(_reason(error)) from None
    return bytes(body)


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify ({error.verify_message})"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def fetch_in_thread(url: str, timeout: float, max_bytes: int) -> asyncio.Future[bytes]:
    """`fetch` in a thread of its own, which keeps no process from its end: a server may be as slow as it likes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | BaseException) -> None:
        if future.done():
            return
        if isinstance(result, bytes):
            future.set_result(result)
        else:
            future.set_exception(result)

    def work() -> None:
        try:
            result: bytes | BaseException = fetch(url, timeout, max_bytes)
        except BaseException as error:
            result = error
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=work, name="fetch", daemon=True).start()
    return future
