"""One channel: what a policy may say of it, and what that makes of plain text and of the strings in JSON source."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.track import ReadOnly, Track
from ext_proc.errors import PolicyError
from ext_proc.events import Direction
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Form, RequestText, ResponseText, Role
from ext_proc.policy import Edit, Text, TextDeny, TextWindow
from tests.exchange.text_policies import Base, Nothing, Replace, Sentences, Signature, merged
from tests.unit.framing.json_writing import strings_in, values, written

CONTENT = Channel(ChannelKind.CONTENT)
ARGUMENTS = Channel(ChannelKind.TOOL_ARGUMENTS, 1, 2, role=Role.ASSISTANT)
ALL = frozenset(ChannelKind)
VALUES = ALL - {ChannelKind.NAME}


def a_track(form: Form = Form.WRITTEN_JSON, channel: Channel = ARGUMENTS, **options: Any) -> Track:
    return Track(channel, {0: ALL}, [0], form, **options)


def shown_by(track: Track, source: str) -> list[TextWindow]:
    """What the one policy is shown of a source that is all there."""
    return [view.windows()[0] for _, view in track.whole(source) if 0 in view.windows()]


class Play:
    """A channel with policies: what was shown, and what left; each piece leaves as soon as it may."""

    def __init__(self, *policies: Base, form: Form = Form.WRITTEN_JSON, kinds: frozenset[ChannelKind] = VALUES) -> None:
        self.policies = policies
        self.track = Track(ARGUMENTS, dict.fromkeys(range(len(policies)), kinds), range(len(policies)), form)
        self.waiting: list[tuple[int, str]] = []
        self.left = ""
        self.windows: list[TextWindow] = []

    def play(self, *pieces: str) -> str:
        for piece in pieces:
            self.waiting.append((self.track.end, piece))
            self._ask(self.track.read(piece))
        self._ask(self.track.close())
        assert self.waiting == []
        return self.left + self.track.tail()

    def _ask(self, shown: Iterator[Any]) -> None:
        for track, view in list(shown):
            for policy, window in view.windows().items():
                self.windows.append(window)
                asked: Any = self.policies[policy]
                verdict = asked.on_text(window, None)
                assert not isinstance(verdict, TextDeny)
                track.take(view, policy, verdict)
        while self.waiting and self.track.stable(self.waiting[0][0], self.waiting[0][0] + len(self.waiting[0][1])):
            start, piece = self.waiting.pop(0)
            self.left += self.track.rendered(start, piece)
            self.track.forget(start + len(piece))


def cut(whole: str, positions: Sequence[int]) -> list[str]:
    bounds = [0, *sorted(position % (len(whole) + 1) for position in positions), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(bounds)]


@pytest.mark.parametrize(
    "verdict",
    [
        Text(1, (Edit(0, 1, "x"),)),
        Text(9, (Edit(3, 9, "x"),)),
        Text(5, (Edit(3, 5, "x"), Edit(4, 5, "y"))),
        Text(5, (Edit(4, 3, "x"),)),
        Text(1),
    ],
)
def test_a_policy_may_edit_only_between_its_watermark_and_the_end_and_never_go_back(verdict: Text) -> None:
    track = a_track(Form.PLAIN, CONTENT)
    ((_, view),) = track.read("abcde")
    track.take(view, 0, Text(2))
    with pytest.raises(PolicyError):
        track.take(view, 0, verdict)


def test_a_window_says_in_which_direction_its_text_goes() -> None:
    there = a_track(Form.PLAIN, Channel(ChannelKind.CONTENT, direction=Direction.REQUEST))
    assert [type(window) for window in shown_by(there, "x")] == [RequestText]
    assert [type(window) for window in shown_by(a_track(Form.PLAIN, CONTENT), "x")] == [ResponseText]


def test_a_whole_text_is_shown_once_and_closed() -> None:
    (window,) = shown_by(a_track(Form.PLAIN, CONTENT), "abc")
    assert (window.start, window.text, window.closed) == (0, "abc", True)
    windows = shown_by(a_track(), '{"a":"x","b":"cut off')
    assert [(window.text, window.closed) for window in windows] == [
        ("a", True),
        ("x", True),
        ("b", True),
        ("cut off", True),
    ]


def test_each_string_of_json_is_a_channel_of_its_own_and_a_name_is_told_apart() -> None:
    windows = shown_by(a_track(), '{"a":{"b":["x",{"c":"y"}],"n":7,"e":""}}')
    assert [(w.channel.kind, w.channel.path, w.channel.number, w.text) for w in windows] == [
        (ChannelKind.NAME, "", 0, "a"),
        (ChannelKind.NAME, "/a", 1, "b"),
        (ChannelKind.TOOL_ARGUMENTS, "/a/b/0", 2, "x"),
        (ChannelKind.NAME, "/a/b/1", 3, "c"),
        (ChannelKind.TOOL_ARGUMENTS, "/a/b/1/c", 4, "y"),
        (ChannelKind.NAME, "/a", 5, "n"),
        (ChannelKind.NAME, "/a", 6, "e"),
    ]
    assert {(w.channel.choice, w.channel.index, w.channel.role) for w in windows} == {(1, 2, Role.ASSISTANT)}
    assert len({w.channel for w in windows}) == len(windows)


def test_a_name_can_be_read_and_not_changed() -> None:
    track = a_track()
    ((_, name),) = list(track.read('{"secret":1}'))
    with pytest.raises(ReadOnly):
        track.take(name, 0, Text(6, (Edit(0, 6, "x"),)))
    assert track.rendered(0, '{"secret":1}') == '{"secret":1}'
    assert track.waiting_for()[0] >= track.end


def test_who_wants_no_names_is_shown_none_and_who_wants_nothing_costs_nothing() -> None:
    track = Track(ARGUMENTS, {0: VALUES}, [0], Form.WRITTEN_JSON)
    assert [window.text for window in shown_by(track, '{"a":"x"}')] == ["x"]
    deaf = Track(ARGUMENTS, {0: frozenset({ChannelKind.CONTENT})}, [0], Form.WRITTEN_JSON)
    assert list(deaf.whole('{"a":"x')) == []
    assert deaf.stable(0, 7)
    assert deaf._source is None


def test_a_string_that_came_in_pieces_is_shown_decoded_from_the_watermark_on() -> None:
    play = Play(Sentences())
    assert play.play('{"q":"On', "e\\u002", 'e Two","r":"x"}') == '{"q":"One\\u002e Two","r":"x"}'
    assert [(w.start, w.text, w.closed) for w in play.windows] == [
        (0, "On", False),
        (0, "One", False),
        (0, "One. Two", True),
        (0, "x", True),
    ]


def test_a_replacement_in_json_is_escaped_and_spans_whole_escapes() -> None:
    assert Play(Replace("x", 'a"\n\\é')).play('{"q":"x"}') == '{"q":"a\\"\\n\\\\é"}'
    assert Play(Replace("é", "e")).play('{"q":"caf\\u00', 'e9!"}') == '{"q":"cafe!"}'
    assert Play(Replace("😀", ":)")).play('{"q":"\\ud83d', "\\ude", '00","n":1.50}') == '{"q":":)","n":1.50}'
    assert Play(Replace("cr", "CR")).play('{"q":"se\\u0063', '\\u0072et"}') == '{"q":"seCRet"}'


def test_what_is_put_at_the_end_of_a_string_stays_inside_it() -> None:
    assert Play(Signature()).play('{"q":"x"', ',"r":"y', '"}') == '{"q":"x -- signed","r":"y -- signed"}'
    assert Play(Signature()).play('{"q":"cut') == '{"q":"cut -- signed'


def test_what_is_no_json_is_replaced_in_escaped_form_too() -> None:
    assert Play(Replace("b", '"')).play("a", "b", "c") == 'a\\"c'


def test_a_piece_waits_for_the_rest_of_an_escape_or_a_literal_and_no_longer() -> None:
    track = a_track()
    for piece, stable in (('{"a":"x\\', False), ('n","b":tr', False), ("ue", True)):
        start = track.end
        for shown in track.read(piece):
            shown.track.take(shown.view, 0, Text(shown.view.end))
        assert track.stable(start, track.end) is stable
    assert track.stable(0, track.end)


def test_nobody_is_waited_for_who_only_observes() -> None:
    track = Track(ARGUMENTS, {0: ALL}, [], Form.WRITTEN_JSON)
    assert [shown.view.windows()[0].text for shown in track.read('{"a":"x\\u00')] == ["a", "x"]
    assert track.stable(0, track.end)


def test_past_the_bound_of_values_arguments_are_plain_text() -> None:
    windows = shown_by(a_track(limits=Limits(json_values=2)), '{"a":"b"}')
    assert [window.text for window in windows] == ["a", '"b"}']


def test_skipping_passes_what_is_there_and_nothing_else() -> None:
    track = a_track(Form.PLAIN, CONTENT)
    ((_, view),) = track.read("abc")
    view.skip(*view.marks)
    assert track.waiting_for() == (3, 0)
    assert [shown.view.windows()[0].text for shown in track.read("de")] == ["de"]
    list(track.close())
    view.skip(*view.marks)
    assert track.waiting_for()[0] == float("inf")


def test_the_text_and_the_map_that_nobody_looks_back_to_are_dropped() -> None:
    play = Play(Nothing())
    play.play('{"a":"', *["\\n" * 100] * 100)
    view = play.track._view
    assert view is not None
    assert view._string is not None
    assert (view._text, len(view._string._behind)) == ("", 1)


class Numbered(Base):
    """Replaces each of its words by another number."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.words = words

    def on_text(self, text: TextWindow, ctx: Any) -> Text:
        found = re.finditer("|".join(map(re.escape, self.words)), text.text)
        edits = [
            Edit(text.start + match.start(), text.start + match.end(), str(self.words.index(match[0])))
            for match in found
        ]
        most = max(map(len, self.words)) - 1
        keep = max([text.start, text.end - most, *(edit.end for edit in edits)])
        return Text(text.end if text.closed else keep, tuple(edits))


@pytest.mark.parametrize("pieces", [["abcdef"], ["abcde", "f"], ["abc", "def"], [*"abcdef"]])
def test_of_two_edits_that_another_policys_joins_the_first_wins_however_they_came(pieces: list[str]) -> None:
    assert Play(Numbered("ab", "ef"), Replace("bcde", "X"), form=Form.PLAIN).play(*pieces) == "0"
    assert Play(Replace("bcde", "X"), Numbered("ab", "ef"), form=Form.PLAIN).play(*pieces) == "X"


def test_very_many_edits_of_one_text_are_all_made() -> None:
    many = 100_000  # looked at pair by pair they would take an hour
    assert Play(Replace("x", "yz"), form=Form.PLAIN).play("x." * many) == "yz." * many
    assert Play(Replace("x", "yz")).play('{"q":"%s"}' % ("x." * many)) == '{"q":"%s"}' % ("yz." * many)


words = st.text("ab", min_size=1, max_size=3)
strings = st.text(st.sampled_from('aabb"\\\n😀'), max_size=6)
names = st.text("xyz", max_size=3)


@given(
    st.data(),
    values(strings, names),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.tuples(words, words),
    st.booleans(),
    st.sampled_from([Form.WRITTEN_JSON, Form.VALID_JSON]),
)
@settings(max_examples=500, deadline=None)
def test_any_cutting_and_any_order_edits_each_string_as_a_whole_and_keeps_every_other_byte(
    data: st.DataObject, value: Any, where: list[int], pair: tuple[str, str], turned: bool, form: Form
) -> None:
    policies = [Replace(pair[0], 'X"\\é', "one"), Replace(pair[1], "😀", "other")]
    if turned:
        policies.reverse()
    source = data.draw(written(value))
    out = Play(*policies, Sentences(), form=form).play(*cut(source, where))
    assert out == Play(*policies, form=form).play(source)
    assert [text for _, is_name, text in strings_in(json.loads(out)) if not is_name] == [
        merged(text, policies) for _, is_name, text in strings_in(value) if not is_name
    ]
    untouched = Play(Replace("c", "d"), Sentences(), form=form).play(*cut(source, where))
    assert untouched == source
    numbers = [part for part in json.dumps(json.loads(out)).replace('"', " ").split() if part[:1].isdigit()]
    assert numbers == [part for part in json.dumps(value).replace('"', " ").split() if part[:1].isdigit()]


@given(
    st.lists(st.sampled_from([*'{}[]":,\\ 1tfnab', "\\u0061", "\\ud83d", "\\ude00"]), max_size=20).map("".join),
    st.lists(st.integers(0, 10_000), max_size=12),
    words,
)
@settings(max_examples=500, deadline=None)
def test_any_cutting_of_what_is_perhaps_no_json_gives_the_same(source: str, where: list[int], word: str) -> None:
    assert Play(Replace(word, "*"), Sentences()).play(*cut(source, where)) == Play(Replace(word, "*")).play(source)
    assert Play(Sentences()).play(*cut(source, where)) == source
