"""schemas/uri.py: references resolved as RFC 3986 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.schemas.uri import resolve, split_uri, without_dots

BASE = "http://a/b/c/d;p?q"
# RFC 3986, sections 5.4.1 and 5.4.2.
EXAMPLES = {
    "g:h": "g:h",
    "g": "http://a/b/c/g",
    "./g": "http://a/b/c/g",
    "g/": "http://a/b/c/g/",
    "/g": "http://a/g",
    "//g": "http://g",
    "?y": "http://a/b/c/d;p?y",
    "g?y": "http://a/b/c/g?y",
    "#s": "http://a/b/c/d;p?q#s",
    "g#s": "http://a/b/c/g#s",
    "g?y#s": "http://a/b/c/g?y#s",
    ";x": "http://a/b/c/;x",
    "g;x?y#s": "http://a/b/c/g;x?y#s",
    "": "http://a/b/c/d;p?q",
    ".": "http://a/b/c/",
    "./": "http://a/b/c/",
    "..": "http://a/b/",
    "../": "http://a/b/",
    "../g": "http://a/b/g",
    "../..": "http://a/",
    "../../": "http://a/",
    "../../g": "http://a/g",
    "../../../g": "http://a/g",
    "../../../../g": "http://a/g",
    "/./g": "http://a/g",
    "/../g": "http://a/g",
    "g.": "http://a/b/c/g.",
    ".g": "http://a/b/c/.g",
    "g..": "http://a/b/c/g..",
    "..g": "http://a/b/c/..g",
    "./../g": "http://a/b/g",
    "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h",
    "g/../h": "http://a/b/c/h",
    "g;x=1/./y": "http://a/b/c/g;x=1/y",
    "g;x=1/../y": "http://a/b/c/y",
    "g?y/../x": "http://a/b/c/g?y/../x",
    "g#s/../x": "http://a/b/c/g#s/../x",
}


@pytest.mark.parametrize(("reference", "expected"), EXAMPLES.items())
def test_the_examples_of_the_rfc_resolve_as_it_says(reference: str, expected: str) -> None:
    uri, fragment = resolve(BASE, reference)
    assert (f"{uri}#{fragment}" if fragment else uri) == expected


def test_a_scheme_that_nobody_knows_keeps_its_base() -> None:
    assert resolve("urn:example:1", "#anchor") == ("urn:example:1", "anchor")
    assert resolve("tag:example.com,2026:a", "") == ("tag:example.com,2026:a", "")


def test_without_a_base_a_reference_stays_relative() -> None:
    assert resolve("", "#/$defs/a") == ("", "/$defs/a")
    assert resolve("", "other.json") == ("other.json", "")


def test_a_path_behind_a_bare_authority_starts_at_its_root() -> None:
    assert resolve("http://host", "a") == ("http://host/a", "")


def test_a_component_that_is_empty_is_not_one_that_is_missing() -> None:
    assert split_uri("a?#") == (None, None, "a", "", "")
    assert str(split_uri("file:///a?#")) == "file:///a?#"


@given(st.text())
def test_every_text_has_components_that_make_the_same_text(text: str) -> None:
    assert str(split_uri(text)) == text


@given(st.lists(st.sampled_from(["a", ".", "..", "", "b.c"]), max_size=8))
def test_no_dots_are_left_behind_a_root(segments: list[str]) -> None:
    path = without_dots("/" + "/".join(segments))
    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))
