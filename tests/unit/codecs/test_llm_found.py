"""codecs/llm_found.py: the channels of texts, and what is written where they change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ext_proc.codecs.llm_channels import Channels
from ext_proc.codecs.llm_found import Found, numbered, placed, spliced_spots, with_texts
from ext_proc.codecs.llm_texts import Place
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Form, Role

CONTENT, ARGUMENTS = ChannelKind.CONTENT, ChannelKind.TOOL_ARGUMENTS
RAW = b'{"a": "one", "b": "two", "args": {"n": 1.0}, "sum": "s"}'
VALUE = json.loads(RAW)
OWN = Found(CONTENT, Role.ASSISTANT, ("a",), "one", index=0)
OTHER = Found(CONTENT, Role.TOOL, ("b",), "two")
JSON = Found(ARGUMENTS, Role.ASSISTANT, ("args",), None)


def beside(value: Any, path: Path) -> Mapping[Path, bytes | None]:
    """With each text goes the sum of them."""
    return {("sum",): None}


def test_a_text_of_an_answer_keeps_its_index_and_all_others_are_counted() -> None:
    places = list(placed([OWN, OTHER, JSON], 3, RAW))
    assert [place.channel for place in places] == [
        Channel(CONTENT, 3, 0),
        Channel(CONTENT, 3, 1, role=Role.TOOL),
        Channel(ARGUMENTS, 3, 2),
    ]
    assert [place.channel.index for place in placed([OTHER, OWN, JSON], 0, RAW, others=80)] == [80, 0, 81]


def test_a_json_value_is_seen_as_its_source() -> None:
    (place,) = placed([JSON], 0, RAW)
    assert (place.text, place.json, place.piece.form) == ('{"n": 1.0}', True, Form.VALID_JSON)


def test_arguments_that_are_a_text_are_json_as_a_model_wrote_it() -> None:
    assert Place(Channel(ARGUMENTS), (), "{").piece.form is Form.WRITTEN_JSON
    assert Place(Channel(CONTENT), (), "{").piece.form is Form.PLAIN


def test_the_texts_of_a_request_are_counted_by_kind_and_speaker() -> None:
    places = numbered([OWN, OTHER, OWN, JSON], 5, RAW)
    told = [(place.channel.kind, place.channel.role, place.channel.index) for place in places]
    assert told == [
        (CONTENT, Role.ASSISTANT, 0),
        (CONTENT, Role.TOOL, 0),
        (CONTENT, Role.ASSISTANT, 1),
        (ARGUMENTS, Role.ASSISTANT, 0),
    ]
    (place,) = numbered([OWN], 5, RAW)
    assert (place.channel.choice, place.channel.direction) == (5, Direction.REQUEST)


def test_a_request_with_new_texts_keeps_all_else_but_what_stands_beside_them() -> None:
    value, raw = with_texts(VALUE, RAW, numbered([OWN, OTHER, JSON], 0, RAW), {0: 'n"w', 2: '{"n":2}'}, beside)
    assert raw == b'{"a": "n\\"w", "b": "two", "args": {"n":2}}'
    assert value == json.loads(raw)
    assert with_texts(VALUE, RAW, numbered([OWN], 0, RAW), {0: "x"})[1] == RAW.replace(b"one", b"x")


def test_a_text_that_a_policy_took_out_of_an_answer_is_not_put_back() -> None:
    spots = Channels().spots(placed([OWN, OTHER], 0, RAW))
    assert spliced_spots(beside, VALUE, spots, {0: "x"}) == {("a",): b'"x"', ("sum",): None}
    assert spliced_spots(beside, {"b": "two"}, spots, {0: "x"}) == {}
