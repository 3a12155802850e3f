"""What somebody reads who is asked: all of it can be seen, and none of it speaks for the gate."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from gatehouse_policies.confirm_words import allowed, invitation, name, pretty, question

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


def asks(arguments: str = "{}", tool: str = "delete_file", caller: str = "ann", actor: str = "") -> str:
    return question(tool, "files", caller, actor, pretty(arguments), 1, 600.0)


def test_it_says_what_is_asked_for_whom_by_whom_and_how_often() -> None:
    assert asks('{"path":"/srv/a"}', actor="agent-7") == (
        'Allow the tool "delete_file" of the server "files" to be called once, within 10m?\n'
        'It is asked for by "ann", through the agent "agent-7", with exactly these arguments:\n'
        "\n"
        "    {\n"
        '      "path": "/srv/a"\n'
        "    }\n"
    )
    assert "Nobody vouches for who asks for it, with" in asks(caller="")
    assert (allowed(1, 90.0), allowed(5, 3600.0)) == ("once, within 90s", "up to 5 times, within 1h")


@given(TEXTS, TEXTS, TEXTS)
def test_no_name_or_argument_begins_a_line_or_is_markup(tool: str, key: str, value: str) -> None:
    said = asks(json.dumps({key: value}, ensure_ascii=False), tool=tool, caller=value, actor=key)
    first, second, blank, *lines = said.removesuffix("\n").split("\n")
    assert first.startswith("Allow the tool ")
    assert second.endswith("with exactly these arguments:")
    assert blank == ""
    assert len(lines) == 3
    assert all(line.startswith("    ") for line in lines)
    assert not set("<>&`") & set(said)
    assert all(char == "\n" or char.isprintable() for char in said)


@given(TEXTS)
def test_a_name_is_ascii_and_says_which_one_it_is(text: str) -> None:
    assert name(text).isascii()
    assert json.loads(name(text)) == text


@given(st.dictionaries(TEXTS, TEXTS | st.integers(-(2**53), 2**53) | st.booleans() | st.none(), max_size=4))
def test_different_arguments_are_shown_differently_and_plain_ones_as_they_are(arguments: dict[str, object]) -> None:
    shown = pretty(json.dumps(arguments))
    if re.fullmatch(r"[ -~\n]*", shown):
        assert json.loads(shown) == arguments
    else:
        assert shown != pretty(json.dumps({**arguments, "more": 1}))


def test_look_alikes_and_what_hides_are_told_apart() -> None:
    assert name("delete_\u0430ll") == '"delete_\\u0430ll"'
    shown = pretty(json.dumps({"a": "x\u200b\u202e\ufe0fy\U000e0041"}))
    for said in ("ZERO WIDTH SPACE", "RIGHT-TO-LEFT OVERRIDE", "VARIATION SELECTOR-16", 'TAGS "A"'):
        assert said in shown
    assert pretty('{"a":"\u00e4\u4e2d"}') == '{\n  "a": "\u00e4\u4e2d"\n}'


def test_the_invitation_names_tool_and_server() -> None:
    assert invitation("delete_file", "fi`les").startswith('Calling the tool "delete_file" of the server "fi\\u0060les"')
