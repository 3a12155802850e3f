"""XFCC by its grammar: what one reader could take for a value and another for an element is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.source import CredentialError
from ext_proc.credentials.xfcc import Element, read_xfcc

HASH = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"


def elements(value: str) -> list[dict[str, list[str]]]:
    return [{key: list(found) for key, found in element.values.items()} for element in read_xfcc(value.encode())]


def test_one_element_has_its_pairs() -> None:
    value = f'By=spiffe://a/gw;Hash={HASH};Subject="/C=US/L=San Francisco/CN=Test";URI=spiffe://a/client'
    assert elements(value) == [
        {
            "by": ["spiffe://a/gw"],
            "hash": [HASH],
            "subject": ["/C=US/L=San Francisco/CN=Test"],
            "uri": ["spiffe://a/client"],
        }
    ]


def test_elements_stand_in_their_order_and_keys_are_case_insensitive() -> None:
    assert elements("HASH=1;uri=a, hash=2;URI=b,Hash=3") == [
        {"hash": ["1"], "uri": ["a"]},
        {"hash": ["2"], "uri": ["b"]},
        {"hash": ["3"]},
    ]


def test_a_certificate_may_have_several_names() -> None:
    assert elements("Hash=1;URI=a;URI=b;DNS=x;DNS=y;By=c;By=d") == [
        {"hash": ["1"], "uri": ["a", "b"], "dns": ["x", "y"], "by": ["c", "d"]}
    ]


def test_a_quoted_value_may_hold_every_sign() -> None:
    (element,) = elements(r'Subject="CN=a\"b,O=x;y\\,L=\C3\BC=z";Hash=1')
    assert element["subject"] == [r"CN=a\"b,O=x;y\\,L=\C3\BC=z"]
    assert elements('Subject="";Hash=1') == [{"subject": [""], "hash": ["1"]}]


def test_an_equals_sign_in_a_plain_value_belongs_to_it() -> None:
    assert elements("URI=https://x/?a=b;Hash=1") == [{"uri": ["https://x/?a=b"], "hash": ["1"]}]


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        ";",
        "=",
        "URI",
        "URI;Hash=1",
        "=spiffe://a/b",
        "Hash=1,",
        "Hash=1;",
        ",Hash=1",
        "Hash=1,,Hash=2",
        "Hash=1;;URI=a",
        "Hash =1",
        "Hash=1 ;x",
        "Hash=1;Hash=2",
        'Subject="a";Subject="b"',
        'Subject="a',
        'Subject="a\\"',
        'Subject="a"b',
        'Subject=a"b"',
        'Subject="a" ;Hash=1',
        'URI="spiffe://a/x""spiffe://a/y"',
        "Ha\u00e9sh=1",
        "1Hash=1",
        'Hash=a;URI=spiffe://prod/admin;Subject=",By=x;Hash=b;Subject="CN=me";URI=spiffe://prod/me',
        'Hash=a;URI=spiffe://prod/admin;Subject=",By=x;Hash=b;URI=spiffe://prod/me',
    ],
)
def test_anything_else_is_malformed_as_a_whole(value: str) -> None:
    with pytest.raises(CredentialError) as error:
        read_xfcc(value.encode())
    assert error.value.reason == "peer-malformed"


def test_bytes_that_are_no_text_are_malformed() -> None:
    with pytest.raises(CredentialError):
        read_xfcc(b"Hash=1;URI=\xff")


@given(st.binary(max_size=80) | st.text(alphabet='ab=;,"\\ URIhas1', max_size=80).map(str.encode))
def test_any_bytes_are_elements_or_malformed(value: bytes) -> None:
    try:
        found = read_xfcc(value)
    except CredentialError:
        return
    assert found
    assert all(element.values for element in found)


PLAIN = st.text(alphabet="abcXYZ019:/.-_=?& ", max_size=12)
QUOTED = st.text(alphabet='abc,;=" \\/', max_size=12)


def written(pairs: list[tuple[str, str, bool]]) -> str:
    """An element as Envoy writes it: a value with signs of the grammar in quotes, RFC 2253's escapes before signs."""
    texts = []
    for key, value, quoted in pairs:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        texts.append(f'{key}="{escaped}"' if quoted else f"{key}={value}")
    return ";".join(texts)


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["URI", "DNS", "By"]), PLAIN, st.just(False))
            | st.tuples(st.sampled_from(["URI", "DNS"]), QUOTED, st.just(True)),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_was_written_is_read_again(chain: list[list[tuple[str, str, bool]]]) -> None:
    found = read_xfcc(",".join(map(written, chain)).encode())
    assert len(found) == len(chain)
    for element, pairs in zip(found, chain, strict=True):
        for key in ("uri", "dns", "by"):
            values = [value.replace('\\"', '"').replace("\\\\", "\\") for value in element.all(key)]
            assert values == [_unescaped(value, quoted) for name, value, quoted in pairs if name.lower() == key]


def _unescaped(value: str, quoted: bool) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"') if quoted else value
    return escaped.replace('\\"', '"').replace("\\\\", "\\")


@given(st.text(alphabet='ab,;="\\', max_size=20))
def test_nothing_that_a_client_writes_before_hides_or_changes_envoys_own_element(forged: str) -> None:
    own = 'By=spiffe://prod/gw;Hash=1;Subject="CN=me";URI=spiffe://prod/me'
    try:
        last = read_xfcc(f"{forged},{own}".encode())[-1]
    except CredentialError:
        return
    assert last == Element(
        {"by": ["spiffe://prod/gw"], "hash": ["1"], "subject": ["CN=me"], "uri": ["spiffe://prod/me"]}
    )
