"""codecs/llm_changes.py: another name, other settings; value and bytes stay one document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.llm_changes import Named, Settable, Told, with_member, with_members
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Setting

RAW = b'{"model" : "a", "o": {"effort": "low", "x": 1.0}, "list": [{"n": 1}, {"n": 2}]}'


class Asked(Settable):
    """A request whose effort stands in an object, and whose limit in two members."""

    __slots__ = ()

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        at: dict[Setting, Sequence[Path]] = {
            Setting.REASONING_EFFORT: [("o", "effort")],
            Setting.SEED: [("o", "seed")],
            Setting.MAX_TOKENS: [("most",), ("list", 1, "n")],
        }
        return at.get(setting, ())


def asked(raw: bytes = RAW) -> Asked:
    return Asked(json.loads(raw), raw)


def test_another_name_changes_no_other_byte() -> None:
    named = Named(json.loads(RAW), RAW).with_model("\u00e9")
    assert (named.model, named.raw) == ("\u00e9", RAW.replace(b'"a"', '"\u00e9"'.encode()))
    assert named.value == json.loads(named.raw)


def test_an_answer_keeps_its_texts_when_its_model_is_renamed() -> None:
    told = Told(json.loads(RAW), RAW, ()).with_model("b")
    assert (type(told), told.model, told.pieces) == (Told, "b", ())


def test_a_setting_is_read_where_it_stands_first() -> None:
    assert asked().setting(Setting.REASONING_EFFORT) == "low"
    assert asked().setting(Setting.MAX_TOKENS) == 2
    assert asked().setting(Setting.N) is None


def test_a_setting_is_written_wherever_it_stands_and_every_other_byte_stays() -> None:
    changed = asked().with_settings({Setting.MAX_TOKENS: 7, Setting.REASONING_EFFORT: "high"})
    assert changed.raw.startswith(RAW.replace(b'"low"', b'"high"').replace(b'"n": 2', b'"n": 7')[:-1])
    assert changed.value == json.loads(changed.raw)
    assert changed.value["most"] == 7


def test_a_setting_that_is_removed_leaves_what_it_stood_in() -> None:
    changed = asked().with_settings({Setting.REASONING_EFFORT: None})
    assert changed.raw == RAW.replace(b'"effort": "low", ', b"")
    assert changed.value == json.loads(changed.raw)


@pytest.mark.parametrize("raw", [b'{"model":"a"}', b'{"model":"a","o":null}'])
def test_what_settings_stand_in_is_made_for_those_that_are_wanted(raw: bytes) -> None:
    both = asked(raw).with_settings({Setting.REASONING_EFFORT: "low", Setting.SEED: 1})
    assert both.value == json.loads(both.raw) == {"model": "a", "o": {"effort": "low", "seed": 1}}
    assert asked(raw).with_settings({Setting.REASONING_EFFORT: None}).raw == raw


def test_a_setting_that_the_format_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="Asked has no n"):
        asked().with_settings({Setting.N: 1})


def test_a_changed_value_is_a_copy() -> None:
    value: dict[str, Any] = {"list": [{"n": 1}]}
    assert with_member(value, ("list", 0, "n"), 2) == {"list": [{"n": 2}]}
    assert value == {"list": [{"n": 1}]}


JSON = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
HELD = st.dictionaries(st.sampled_from(["p", "q"]), JSON, max_size=2)
PATHS = st.sampled_from([("a",), ("b",), ("o", "p"), ("o", "q"), ("h", "p")])


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"a": JSON, "o": HELD, "h": st.none()}),
    st.dictionaries(PATHS, JSON, max_size=4),
)
def test_a_value_and_its_bytes_change_alike(value: dict[str, Any], wanted: dict[Path, Any]) -> None:
    changed, raw = with_members(value, json.dumps(value).encode(), wanted)
    assert changed == json.loads(raw)
