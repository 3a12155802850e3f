"""Headers keep order, repetitions and bytes; changes compose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.headers import HeaderMutation, Headers, content_length, is_token, media_type

names = st.sampled_from(["a", "b", "c"])
mutations = st.builds(
    HeaderMutation,
    set=st.lists(st.tuples(names, st.binary(max_size=2)), max_size=3, unique_by=lambda line: line[0]).map(tuple),
    remove=st.lists(names, max_size=2, unique=True).map(tuple),
).filter(lambda mutation: not {name for name, _ in mutation.set} & set(mutation.remove))


def apply(mutation: HeaderMutation, before: dict[str, bytes]) -> dict[str, bytes]:
    kept = {name: value for name, value in before.items() if name not in mutation.remove}
    return {**kept, **dict(mutation.set)}


@given(mutations, mutations, st.dictionaries(names, st.binary(max_size=2)))
def test_two_changes_in_one_do_what_they_do_one_after_the_other(
    first: HeaderMutation, second: HeaderMutation, before: dict[str, bytes]
) -> None:
    assert apply(first.then(second), before) == apply(second, apply(first, before))


@given(mutations, mutations, mutations, st.dictionaries(names, st.binary(max_size=2)))
def test_changes_compose_associatively(
    a: HeaderMutation, b: HeaderMutation, c: HeaderMutation, before: dict[str, bytes]
) -> None:
    assert apply(a.then(b).then(c), before) == apply(a.then(b.then(c)), before)


@given(mutations)
def test_no_change_is_the_identity(mutation: HeaderMutation) -> None:
    assert HeaderMutation().then(mutation) == mutation
    assert mutation.then(HeaderMutation()) == mutation


def test_repetitions_and_bytes_that_are_no_text_are_kept() -> None:
    headers = Headers([("a", b"1"), ("b", b"\xff"), ("a", b"2")])
    assert headers.get_all("a") == (b"1", b"2")
    assert headers.get("a") == "1"
    assert headers.get("b") == "\udcff"
    assert headers.get("c") is None
    assert "a" in headers
    assert "c" not in headers
    assert len(headers) == 3


def test_a_repr_shows_names_and_no_values() -> None:
    assert repr(Headers([("authorization", b"Bearer secret")])) == "Headers(authorization)"


def test_the_media_type_is_without_parameters_and_in_lower_case() -> None:
    assert media_type(Headers.of(content_type="Application/JSON; charset=utf-8")) == "application/json"
    assert media_type(Headers()) == ""


def test_a_content_length_counts_only_if_it_is_one_plain_number() -> None:
    assert content_length(Headers.of(content_length="12")) == 12
    assert content_length(Headers()) is None
    assert content_length(Headers([("content-length", b"12"), ("content-length", b"12")])) == 12
    for lines in ([b"12", b"13"], [b"-1"], [b"+1"], [b"1e3"], [b""], [b"9" * 30], ["\u0661".encode()]):
        assert content_length(Headers(("content-length", line) for line in lines)) is None


def test_a_token_is_a_lower_case_field_name() -> None:
    assert is_token("x-gatehouse-tool")
    for name in ("", "X-A", "a b", "a:b", "ä"):
        assert not is_token(name)
