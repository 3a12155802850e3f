"""Calls that come in pieces: what waits, until when, and which arguments a call has in the end.

Not here: what becomes of a call (policies/test_proposed_calls.py, policies/test_proposed_arguments.py).
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.codec import Frame
from ext_proc.engine.gathering import GatheringDecoder
from ext_proc.messages import CompletionChunk
from ext_proc.messages.proposals import MAX_CALLS
from ext_proc.policy import Deny
from tests.exchange.test_cutting import cut_at
from tests.policies.proposing import CHAT, WAYS, Call
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import openai_building as o
from tests.unit.codecs import openai_responses_building as r
from tests.unit.codecs.llm_building import Format

MOST = 100_000
FORMATS = {"chat": CHAT, "responses": r.RESPONSES, "anthropic": a.ANTHROPIC}
STREAMED = [name for name, way in WAYS.items() if way.streams]
RUN: Call = ("run", {"command": "ls", "n": [1, {"deep": None}]})
STOP: Call = ("stop", {})


def gathering(form: Format, most: int = MOST) -> GatheringDecoder:
    return GatheringDecoder(form.decoder(), most)


def frames_of(form: Format, *chunks: bytes, most: int = MOST) -> list[Frame]:
    return o.drain(gathering(form, most), *chunks)


def calls_in(frames: Sequence[Frame]) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Each call where its name is first told, with what is known of its arguments there."""
    messages = [message for frame in frames for message in frame.messages if isinstance(message, CompletionChunk)]
    return [(call.name, call.arguments) for message in messages for call in message.proposals if not call.repeated]


def piece(text: str | None = None, name: str | None = None, *, index: int = 0, choice: int = 0) -> dict[str, Any]:
    """A piece of a chat's call."""
    function = {key: value for key, value in (("name", name), ("arguments", text)) if value is not None}
    return o.chunk({"tool_calls": [{"index": index, "function": function}]}, index=choice)


@pytest.mark.parametrize("name", STREAMED)
def test_a_call_is_known_whole_where_its_name_stands_and_every_byte_goes_on(name: str) -> None:
    way = WAYS[name]
    body = way.says([RUN, STOP])
    decoder = GatheringDecoder(way.form.decoder(o.answer_head(content_type=way.kind), path=way.path), MOST)
    frames = o.drain(decoder, body)
    assert calls_in(frames) == [RUN, STOP]
    assert b"".join(frame.raw for frame in frames) == body
    assert b"".join(frame.encode({}) for frame in frames) == body


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_leaves_from_a_name_on_until_its_choice_has_ended(form: str) -> None:
    decoder = gathering(FORMATS[form])
    events = [event + b"\n\n" for event in WAYS[f"{form} streamed"].says([RUN]).split(b"\n\n")[:-1]]
    left = [[frame.raw for frame in decoder.feed(event)] for event in events]
    named = next(at for at, event in enumerate(events) if b'"run"' in event)
    first = next(at for at, frames in enumerate(left) if at >= named and frames)
    assert left[:named] == [[event] for event in events[:named]]
    assert left[first] == events[named : first + 1]
    assert first > named + 1
    assert left[first + 1 :] == [[event] for event in events[first + 1 :]]


def test_a_stream_without_calls_is_not_held_up_at_all() -> None:
    decoder = gathering(CHAT)
    for value in (o.says("hello"), o.says(" you"), o.chunk(finish="stop")):
        assert [frame.raw for frame in decoder.feed(o.event(value))] == [o.event(value)]


def test_calls_of_several_choices_wait_for_each_other() -> None:
    values = [
        piece('{"a"', "one", choice=0),
        piece('{"b"', "two", choice=1),
        piece(": 1}", choice=0),
        o.chunk(finish="tool_calls", index=0),
        piece(": 2}", choice=1),
        o.chunk(finish="tool_calls", index=1),
    ]
    decoder = gathering(CHAT)
    left = [len(list(decoder.feed(o.event(value)))) for value in values]
    assert left == [0, 0, 0, 0, 0, 6]
    assert calls_in(frames_of(CHAT, o.stream(*values))) == [("one", {"a": 1}), ("two", {"b": 2})]


def test_a_call_of_which_pieces_came_before_its_name_is_not_known() -> None:
    body = o.stream(piece('{"a"'), piece(": 1}", "one"), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("one", None)]


def test_a_call_that_begins_twice_is_not_known() -> None:
    begun = [{"type": "tool_use", "id": "t", "name": "run", "input": {"a": number}} for number in (1, 2)]
    again = a.story(*(a.begin(each) for each in begun), a.ends())
    assert calls_in(frames_of(a.ANTHROPIC, again)) == [("run", None), ("run", None)]
    # In a chat a call may begin again behind its choice's end.
    late = o.stream(piece("{}", "one"), o.chunk(finish="tool_calls"), piece(None, "one"))
    assert calls_in(frames_of(CHAT, late)) == [("one", {}), ("one", None)]


def test_arguments_and_plain_input_are_not_put_together() -> None:
    plain = o.chunk({"tool_calls": [{"index": 0, "custom": {"input": '{"a": 1, "b":'}}]})
    body = o.stream(piece(" ", "one"), plain, piece('{"a": 2}'), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("one", {"a": 2})]


def test_pieces_that_official_clients_pass_over_are_not_put_together_with_the_others() -> None:
    begun = a.begin({"type": "tool_use", "id": "t", "name": "run", "input": {}})
    pieces = [("x_delta", '{"a": 1, "b":'), ("input_json_delta", '{"a": 2}'), ("x_delta", "}")]
    deltas = [a.delta(0, type=kind, partial_json=text) for kind, text in pieces]
    assert calls_in(frames_of(a.ANTHROPIC, a.story(begun, *deltas, a.ends()))) == [("run", {"a": 2})]


def test_calls_that_come_side_by_side_are_each_known() -> None:
    first, second = (called("", id=f"fc_{number}", name=f"run{number}") for number in (0, 1))
    done = [{**each, "arguments": f'{{"a": {number}}}'} for number, each in enumerate((first, second))]
    values: list[Any] = r.begins(first) + r.begins(second, 1)
    for last in ("delta", "done"):
        member = "delta" if last == "delta" else "arguments"
        values += [
            r.event(f"response.function_call_arguments.{last}", output_index=at, **{member: each["arguments"]})
            for at, each in enumerate(done)
        ]
    values += [r.event("response.output_item.done", output_index=at, item=each) for at, each in enumerate(done)]
    body = r.stream(*values, r.event("response.completed", response=r.answer(*done)))
    assert calls_in(frames_of(r.RESPONSES, body)) == [("run0", {"a": 0}), ("run1", {"a": 1})]


def test_a_call_that_is_told_in_one_event_waits_for_the_end_of_its_choice_only() -> None:
    body = o.stream(piece('{"a": 1}', "one"), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("one", {"a": 1})]
    at_once = piece('{"a": 1}', "one")
    at_once["choices"][0]["finish_reason"] = "tool_calls"
    assert len(list(gathering(CHAT).feed(o.event(at_once)))) == 1


def test_a_custom_tools_plain_text_is_its_input() -> None:
    begun = {"tool_calls": [{"index": 0, "custom": {"name": "shell", "input": "rm"}}]}
    more = {"tool_calls": [{"index": 0, "custom": {"input": " -r"}}]}
    body = o.stream(o.chunk(begun), o.chunk(more), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("shell", {"input": "rm -r"})]


@pytest.mark.parametrize("text", ["", " ", "{}"])
def test_a_call_without_arguments_has_none_and_that_is_known(text: str) -> None:
    body = o.stream(piece(text, "one"), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("one", {})]


@pytest.mark.parametrize("text", ["[1]", '"x"', '{"a": 1', '{"a": 1} {"a": 2}', '{"a": 1, "a": 2}', "null"])
def test_what_is_no_object_is_not_known(text: str) -> None:
    body = o.stream(piece(text, "one"), o.chunk(finish="tool_calls"))
    assert calls_in(frames_of(CHAT, body)) == [("one", None)]


def test_where_no_piece_follows_a_block_is_what_it_began_as() -> None:
    begun = {"type": "tool_use", "id": "t", "name": "run", "input": {"a": 1}}
    assert calls_in(frames_of(a.ANTHROPIC, a.story(a.begin(begun), a.ends()))) == [("run", {"a": 1})]
    with_more = a.story(a.begin(begun), a.delta(0, type="input_json_delta", partial_json='{"b": 2}'), a.ends())
    assert calls_in(frames_of(a.ANTHROPIC, with_more)) == [("run", None)]
    the_same = a.story(a.begin(begun), a.delta(0, type="input_json_delta", partial_json='{"a":1}'), a.ends())
    assert calls_in(frames_of(a.ANTHROPIC, the_same)) == [("run", {"a": 1})]


def called(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"id": "fc", "type": "function_call", "call_id": "c", "name": "run", "arguments": arguments, **fields}


def responses(*inner: Any, last: str = '{"a": 1}') -> bytes:
    done = called(last, status="completed")
    return r.stream(
        *r.begins(called("")),
        *inner,
        r.event("response.output_item.done", output_index=0, item=done),
        r.event("response.completed", response=r.answer(done)),
    )


def arguments_event(last: str, **members: Any) -> dict[str, Any]:
    return r.event(f"response.function_call_arguments.{last}", item_id="fc", output_index=0, **members)


def test_where_no_piece_follows_an_item_is_what_it_is_when_it_is_done() -> None:
    assert calls_in(frames_of(r.RESPONSES, responses())) == [("run", {"a": 1})]
    told = responses(arguments_event("done", name="run", arguments='{"a": 1}'))
    assert calls_in(frames_of(r.RESPONSES, told)) == [("run", {"a": 1})]


def told_again(frames: Sequence[Frame]) -> list[Mapping[str, Any] | None]:
    messages = [message for frame in frames for message in frame.messages if isinstance(message, CompletionChunk)]
    return [call.arguments for message in messages for call in message.proposals if call.repeated]


def test_what_tells_a_call_again_says_by_itself_what_that_is() -> None:
    pieces = [arguments_event("delta", delta='{"a":'), arguments_event("delta", delta="1}")]
    nameless = arguments_event("done", arguments='{"a": 2}')
    frames = frames_of(r.RESPONSES, responses(*pieces, nameless, last='{"a": 3}'))
    assert calls_in(frames) == [("run", {"a": 1})]
    assert told_again(frames) == [{"a": 2}, {"a": 3}, {"a": 3}]
    late = responses(*pieces).replace(
        b"event: response.completed", r.encoded_event(nameless) + b"event: response.completed"
    )
    assert told_again(frames_of(r.RESPONSES, late)) == [{"a": 1}, {"a": 2}, {"a": 1}]


def test_a_shells_call_is_known_when_its_item_is_done() -> None:
    begun = {"id": "sh", "type": "shell_call", "call_id": "c", "status": "in_progress", "action": {"commands": []}}
    done = {**begun, "status": "completed", "action": {"commands": ["ls"]}}
    body = r.stream(
        *r.begins(begun),
        r.event("response.shell_call_command.delta", output_index=0, command_index=0, delta="ls"),
        r.event("response.output_item.done", output_index=0, item=done),
        r.event("response.completed", response=r.answer(done)),
    )
    assert calls_in(frames_of(r.RESPONSES, body)) == [("shell", {"action": {"commands": ["ls"]}})]


def test_an_answer_that_is_cut_off_leaves_what_came_and_the_call_is_not_known() -> None:
    body = o.event(piece('{"a": 1}', "one"))
    frames = frames_of(CHAT, body)
    assert b"".join(frame.raw for frame in frames) == body
    assert calls_in(frames) == [("one", None)]


def test_an_error_ends_the_waiting() -> None:
    decoder = gathering(CHAT)
    values: list[Any] = [piece('{"a":', "one"), {"error": {"message": "overloaded"}}]
    assert [len(list(decoder.feed(o.event(value)))) for value in values] == [0, 2]


def test_past_the_limit_nothing_waits_and_the_call_is_not_known() -> None:
    body = o.stream(piece('{"a": "', "one"), *(piece("x" * 100) for _ in range(30)), piece('"}'))
    decoder = gathering(CHAT, most=2000)
    left = [len(list(decoder.feed(event + b"\n\n"))) for event in body.split(b"\n\n")[:-1]]
    assert 0 < left.index(max(left)) < 10
    assert sum(left) == len(left)
    assert calls_in(frames_of(CHAT, body, most=2000)) == [("one", None)]


def test_frames_count_beside_their_bytes_so_that_many_short_ones_are_bounded_too() -> None:
    decoder = gathering(CHAT, most=20_000)
    assert list(decoder.feed(o.event(piece("{", "one")))) == []
    left = list(decoder.feed(b"\n" * 1000))
    assert len(left) > 100


def test_what_was_handed_on_is_not_kept() -> None:
    decoder = gathering(CHAT, most=1 << 20)
    tracemalloc.start()
    try:
        kept = []
        for index in range(40):
            # Each is another choice, which ends with it.
            long = piece('{"a": ["' + "x" * 20_000 + '"]}', "one", choice=index)
            ended = o.chunk(finish="tool_calls", index=index)
            assert len(list(decoder.feed(o.event(long) + o.event(ended)))) == 2
            kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert kept[-1] - kept[5] < 200_000


def test_of_calls_without_number_so_many_are_gathered() -> None:
    each = [{"index": index, "function": {"name": "run", "arguments": ""}} for index in range(1024)]
    values = [o.chunk({"tool_calls": each}, index=choice, finish="tool_calls") for choice in range(MAX_CALLS // 1024)]
    frames = frames_of(CHAT, o.stream(*values, piece("", "more", choice=9), o.chunk(finish="tool_calls", index=9)))
    assert calls_in(frames) == [("run", {})] * MAX_CALLS + [("more", None)]


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_that_is_stopped_ends_what_has_left_and_nothing_else(form: str) -> None:
    body = WAYS[f"{form} streamed"].says([RUN])
    at = body.index(b"ls")
    waiting, plain = gathering(FORMATS[form]), FORMATS[form].decoder()
    left = list(waiting.feed(body[:at]))
    before = len(b"".join(frame.raw for frame in left))
    list(plain.feed(body[:before]))
    deny = Deny("no", "stopped")
    ended, as_if = (decoder.stream_end(deny, "t") for decoder in (waiting, plain))
    without_numbers = [[{**json.loads(line), "sequence_number": 0} for line in lines(end)] for end in (ended, as_if)]
    assert without_numbers[0] == without_numbers[1]


def lines(body: bytes) -> list[bytes]:
    data = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [line for line in data if line != b"[DONE]"]


@pytest.mark.parametrize("form", FORMATS)
def test_recorded_streams_go_through_byte_for_byte_and_all_their_calls_are_known(form: str) -> None:
    streams = [found for found in FORMATS[form].recordings.values() if found.streams and found.status == 200]
    for recording in streams:
        _, requests = FORMATS[form].asked_in(recording)
        frames = o.drain(GatheringDecoder(FORMATS[form].decoder(requests=requests), MOST), recording.response)
        assert b"".join(frame.encode({}) for frame in frames) == recording.response
        assert recording.interrupted or all(arguments is not None for _, arguments in calls_in(frames))
    assert streams


@given(
    st.sampled_from(STREAMED),
    st.lists(st.sampled_from([RUN, STOP]), max_size=3),
    st.lists(st.integers(0, 4000), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_any_cutting_gives_the_same_frames_and_the_same_calls(name: str, calls: list[Call], where: list[int]) -> None:
    way = WAYS[name]
    body = way.says(calls)

    def through(chunks: Sequence[bytes]) -> tuple[list[bytes], list[Any]]:
        decoder = GatheringDecoder(way.form.decoder(o.answer_head(content_type=way.kind), path=way.path), MOST)
        frames = o.drain(decoder, *chunks)
        return [frame.raw for frame in frames], calls_in(frames)

    assert through(cut_at(body, where)) == through([body])
