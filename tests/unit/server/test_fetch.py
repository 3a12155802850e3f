"""A document is fetched whole, in time and from where it was said to be, or not at all."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ext_proc.demo.processes import free_ports
from ext_proc.server.fetch import FetchError, fetch, fetch_in_thread
from tests.certificates import Authority
from tests.unit.server.publishers import Answer, document, publishing

# Early versions of Python 3.11 leave the socket of a refused connection to the collector (socket.create_connection).
if sys.version_info < (3, 11, 4):
    pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BODY = b'{"keys":[]}'
MOST = 256 * 1024


def failure(url: str, timeout: float = 5.0) -> str:
    with pytest.raises(FetchError) as error:
        fetch(url, timeout, MOST)
    return str(error.value)


def test_a_document_arrives_whole() -> None:
    body = b"x" * MOST
    with publishing(document(body)) as publisher:
        assert fetch(publisher.url, 5.0, MOST) == body
    assert publisher.paths == ["/jwks.json"]


def test_a_document_that_is_too_large_is_not_read_to_its_end() -> None:
    with publishing(document(b"x" * (MOST + 1))) as publisher:
        assert failure(publisher.url) == "it answered with more than 256 KiB"


@pytest.mark.parametrize("status", [204, 400, 404, 500, 503])
def test_another_status_is_a_failure(status: int) -> None:
    with publishing(document(BODY, status)) as publisher:
        assert failure(publisher.url) == f"it answered with status {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with publishing(document(BODY)) as elsewhere, publishing(document(b"", status, location=elsewhere.url)) as first:
        assert failure(first.url) == f"it answered with status {status}; redirects are not followed"
    assert elsewhere.paths == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_what_the_loopback_publishes_is_asked_of_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing(document(b"another's")) as proxy, publishing(document(BODY)) as publisher:
        monkeypatch.setenv(name, proxy.url)
        assert fetch(publisher.url, 5.0, MOST) == BODY
    assert proxy.paths == []


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_over_tls_the_environments_proxy_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(4096).partition(b"\r\n")[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=proxy, args=(listening,))
        thread.start()
        failure("https://issuer.example/jwks.json")
        thread.join()
    assert [line.split()[:2] for line in asked] == [[b"CONNECT", b"issuer.example:443"]]


def test_a_server_that_is_not_there_is_a_failure() -> None:
    (port,) = free_ports(1)
    assert failure(f"http://127.0.0.1:{port}/") == "Connection refused"


def silent(release: threading.Event) -> Answer:
    """Answers nothing until it may."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        release.wait(10)

    return answer


def test_a_silent_server_is_given_up() -> None:
    release = threading.Event()
    with publishing(silent(release)) as publisher:
        told = failure(publisher.url, timeout=0.1)
        release.set()
    assert told == "it did not answer in time"


def test_a_slow_body_is_given_up() -> None:
    left = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", str(MOST))
        request.end_headers()
        try:
            while not left.wait(0.02):
                request.wfile.write(b"x")
        except OSError:
            return

    with publishing(answer) as publisher:
        told = failure(publisher.url, timeout=0.2)
        left.set()
    assert told == "it took longer than 0.2 s"


def test_a_certificate_is_verified_against_the_systems_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with publishing(document(BODY), authority.issue("server")) as publisher:
        assert failure(publisher.url).startswith("its certificate does not verify (")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        assert fetch(publisher.url, 5.0, MOST) == BODY
    assert publisher.paths == ["/jwks.json"]


def test_what_is_no_http_is_a_failure() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"hello\r\n\r\n")

    with publishing(answer) as publisher:
        assert failure(publisher.url) == "BadStatusLine"


async def test_in_a_thread_it_answers_or_fails_alike() -> None:
    with publishing(document(BODY)) as publisher:
        assert await fetch_in_thread(publisher.url, 5.0, MOST) == BODY
        publisher.answer = document(BODY, 500)
        with pytest.raises(FetchError, match="status 500"):
            await fetch_in_thread(publisher.url, 5.0, MOST)


async def test_nobody_has_to_wait_for_a_thread() -> None:
    release = threading.Event()
    with publishing(silent(release)) as publisher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await fetch_in_thread(publisher.url, 5.0, MOST)
        release.set()
