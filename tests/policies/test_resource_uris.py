"""resource_uris: one form for what all servers take for the same, none for what some might not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.schemas.uri import split_uri
from gatehouse_policies.resource_uris import MAX_LENGTH, UriGlob, normal_form, sample_of


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///srv/a.md", "file:///srv/a.md"),
        ("FILE:///srv/a.md", "file:///srv/a.md"),
        ("file:/srv/a.md", "file:///srv/a.md"),
        ("file://localhost/srv/a.md", "file:///srv/a.md"),
        ("file://LOCALHOST/srv", "file:///srv"),
        ("file:///srv/%61%2D%7e.md", "file:///srv/a-~.md"),
        ("file:///srv/a%20b%c3%bc", "file:///srv/a%20b%C3%BC"),
        ("file:///srv/ü", "file:///srv/%C3%BC"),
        ("HTTPS://Docs.Example.COM:443", "https://docs.example.com/"),
        ("https://docs.example.com:8443/a?b=c", "https://docs.example.com:8443/a?b=c"),
        ("http://h:080/", "http://h/"),
        ("http://h:/", "http://h/"),
        ("https://[0:0:0:0:0:0:0:1]/", "https://[::1]/"),
        ("https://127.0.0.1/", "https://127.0.0.1/"),
        ("docs://Policies/Leave", "docs://Policies/Leave"),
        ("urn:isbn:0451450523", "urn:isbn:0451450523"),
        ("screen://localhost", "screen://localhost"),
    ],
)
def test_equal_uris_have_one_form(uri: str, expected: str) -> None:
    assert normal_form(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "config",
        "/etc/passwd",
        "//host/x",
        "1x:y",
        "file:srv",
        "file:///srv/../etc/passwd",
        "file:///srv/./a",
        "file:///srv/%2e%2e/etc",
        "file:///srv/%2E./etc",
        "file:///srv/..;a=b/etc",
        "file:////etc/passwd",
        "file:///srv//etc",
        "file:///srv/a%2fb",
        "file:///srv/a%5cb",
        "file:///srv\\..\\etc",
        "file:///srv/%252e%252e/etc",
        "file:///srv/a%00.md",
        "file:///srv/a%0Ab",
        "file:///srv/a\nb",
        "file:///srv/a b",
        "file:///srv/{x}",
        "file:///srv/%",
        "file:///srv/%4",
        "file:///srv/%zz",
        "file:///srv/\ud800",
        "file:///srv/a#b",
        "https://docs.example.com@evil.example/",
        "docs://a@b/c",
        "https:/docs.example.com/",
        "https:docs.example.com",
        "https:///x",
        "https://docs.example.com./",
        "https://docs..example.com/",
        "https://docs%2eexample.com%40evil/",
        "https://h:1a/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://127.0.0.01/",
        "https://[::1/",
        "https://[::g]/",
        "https://ex\u00e4mple.com/",
        "https://h,i/",
        "urn:a/../b",
        "file:///" + "a" * MAX_LENGTH,
    ],
)
def test_what_could_be_read_in_several_ways_has_no_form(uri: str) -> None:
    assert normal_form(uri) is None


@given(
    st.text(alphabet=st.sampled_from("abF:/.%2e5cC@?#;[]\\ *ü01")), st.sampled_from(["file://", "https://", "x:", ""])
)
def test_a_form_is_its_own_form(rest: str, start: str) -> None:
    form = normal_form(start + rest)
    if form is not None:
        assert normal_form(form) == form
        assert form.isascii()
        assert "/../" not in form


@pytest.mark.parametrize(
    ("glob", "uri", "expected"),
    [
        ("*", "file:///x", True),
        ("file:///srv/*", "file:///srv/a/b.md", True),
        ("file:///srv/*", "file:///srv/", True),
        ("file:///srv/*", "file:///srv", False),
        ("file:///srv/*", "file:///srvx/a", False),
        ("file:///srv/*.md", "file:///srv/a/b.md", True),
        ("file:///srv/*.md", "file:///srv/a.txt", False),
        ("file:///srv/*.md", "file:///srv/secret?x=.md", False),
        ("file:///srv/*/a*", "file:///srv/x/y/ab", True),
        ("file:///aXa", "file:///aXa", True),
        ("file:///a*a", "file:///a", False),
        ("file:///srv/a", "file:///srv/a", True),
        ("https://example.com/*", "https://example.com/", True),
        ("https://example.com/*", "https://example.com.evil.example/", False),
        ("https://*.example.com/*", "https://docs.example.com/x", True),
        ("https://*.example.com/*", "https://evil.example/.example.com/x", False),
        ("https://*.example.com/*", "https://example.com/x", False),
        ("https://*", "https://example.com/x/y", True),
        ("https://*", "http://example.com/", False),
        ("weather://forecast?city=*", "weather://forecast?city=oslo", True),
        ("weather://forecast?city=*", "weather://forecast", False),
        ("weather://*", "weather://forecast?city=oslo", False),
        ("note://todo-*", "note://todo-1", True),
        ("note://todo-*", "note://todo-1/x", True),
        ("note://todo-*", "note://done-1", False),
        ("urn:doc:*", "urn:doc:1:2", True),
    ],
)
def test_a_glob_fits_whole_uris_component_by_component(glob: str, uri: str, expected: bool) -> None:
    assert normal_form(uri) == uri
    assert UriGlob(glob).fits(split_uri(uri)) is expected


@pytest.mark.parametrize(
    "glob",
    [
        "",
        "srv/*",
        "*.md",
        "*://x",
        "file*:///x",
        "File:///srv/*",
        "file:/srv/*",
        "file:///srv/%41*",
        "file:///srv/../*",
        "file:///srv/#*",
        "https://Example.com/*",
        "https://example.com*",
        "https://exa*mple.com/*",
        "https://user@example.com/*",
        "file:///" + "*a" * 17,
    ],
)
def test_a_glob_that_would_fit_something_else_than_it_seems_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        UriGlob(glob)


def test_a_glob_takes_no_longer_for_a_text_that_almost_fits() -> None:
    # With backtracking this would try every way to cut the text into nine pieces.
    assert not UriGlob("x:" + "a*" * 16 + "b").fits(split_uri("x:" + "a" * 8000))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("file:///srv/{name}", "file:///srv/x"),
        ("file:///{+path}", "file:///x"),
        ("weather://f{?city,days}", "weather://f?x"),
        ("weather://f?a=1{&b}", "weather://f?a=1&x"),
        ("a://b{/c*}{.d}{;e}", "a://b/x.x;x"),
        ("a://b{#c}", "a://b"),
        ("a://b{=c}", "a://b{=c}"),
        ("a://b{}", "a://b{}"),
        ("a://b", "a://b"),
    ],
)
def test_a_template_stands_for_the_uri_that_it_makes_of_variables_that_are_all_x(template: str, expected: str) -> None:
    assert sample_of(template) == expected
