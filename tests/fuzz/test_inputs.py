"""fuzz/inputs, fuzz/retained: inputs read the same every time, and memory is counted."""

from __future__ import annotations

import pytest

from tests.fuzz.inputs import SEPARATOR, Choices, cuttings, joined, parts
from tests.fuzz.retained import retained


@pytest.mark.parametrize("data", [b"", b"a", b"abc", b"a" * 5000], ids=len)
def test_every_cutting_joins_to_what_was_cut(data: bytes) -> None:
    found = list(cuttings(data))
    assert found[0] == [data]
    assert len(found[1]) > 1
    assert all(b"".join(chunks) == data for chunks in found)
    assert list(cuttings(data)) == found


def test_choices_are_bytes_and_then_the_first_option() -> None:
    choices = Choices(b"\x01\x05")
    assert [choices.of("abc"), choices.of("abc")] == ["b", "c"]
    assert not choices
    assert choices.of("abc") == "a"


def test_an_input_has_the_parts_that_it_was_joined_from() -> None:
    choices, found = parts(joined(b"\x01\n", b"body", b"a" + SEPARATOR + b"b"), 2)
    assert [choices.of("ab"), choices.of("ab")] == ["b", "a"]
    assert found == [b"body", b"a" + SEPARATOR + b"b"]
    assert parts(b"", 2)[1] == [b"", b""]


def test_memory_is_all_that_an_object_refers_to_once() -> None:
    held = bytes(10_000)
    assert 10_000 < retained([held, {"again": held}]) < 11_000
    assert retained(part for part in [held]) > 10_000
    assert retained([retained, pytest, Choices]) < 1000
