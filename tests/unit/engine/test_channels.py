"""The rules of channels of streamed text, and the law that the same text comes out however it was cut into deltas."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.channels import Channels
from ext_proc.engine.track import LOOK_BACK, Shown
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Form, Message, Piece
from ext_proc.policy import Text, TextDeny
from tests.exchange.text_policies import Base, Forever, Nothing, Replace, Sentences, Signature, merged

CONTENT = Channel(ChannelKind.CONTENT)
ARGUMENTS = Channel(ChannelKind.TOOL_ARGUMENTS)
ALL = frozenset(ChannelKind)


@dataclass(frozen=True)
class Event:
    """A frame with texts and nothing else."""

    pieces: Sequence[Piece] = ()
    closes: Sequence[int] = ()
    messages: Sequence[Message] = ()
    batch: bool = False

    @property
    def raw(self) -> bytes:
        return "".join(piece.text for piece in self.pieces).encode() or b"."

    def encode(self, changes: Any, joined: Any = (), texts: Mapping[int, str] | None = None) -> bytes:
        raise AssertionError("not asked for here")


class Play:
    """Channels with policies; what left, per channel, and in how many frames."""

    def __init__(self, *policies: Base, hold_back: int = 1 << 20, counting: Sequence[int] | None = None) -> None:
        self.policies = policies
        positions = range(len(policies))
        self.counting = set(positions if counting is None else counting)
        self.channels = Channels(dict.fromkeys(positions, ALL), self.counting, Limits(hold_back=hold_back))
        self.left: dict[Channel, str] = {}
        self.frames = 0

    def send(self, *texts: str | tuple[Channel, str], closes: Sequence[int] = ()) -> Play:
        placed = [text if isinstance(text, tuple) else (CONTENT, text) for text in texts]
        pieces = [Piece(on, text, Form.WRITTEN_JSON if on == ARGUMENTS else Form.PLAIN) for on, text in placed]
        touched = self.channels.admit(Event(pieces, closes), {})
        assert touched is not None
        self._ask(touched)
        return self

    def finish(self) -> Play:
        self._ask(self.channels.close())
        for channel, text in self.channels.tails():
            self.left[channel] = self.left.get(channel, "") + text
        return self

    def window(self, policy: int) -> str:
        """What a policy would be shown now of the one channel that there is."""
        (shown,) = self.channels._tracks[CONTENT].read("")
        return shown.view.windows()[policy].text

    def _ask(self, touched: Iterator[Shown]) -> None:
        for track, view in touched:
            for policy, window in view.windows().items():
                verdict = self.policies[policy].on_text(window, None)  # type: ignore[attr-defined]
                assert not isinstance(verdict, TextDeny)
                track.take(view, policy, verdict)
        for released in self.channels.release():
            self.frames += 1
            for channel, text in released.before:
                self.left[channel] = self.left.get(channel, "") + text
            for index, piece in enumerate(released.frame.pieces):
                text = released.texts.get(index, piece.text)
                self.left[piece.channel] = self.left.get(piece.channel, "") + text


texts = st.text("abc. ", max_size=40)
words = st.text("abc", min_size=1, max_size=4)


def cut(whole: str, positions: list[int]) -> list[str]:
    bounds = [0, *sorted(position % (len(whole) + 1) for position in positions), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(bounds)]


@given(texts, st.lists(st.integers(0, 99), max_size=10), words, st.text("XY", max_size=3), st.booleans())
def test_the_same_text_comes_out_however_it_was_cut(
    whole: str, positions: list[int], word: str, by: str, explicit: bool
) -> None:
    play = Play(Replace(word, by))
    for text in cut(whole, positions):
        play.send(text)
    (play.send(closes=[0]) if explicit else play).finish()
    assert play.left.get(CONTENT, "") == whole.replace(word, by)


few = st.text("ab", min_size=1, max_size=3)


@given(st.text("ab", max_size=12), st.lists(st.integers(0, 99), max_size=10), few, few, st.booleans())
@settings(max_examples=1000)
def test_two_policies_in_either_order_do_what_they_do_to_the_whole_text(
    whole: str, positions: list[int], one: str, other: str, turned: bool
) -> None:
    policies = [Replace(one, "X", "one"), Replace(other, "YY", "other")]
    if turned:
        policies.reverse()
    play = Play(*policies)
    for text in cut(whole, positions):
        play.send(text)
    play.finish()
    assert play.left.get(CONTENT, "") == merged(whole, policies)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), texts), max_size=12), words)
def test_interleaved_choices_are_channels_of_their_own(sent: list[tuple[int, str]], word: str) -> None:
    play = Play(Replace(word, "X"), Sentences())
    for choice, text in sent:
        play.send((Channel(ChannelKind.CONTENT, choice), text))
    play.finish()
    for choice in {choice for choice, _ in sent}:
        whole = "".join(text for other, text in sent if other == choice)
        assert play.left[Channel(ChannelKind.CONTENT, choice)] == whole.replace(word, "X")


@given(texts, st.lists(st.integers(0, 99), max_size=10))
def test_a_policy_that_does_nothing_holds_nothing(whole: str, positions: list[int]) -> None:
    play = Play(Nothing())
    for count, text in enumerate(cut(whole, positions), start=1):
        play.send(text)
        assert play.frames == count


def test_a_frame_leaves_when_every_watermark_has_passed_it() -> None:
    play = Play(Sentences(), Nothing())
    play.send("One")
    play.send(" two")
    assert play.frames == 0
    play.send(". Three")
    assert (play.frames, play.left) == (2, {CONTENT: "One two"})
    play.send(".")
    assert play.left == {CONTENT: "One two. Three."}


def test_frames_leave_in_the_order_in_which_they_came() -> None:
    play = Play(Sentences())
    play.send("held")
    play.send((Channel(ChannelKind.CONTENT, 1), "could go."))
    assert play.frames == 0
    play.send(".")
    assert play.frames == 3


def test_a_replacement_goes_where_its_edit_begins_and_the_others_keep_their_part() -> None:
    play = Play(Replace("bcd", "-"))
    released: list[Mapping[int, str]] = []
    original = play.channels.release
    play.channels.release = lambda: (released.append(r.texts) or r for r in original())  # type: ignore[method-assign,func-returns-value]
    play.send("ab").send("c").send("de").finish()
    assert play.left == {CONTENT: "a-e"}
    assert released == [{0: "a-"}, {0: ""}, {0: "e"}]


def test_an_insert_at_the_close_goes_behind_the_last_text_of_the_closing_frame() -> None:
    play = Play(Signature())
    play.send("one").send("two", closes=[0])
    assert play.left == {CONTENT: "onetwo -- signed"}


def test_an_insert_at_a_close_without_text_needs_an_event_of_its_own() -> None:
    play = Play(Signature())
    play.send("one").send(closes=[0])
    assert play.left == {CONTENT: "one -- signed"}
    play = Play(Signature())
    assert play.send("one").finish().left == {CONTENT: "one -- signed"}


def test_text_on_a_closed_channel_is_not_taken() -> None:
    play = Play(Nothing())
    play.send("one", closes=[0])
    assert play.channels.admit(Event((Piece(CONTENT, "more"),)), {}) is None


def test_past_the_bound_the_policy_that_holds_is_named_and_can_be_given_up_on() -> None:
    play = Play(Nothing(), Forever(), hold_back=10)
    play.send("0123456789")
    assert play.channels.overdue() is None
    play.send("x")
    assert play.channels.overdue() == 1
    play.counting.discard(1)
    play.send("y")
    assert play.left == {CONTENT: "0123456789xy"}


def test_past_the_bound_nobody_is_blamed_whose_text_in_that_frame_may_leave() -> None:
    other = Channel(ChannelKind.CONTENT, 1)
    play = Play(Nothing(), Forever(), hold_back=5)
    touched = play.channels.admit(Event([Piece(CONTENT, "ab"), Piece(other, "a longer text")]), {})
    assert len(list(touched or ())) == 2
    short, long = play.channels._tracks.values()
    for policy in (0, 1):
        short.take(short._view, policy, Text(2))  # type: ignore[arg-type]  # plain text has a view
    long.take(long._view, 0, Text(13))  # type: ignore[arg-type]
    long.take(long._view, 1, Text(9))  # type: ignore[arg-type]
    assert play.channels.overdue() == 1


def test_a_choice_that_is_said_to_end_again_and_again_is_closed_once() -> None:
    play = Play(Signature()).send("a", closes=(0, 0)).send(closes=(0,)).send(closes=(0, 0))
    assert play.left == {CONTENT: "a -- signed"}


def test_an_observer_is_not_waited_for_and_edits_nothing() -> None:
    play = Play(Forever(), Replace("a", "b"), counting=[1])
    play.send("aa")
    assert play.left == {CONTENT: "bb"}
    play = Play(Replace("a", "b"), counting=[])
    play.send("aa")
    assert play.left == {CONTENT: "aa"}


def test_an_observer_that_looks_back_sees_text_that_has_left() -> None:
    play = Play(Nothing(), Sentences(), counting=[0])
    play.send("One").send(" two")
    assert play.left == {CONTENT: "One two"}
    assert play.window(1) == "One two"
    play.send(".")
    assert play.window(1) == ""


def test_a_policy_that_nothing_is_held_for_looks_back_only_so_far() -> None:
    play = Play(Forever(), counting=[])
    for _ in range(30):
        play.send("x" * 10_000)
    assert len(play.window(0)) <= LOOK_BACK


def test_a_replacement_in_json_source_is_escaped() -> None:
    play = Play(Replace("x", 'a"\n'))
    play.send((ARGUMENTS, '{"q":"x"}')).finish()
    assert play.left == {ARGUMENTS: '{"q":"a\\"\\n"}'}


def test_what_waits_at_a_deny_never_leaves() -> None:
    play = Play(Sentences())
    play.send("gone. held")
    play.channels.drop()
    play.send(".").finish()
    assert "held" not in play.left.get(CONTENT, "")


def test_frames_that_nobody_holds_are_not_held_back_however_large_they_are() -> None:
    play = Play(Nothing(), hold_back=10)
    touched = play.channels.admit(Event((Piece(CONTENT, "x" * 100),)), {})
    assert touched is not None
    ((track, view),) = touched
    assert play.channels.overdue() == 0, "nobody has said anything of it"
    track.take(view, 0, Text(100))
    assert play.channels.overdue() is None
    play = Play(Nothing(), Forever(), hold_back=10)
    play.send("held").send((Channel(ChannelKind.CONTENT, 1), "x" * 100))
    assert play.channels.overdue() == 1


def test_of_very_many_texts_in_one_frame_each_is_read_when_the_one_before_it_was_asked_about() -> None:
    channels = Channels({0: ALL}, {0}, Limits())
    touched = channels.admit(Event([Piece(ARGUMENTS, '["a","b","c', Form.WRITTEN_JSON), Piece(CONTENT, "x")]), {})
    assert touched is not None
    assert next(touched).view.windows()[0].text == "a"
    track = channels._tracks[ARGUMENTS]
    assert track._source is not None
    assert track._source._strings == 1, "the others are not read yet"
    rest = [(shown.view.windows()[0].text, shown.view.closed) for shown in touched]
    assert rest == [("b", True), ("c", False), ("x", False)]


def test_text_that_has_left_is_forgotten() -> None:
    play = Play(Nothing(), Sentences())
    for _ in range(1000):
        play.send("x" * 100 + ".")
    (track,) = play.channels._tracks.values()
    assert track.end == 101_000
    assert track._view is not None
    assert track._view._text == ""
