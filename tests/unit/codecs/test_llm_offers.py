"""llm_offers.py and gemini_offers.py: the functions that requests offer, in every format's way to write them.

Not here: what policies make of their schemas (policies/test_proposed_arguments.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.gemini_offers import offered_by
from ext_proc.codecs.llm_offers import NO_ARGUMENTS, offered_in
from ext_proc.messages import Generation, OfferedFunction
from ext_proc.schemas import Schema
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_responses_building as r
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import asking
from tests.unit.codecs.test_llm_calls import CHAT

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
NAMES = ["tools", "type", "name", "function", "custom", "parameters", "input_schema", "namespace", "properties"]
NAMES += ["functionDeclarations", "items", "anyOf", "enum", "nullable", "minItems", "parametersJsonSchema"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
)


def offers(form: Format, value: Any) -> list[tuple[str, Any]]:
    message = form.read(value)
    assert isinstance(message, Generation)
    return [(each.name, each.schema) for each in message.offered_functions]


def test_chat_completions_offer_functions_and_custom_tools() -> None:
    tools = [
        {"type": "function", "function": {"name": "search", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "now"}},
        {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}},
        {"type": "web_search"},
    ]
    found = offers(CHAT, asking(tools=tools, functions=[{"name": "old", "parameters": SCHEMA}]))
    assert [name for name, _ in found] == ["search", "now", "shell", "old"]
    assert [found[0][1], found[1][1], found[3][1]] == [SCHEMA, NO_ARGUMENTS, SCHEMA]
    text = Schema(found[2][1])
    assert (bool(text.faults({"input": "ls"}, 1)), bool(text.faults({"input": 1}, 1))) == (False, True)


def test_responses_offer_them_a_level_higher_in_namespaces_and_in_items() -> None:
    search = {"type": "function", "name": "search", "parameters": SCHEMA}
    inner = {"type": "function", "name": "read", "parameters": SCHEMA}
    value = r.asking(
        tools=[search, {"type": "namespace", "name": "files", "tools": [inner]}],
        input=[
            {"type": "tool_search_output", "tools": [{**search, "name": "found"}]},
            {"type": "mcp_list_tools", "tools": [{"name": "theirs", "input_schema": SCHEMA}]},
        ],
    )
    assert offers(r.RESPONSES, value) == [("search", SCHEMA), ("read", SCHEMA), ("found", SCHEMA)]


def test_anthropic_offers_its_own_with_an_input_schema_also_in_messages() -> None:
    added = {"type": "tool_addition", "tool": {"definition": {"name": "late", "input_schema": SCHEMA}}}
    value = a.asking(
        tools=[
            {"name": "search", "input_schema": SCHEMA},
            {"type": "custom", "name": "read", "input_schema": SCHEMA},
            {"type": "bash_20250124", "name": "bash"},
        ],
        messages=[{"role": "user", "content": [added]}],
    )
    assert offers(a.ANTHROPIC, value) == [("search", SCHEMA), ("read", SCHEMA), ("late", SCHEMA)]


@pytest.mark.parametrize("declarations", ["functionDeclarations", "function_declarations"])
def test_gemini_declares_them_in_either_spelling(declarations: str) -> None:
    own = [{"name": "search", "parametersJsonSchema": SCHEMA}, {"name": "now"}]
    found = offers(g.GEMINI, g.asking(tools=[{declarations: own}, {"googleSearch": {}}]))
    assert found == [("search", SCHEMA), ("now", NO_ARGUMENTS)]


def test_googles_own_schemas_become_json_schema() -> None:
    own = {
        "type": "OBJECT",
        "description": "what to look for",
        "properties": {
            "q": {"type": "STRING", "minLength": "1", "max_length": 5, "pattern": "^a"},
            "n": {"type": "INTEGER", "nullable": True, "minimum": 1},
            "kinds": {"type": "ARRAY", "minItems": "1", "items": {"type": "STRING", "enum": ["x", "y"]}},
            "either": {"any_of": [{"type": "BOOLEAN"}, {"type": "NUMBER"}]},
            "any": {"type": "TYPE_UNSPECIFIED"},
        },
        "required": ["q"],
        "propertyOrdering": ["q"],
    }
    ((name, made),) = offers(g.GEMINI, g.asking(tools=[{"functionDeclarations": [{"name": "s", "parameters": own}]}]))
    schema = Schema(made)

    def fits(value: Any) -> bool:
        return not schema.faults(value, 1)

    assert name == "s"
    assert fits({"q": "ab", "n": None, "kinds": ["x"], "either": 1.5, "any": [1]})
    wrong: list[Any] = [{}, {"q": ""}, {"q": "b"}, {"q": "aaaaaa"}, {"q": "a", "n": "1"}, {"q": "a", "n": 0}]
    wrong += [{"q": "a", "kinds": []}, {"q": "a", "kinds": ["z"]}, {"q": "a", "either": "x"}, [], None]
    assert [value for value in wrong if fits(value)] == []


@pytest.mark.parametrize("schema", [5, "x", [], {"type": "OBJECT", "properties": {"q": 7}, "required": ["q"]}])
def test_what_is_no_schema_of_googles_fits_nothing(schema: Any) -> None:
    ((_, made),) = [
        (each.name, each.schema)
        for each in offered_by({"tools": [{"functionDeclarations": [{"name": "s", "parameters": schema}]}]})
    ]
    assert Schema(made).faults({"q": 7}, 1)


@given(JSON)
def test_whatever_stands_there_is_read_without_an_exception(value: Any) -> None:
    for found in (offered_in(value), offered_by(value if isinstance(value, dict) else {"tools": value})):
        assert all(isinstance(each, OfferedFunction) and each.name for each in found)
