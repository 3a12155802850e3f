"""Strings of JSON source are found, decoded and mapped back, however it is cut; what is no JSON is plain text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.framing.json_source import MAX_KEY, JsonSource, JsonString
from tests.unit.framing.json_writing import strings_in, values, written


def read(source: str, where: Sequence[int] = (), **options: Any) -> list[tuple[JsonString, str]]:
    """Every string, whole, from a source cut at these positions."""
    reader = JsonSource(**options)
    texts: dict[JsonString, str] = {}
    ended: set[JsonString] = set()
    bounds = [0, *sorted(at % (len(source) + 1) for at in where), len(source)]
    stretches = [
        stretch for start, end in itertools.pairwise(bounds) for stretch in list(reader.feed(source[start:end]))
    ]
    for string, text, over in [*stretches, *reader.close()]:
        assert string not in ended
        texts[string] = texts.get(string, "") + text
        if over:
            ended.add(string)
    assert ended == texts.keys()
    assert reader.frontier == len(source)
    return list(texts.items())


def told(source: str, where: Sequence[int] = (), **options: Any) -> list[Any]:
    """All that is known of the strings, the way back to the source included."""
    return [
        (s.number, s.path, s.is_name, text, [s.source_offset(at) for at in range(len(text) + 1)])
        for s, text in read(source, where, **options)
    ]


def found(source: str, **options: Any) -> list[tuple[str, bool, str]]:
    return [(string.path, string.is_name, text) for string, text in read(source, **options)]


characters = st.text(st.sampled_from('ab"\\/\n\x00é😀\ud7ff�'), max_size=5)
documents = values(characters, characters)
positions = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.data(), documents, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_string_is_found_where_it_stands_and_each_character_leads_back_to_its_source(
    data: st.DataObject, value: Any, valid: bool
) -> None:
    source = data.draw(written(value))
    strings = read(source, valid=valid)
    assert [(s.path, s.is_name, text) for s, text in strings] == list(strings_in(value))
    assert [s.number for s, _ in strings] == list(range(len(strings)))
    for string, text in strings:
        for at, character in enumerate(text):
            spelled = source[string.source_offset(at) : string.source_offset(at + 1)]
            assert json.loads(f'"{spelled}"') == character
        assert source[string.source_offset(len(text))] == '"'


@given(st.data(), documents, positions)
@settings(max_examples=300, deadline=None)
def test_no_cutting_of_json_changes_what_is_found(data: st.DataObject, value: Any, where: list[int]) -> None:
    source = data.draw(written(value))
    assert told(source, where) == told(source)
    assert told(source, range(len(source))) == told(source)


fragments = st.lists(
    st.sampled_from([*'{}[]"":,\\ 1-.eEtfnuxd', "true", "fals", "null", "\\u", "\\ud83d", "\\ude0", "\\\\", "é"]),
    max_size=24,
).map("".join)


@given(fragments | st.text('{}[]",:\\u ', max_size=12), positions, st.booleans())
@settings(max_examples=1000, deadline=None)
def test_no_cutting_of_anything_changes_what_is_found(source: str, where: list[int], bounded: bool) -> None:
    options: dict[str, Any] = {"max_depth": 2, "max_values": 3} if bounded else {}
    assert told(source, where, **options) == told(source, **options)
    assert told(source, range(len(source)), **options) == told(source, **options)


@given(fragments)
@settings(max_examples=500, deadline=None)
def test_what_is_not_found_is_punctuation_numbers_and_literals(source: str) -> None:
    rest, at = "", 0
    for string, text in read(source):
        rest += source[at : string.source_offset(0)]
        at = string.source_offset(len(text))
    rest = re.sub(r"[-.0-9][-.0-9eE]*", "", rest + source[at:])  # numbers are not looked into
    for literal in ("true", "false", "null"):
        rest = rest.replace(literal, "")
    cut = rest.rstrip("abcdefghijklmnopqrstuvwxyz")  # a literal that the end cut off
    assert rest[len(cut) :] in {"", *("t", "tr", "tru", "f", "fa", "fal", "fals", "n", "nu", "nul"), "e"}
    assert set(cut) <= set('{}[]":, 1-.eE')


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("this is no JSON", "this is no JSON"),
        ("4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("  'q'", "'q'"),
        ('I said "x"', 'I said "x"'),
        ('{"a":1} and more', "and more"),
        ('{"a": bare, "b":"c"}', 'bare, "b":"c"}'),
        ('{"a": truth}', "truth}"),
        ("[1]]", "]"),
        ("[1}", "}"),
        ('{"a":1,, x "\\u0073ecret"', 'x "secret"'),
        ("[12abc", "abc"),
    ],
)
def test_what_is_no_json_is_one_plain_text_from_there_on(source: str, plain: str) -> None:
    assert found(source)[-1] == ("", False, plain)
    assert told(source, range(len(source))) == told(source)


def test_objects_that_follow_each_other_are_read_as_such() -> None:
    assert found('{"a":"x"}\n{"b":["y"]}') == [
        ("", True, "a"),
        ("/a", False, "x"),
        ("", True, "b"),
        ("/b/0", False, "y"),
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r'"a\qb"', "aqb"),
        (r'"\u12"', "u12"),
        (r'"\ud83d"', "�"),
        (r'"\ude00\ud83d"', "��"),
        (r'"\ud83dx\ude00"', "�x�"),
        (r'"\ud83d\ud83d\ude00"', "�😀"),
        ('"a\nb"', "a\nb"),
        (r'"cut\u00', "cutu00"),
        ('"cut\\', "cut\\"),
        (r'"cut\ud83d\ud', "cut�ud"),
    ],
)
def test_half_escapes_and_half_characters_are_read_leniently(source: str, text: str) -> None:
    assert found(source) == [("", False, text)]
    assert told(source, range(len(source))) == told(source)


def test_past_the_bounds_the_rest_is_plain_text_unless_it_is_known_to_be_json() -> None:
    deep = '[[["x"]]]'
    assert found(deep, max_depth=2) == [("", False, '["x"]]]')]
    assert found(deep, max_depth=2, valid=True) == [("/0/0/0", False, "x")]
    assert found('["a","b"]', max_values=2) == [("/0", False, "a"), ("", False, '"b"]')]
    assert found('["a","b"]', max_values=2, valid=True)[-1] == ("/1", False, "b")


def test_a_key_twice_makes_two_strings_of_different_numbers() -> None:
    (_, one), (_, other) = ((s.path, s.number) for s, _ in read('{"a":"x","a":"y"}') if not s.is_name)
    assert one != other


def test_a_long_key_is_cut_in_paths() -> None:
    (path,) = [path for path, is_name, _ in found('{"' + "k" * 1000 + '":"x"}') if not is_name]
    assert path == "/" + "k" * MAX_KEY


def test_half_an_escape_and_half_a_literal_wait_for_the_rest() -> None:
    reader = JsonSource()
    assert [text for _, text, _ in reader.feed('{"a":"b\\u00')] == ["a", "b"]
    assert reader.frontier == len('{"a":"b')
    assert [text for _, text, _ in reader.feed('e9", "c": tr')] == ["é", "c"]
    assert reader.frontier == len('{"a":"b\\u00e9", "c": ')
    assert list(reader.feed("ue}")) == []
    assert reader.frontier == len('{"a":"b\\u00e9", "c": true}')


def test_the_map_of_what_is_asked_for_no_more_is_dropped() -> None:
    reader = JsonSource()
    ((string, text, _),) = reader.feed('"' + "\\n" * 1000)
    before = [string.source_offset(at) for at in range(999, 1001)]
    string.forget(999)
    assert [string.source_offset(at) for at in range(999, 1001)] == before
    assert (len(string._behind), len(text)) == (2, 1000)
