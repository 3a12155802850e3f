"""url_domains.py: which addresses a list of hosts fits, and which URLs are no address to all readers."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse_policies.url_domains import MAX_LENGTH, UrlDomains, address_of

LISTED = UrlDomains(
    [
        "pay.example.com",
        "*.corp.example",
        "login.example.com:8443",
        "dev.example.com:*",
        "b\u00fccher.example",
        "203.0.113.7",
        "[2001:db8::1]",
        "http://localhost:8080",
        "http://127.0.0.1:*",
    ]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://pay.example.com",
        "https://pay.example.com/a/b?next=https%3A%2F%2Fx#top",
        "HTTPS://PAY.Example.com/",
        "https://pay.example.com:443/",
        "https://pay.example.com/@evil.example",
        "https://a.corp.example/",
        "https://a.b.corp.example/",
        "https://login.example.com:8443/",
        "https://dev.example.com:9999/",
        "https://dev.example.com/",
        "https://b\u00fccher.example/",
        "https://B\u00dcCHER.example/",
        "https://xn--bcher-kva.example/",
        "https://203.0.113.7/",
        "https://[2001:DB8:0::1]/",
        "http://localhost:8080/callback",
        "http://127.0.0.1:5173/",
    ],
)
def test_a_listed_address_fits(url: str) -> None:
    assert LISTED.fault(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://pay.example.com.evil.example/",
        "https://evilpay.example.com/",
        "https://a.pay.example.com/",
        "https://corp.example/",
        "https://evilcorp.example/",
        "https://pay.example.com:8443/",
        "https://login.example.com/",
        "http://pay.example.com/",
        "http://localhost/",
        "http://localhost:8081/",
        "https://localhost:8080/",
        "http://127.0.0.2:5173/",
        "https://203.0.113.8/",
        "https://[2001:db8::2]/",
        "https://p\u0430y.example.com/",  # a Cyrillic letter
        "https://xn--py-7kc.example.com/",
    ],
)
def test_no_other_address_fits(url: str) -> None:
    assert LISTED.fault(url) == "url-not-listed"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pay.example.com",
        "//pay.example.com/",
        "https:pay.example.com",
        "https:/pay.example.com",
        "https:///pay.example.com",
        "javascript:alert(1)//pay.example.com",
        "file://pay.example.com/",
        "https://user@pay.example.com/",
        "https://pay.example.com@evil.example/",
        "https://pay.example.com%40evil.example/",
        "https://pay.example.com\\@evil.example/",
        "https:\\\\pay.example.com/",
        " https://pay.example.com/",
        "https://pay.example.com/\n",
        "https://pay.example.com/\t",
        "https://pay\t.example.com/",
        "https://pay.example.com./",
        "https://pay..example.com/",
        "https://pay%2eexample.com/",
        "https://pay.example.com:/",
        "https://pay.example.com:0443/",
        "https://pay.example.com:99999/",
        "https://pay.example.com:\uff14\uff14\uff13/",
        "https://pay_.example.com/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::1%25eth0]/",
        "https://[::1/",
        "https://pay\u3002example.com/",
        "https://pay.example\uff0ecom/",
        "https://stra\u00dfe.example/",
        "https://pa\u200dy.example.com/",
        "https://\u24df\u24d0\u24e8.example.com/",
        "https://pay.example.com/\u202egnp.exe",
        "https://pay.example.com/\u200b",
        "https://" + "a" * 64 + ".example/",
        "https://pay.example.com/" + "a" * MAX_LENGTH,
    ],
)
def test_what_two_readers_may_read_in_two_ways_fits_nothing(url: str) -> None:
    assert LISTED.fault(url) == "url-ambiguous"


@given(st.text(st.sampled_from("htps:/\\@.%#?[]ay0 \t\u3002\u00df-x"), max_size=24), st.booleans())
@settings(max_examples=200)
def test_what_fits_has_the_listed_host_for_the_standard_library_too(tail: str, inside: bool) -> None:
    listed = UrlDomains(["pay.example.com", "*.pay.example.com"])
    url = f"https://{tail}pay.example.com" if inside else f"https://pay.example.com{tail}"
    if not listed.fault(url):
        host = urlsplit(url).hostname
        assert host is not None
        assert host == "pay.example.com" or host.endswith(".pay.example.com")
        assert urlsplit(url).username is None


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.com",
        "*.203.0.113.7",
        "pay.*.com",
        "pay*.example.com",
        "https://pay.example.com/path",
        "ftp://pay.example.com",
        "http://pay.example.com",
        "http://*.localhost",
        "http://10.0.0.1",
        "user@pay.example.com",
        "pay.example.com:0",
        "pay.example.com.",
    ],
)
def test_an_entry_that_would_fit_more_or_less_than_it_says_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        UrlDomains([entry])


def test_an_empty_list_fits_nothing() -> None:
    assert UrlDomains([]).fault("https://pay.example.com/") == "url-not-listed"


def test_an_address_tells_where_it_leads() -> None:
    assert address_of("https://B\u00fccher.example:8443/x") == ("https", "xn--bcher-kva.example", "8443", False)
    assert address_of("http://127.0.0.1/") == ("http", "127.0.0.1", "80", True)
