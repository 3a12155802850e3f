"""Asking OpenAI's streams for their usage, and taking out again what that adds: to the byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.openai_usage import asking_for_usage, asks_for_usage, without_usage

ASKED = {"stream": True, "stream_options": {"include_usage": True}}


def asking(raw: bytes) -> bytes | None:
    """The bytes of a request that asks; None where it goes on as it is."""
    found = asking_for_usage(json.loads(raw), raw)
    if found is None:
        return None
    assert json.loads(found[1]) == found[0]
    return found[1]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b'{"stream":true, "x":1.50}', b'{"stream":true, "x":1.50,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options": null,"stream":true}', b'{"stream_options": {"include_usage":true},"stream":true}'),
        (
            b'{"stream_options": {"a":1},"stream":true}',
            b'{"stream_options": {"a":1,"include_usage":true},"stream":true}',
        ),
        (
            b'{"stream_options":{"include_usage" :false},"stream":true}',
            b'{"stream_options":{"include_usage" :true},"stream":true}',
        ),
        (b'{"stream_options":{"include_usage":true},"stream":true}', None),
        (b'{"stream":false}', None),
        (b"{}", None),
        (b'{"stream":true,"stream_options":[]}', None),
    ],
)
def test_a_request_asks_where_it_did_not_and_keeps_every_other_byte(sent: bytes, expected: bytes | None) -> None:
    assert asking(sent) == expected


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": 1}, "yes"])
def test_only_true_is_asking(options: Any) -> None:
    assert not asks_for_usage({"stream_options": options})
    assert asks_for_usage(ASKED)


BESIDE = b'{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}'


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (b'{"id":"c", "choices":[],"usage":{"prompt_tokens":1}}', None),
        (b'{"choices":[{"index":0}], "usage": null, "x":1.50}', b'{"choices":[{"index":0}], "x":1.50}'),
        (b'{"choices":[],"usage":null}', b'{"choices":[]}'),
        (BESIDE, BESIDE),
        (b'{"choices":[{"index":0}]}', b'{"choices":[{"index":0}]}'),
        (b'{"choices":[],"usage":{"a":1},"prompt_filter_results":[]}', b'{"choices":[],"prompt_filter_results":[]}'),
        (b'{"error":{"message":"no"}}', b'{"error":{"message":"no"}}'),
    ],
)
def test_an_event_loses_what_asking_added_and_no_other_byte(came: bytes, left: bytes | None) -> None:
    found = without_usage(json.loads(came), came)
    assert (None if found is None else found[1]) == left
    if found is not None:
        assert json.loads(found[1]) == found[0]


values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just({"include_usage": False})


@given(st.dictionaries(st.sampled_from(["stream", "stream_options", "model", "x"]), values))
def test_asking_twice_is_asking_once(request_: dict[str, Any]) -> None:
    raw = json.dumps(request_).encode()
    asked = asking_for_usage(request_, raw)
    if asked is not None:
        assert asks_for_usage(asked[0])
        assert asking_for_usage(*asked) is None
        assert {**request_, "stream_options": 0} == {**asked[0], "stream_options": 0}
