"""Where agents may be told to send notifications: listed hosts over https, however the URL is written."""

from __future__ import annotations

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatehouse_policies.push_urls import MAX_LENGTH, PushDestinations

LISTED = PushDestinations(
    ["hooks.example.com", "*.notify.example.com", "odd.example.com:8443", "xn--bcher-kva.example", "queue.internal"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "https://hooks.example.com/a2a/notify?task=1&x=%2F",
        "https://hooks.example.com:443/a",
        "HTTPS://Hooks.Example.COM/a",
        "https://eu.notify.example.com/a",
        "https://a.b.notify.example.com/a",
        "https://odd.example.com:8443/a",
        "https://xn--bcher-kva.example/a",
        "https://queue.internal/a",
    ],
)
def test_what_is_listed_may_be_notified(url: str) -> None:
    assert LISTED.fault(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/a",
        "HTTP://hooks.example.com/a",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_nothing_but_https_is_sent(url: str) -> None:
    assert LISTED.fault(url) == "push-url-not-https"


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "127.0.0.1", "10.0.0.1", "8.8.8.8", "[::1]", "[fd00::1]", "[::ffff:169.254.169.254]"],
)
def test_an_address_is_no_destination(host: str) -> None:
    assert LISTED.fault(f"https://{host}/") == "push-url-address"
    assert LISTED.fault(f"https://{host}:443/") == "push-url-address"


@pytest.mark.parametrize(
    "host",
    ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfe.0xa9.0xfe", "169.254.43518", "127.1", "0", "1.1.1"],
)
def test_an_address_in_another_notation_is_none_either(host: str) -> None:
    assert LISTED.fault(f"https://{host}/") == "push-url-ambiguous"


@pytest.mark.parametrize(
    "host",
    [
        "notify.example.com",
        "evilnotify.example.com",
        "hooks.example.com.evil.example",
        "sub.hooks.example.com",
        "evil.example",
        "localhost",
        "api.localhost",
        "db",
        "metadata.google.internal",
        "printer.local",
        "sub.queue.internal",
        "odd.example.com",
        "hooks.example.com:8443",
        "odd.example.com:443",
        "hooks.example.com:80",
    ],
)
def test_what_is_not_listed_may_not_be_notified(host: str) -> None:
    assert LISTED.fault(f"https://{host}/a") == "push-url-not-listed"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///a",
        "https:hooks.example.com/a",
        "https:/hooks.example.com/a",
        "//hooks.example.com/a",
        "hooks.example.com/a",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "https://hooks.example.com@evil.example/a",
        "https://evil.example@hooks.example.com/a",
        "https://user:password@hooks.example.com/a",
        "https://evil.example\\@hooks.example.com/a",
        "https://hooks.example.com\\.evil.example/a",
        "https://hooks.example.com#@evil.example/a",
        "https://hooks.example.com/a#part",
        "https://hooks.example.com?@evil.example/a",
        "https://hooks.example.com&@evil.example/a",
        "https://hooks.example.com:/a",
        "https://hooks.example.com:0443/a",
        "https://hooks.example.com:65536/a",
        "https://hooks.example.com:443:80/a",
        "https://hooks.example.com:4x3/a",
        "https://hooks.example.com./a",
        "https://hooks..example.com/a",
        "https://.hooks.example.com/a",
        "https://hooks%2eexample.com/a",
        "https://hooks.example.com%00.evil.example/a",
        "https://hooks.example.com/%zz",
        "https://hooks.example.com/%0",
        "https://hooks.example.com /a",
        " https://hooks.example.com/a",
        "https://hooks.example.com/a\n",
        "https://hooks.example\t.com/a",
        "https://hooks.example.com/\x00",
        "https://b\u00fccher.example/a",
        "https://hooks\u3002example\u3002com/a",
        "https://\uff48ooks.example.com/a",
        "https://[fe80::1%25eth0]/a",
        "https://[::1/a",
        "https://hooks.example.com/" + "a" * MAX_LENGTH,
    ],
)
def test_what_two_readers_could_take_for_two_places_is_refused(url: str) -> None:
    assert LISTED.fault(url) == "push-url-ambiguous"


@given(
    st.text("hooks.exampl-com:/@?#\\%[]0123456789" + string.ascii_letters, max_size=40),
    st.text("hooks.exampl-com:/@?#\\%[]x0", max_size=40),
)
@example(".evil.example", "")
@example("@evil.example", "")
def test_whatever_stands_around_a_listed_host_pythons_reader_finds_the_same_host(before: str, after: str) -> None:
    url = f"https://{before}hooks.example.com{after}"
    if LISTED.fault(url):
        return
    found = urlsplit(url)
    assert (found.hostname or "") in ("hooks.example.com", "queue.internal", "xn--bcher-kva.example") or (
        found.hostname or ""
    ).endswith(".notify.example.com")
    assert found.port in (None, 443)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        "https://hooks.example.com",
        "hooks.example.com/",
        "10.0.0.1",
        "[::1]",
        "b\u00fccher.example",
        "a b",
        "x.",
    ],
)
def test_a_list_of_what_is_no_host_is_told_when_the_bundle_is_loaded(host: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        PushDestinations([host])
