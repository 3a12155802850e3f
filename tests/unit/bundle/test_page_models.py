"""What an operator may write under `pages`, and what is told of a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.pages import PublicPages
from tests.unit.bundle.building import changed, examined


def problems(pages: Any) -> dict[str, str]:
    """The message of each problem by its path."""
    return {problem.path: problem.message for problem in examined(changed("pages", pages)).problems}


def public(pages: Any) -> PublicPages:
    rulebook = examined(changed("pages", pages)).rulebook
    assert rulebook is not None
    assert rulebook.pages is not None
    return rulebook.pages


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://gate.example.com", "https://gate.example.com", ""),
        ("https://gate.example.com/", "https://gate.example.com", ""),
        ("https://gate.example.com/gatehouse", "https://gate.example.com", "/gatehouse"),
        ("https://gate.example.com/a/b-1/", "https://gate.example.com", "/a/b-1"),
        ("HTTPS://Gate.Example.COM:443/Pages", "https://gate.example.com", "/Pages"),
        ("https://gate.example.com:8443", "https://gate.example.com:8443", ""),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", ""),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443", "/x"),
        ("http://127.0.0.1:10000/gatehouse", "http://127.0.0.1:10000", "/gatehouse"),
        ("http://localhost:80", "http://localhost", ""),
        ("http://[::1]:10000", "http://[::1]:10000", ""),
    ],
)
def test_the_url_is_kept_as_browsers_write_it(url: str, origin: str, prefix: str) -> None:
    found = public({"url": url})
    assert (found.origin, found.prefix, found.url) == (origin, prefix, origin + prefix)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://gate.example.com", "expected https"),
        ("http://10.0.0.1", "expected https"),
        ("http://localhost.example.com", "expected https"),
        ("ftp://gate.example.com", "expected a URL such as"),
        ("gate.example.com", "expected a URL such as"),
        ("https://", "expected a URL such as"),
        ("https://user:hunter2@gate.example.com", "expected a URL such as"),
        ("https://gate.example.com:port", "expected a URL such as"),
        ("https://gate.example.com:99999", "expected a URL such as"),
        ("https://gate_x.example.com", "expected a URL such as"),
        ("https://bücher.example", "expected a URL such as"),
        ("https://gate.example.com:", "expected a URL such as"),
        ("https://gate.example.com/a?b", "expected a URL with a path of plain segments"),
        ("https://gate.example.com/a#b", "expected a URL with a path of plain segments"),
        ("https://gate.example.com/a?", "expected a URL with a path of plain segments"),
        ("https://gate.example.com//a", "expected a URL with a path of plain segments"),
        ("https://gate.example.com/../a", "expected a URL with a path of plain segments"),
        ("https://gate.example.com/a%2fb", "expected a URL with a path of plain segments"),
        ("https://gate.example.com/a b", "expected a URL with a path of plain segments"),
    ],
)
def test_a_url_that_no_form_could_come_from_is_told(url: str, sentence: str) -> None:
    found = problems({"url": url})
    assert list(found) == ["pages.url"]
    assert found["pages.url"].startswith(sentence)
    assert "hunter2" not in str(found)


def test_the_url_has_to_be_said() -> None:
    assert problems({}) == {"pages.url": "expected this key; it is required"}


def test_what_a_visit_may_take_is_bounded() -> None:
    usual = public({"url": "https://gate.example.com"})
    assert (usual.form, usual.timeout) == (16 * 1024, 2.0)
    most = public({"url": "https://gate.example.com", "form": "1MiB", "timeout": "5s"})
    assert (most.form, most.timeout) == (1024 * 1024, 5.0)
    assert problems({"url": "https://gate.example.com", "form": "2MiB", "timeout": "6s"}) == {
        "pages.form": "expected at most 1MiB",
        "pages.timeout": "expected at most 5s",
    }
