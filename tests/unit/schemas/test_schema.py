"""schemas/: what the official suite says, what another implementation says, and nothing without an end."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from ext_proc.schemas import Fault, Schema, SchemaBounds, SchemaError, TooComplex
from ext_proc.schemas.dialects import DRAFT_07, DRAFT_2020_12

DATA = Path(__file__).parents[2] / "data" / "json"


def rows(name: str) -> list[dict[str, Any]]:
    # Not splitlines: a JSON text may hold what it takes for the end of a line.
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").split("\n") if line]


REMOTES = {row["uri"]: row["schema"] for row in rows("json_schema_remotes.jsonl")}
SEVEN = "http://json-schema.org/draft-07/schema#"


def suite() -> dict[str, list[dict[str, Any]]]:
    """The cases by draft and file."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows("json_schema_test_suite.jsonl"):
        found[f"{row['draft']}/{row['file']}"].append(row)
    return found


SUITE = suite()


@pytest.mark.parametrize("name", SUITE)
def test_the_official_suite_is_met_without_an_exception(name: str) -> None:
    wrong = []
    for case in SUITE[name]:
        schema = case["schema"]
        if case["draft"] == "draft7" and isinstance(schema, dict):
            schema = {"$schema": SEVEN, **schema}
        compiled = Schema(schema, documents=REMOTES)
        faults = compiled.faults(case["data"])
        if compiled.accepts(case["data"]) is not case["valid"] or bool(faults) is case["valid"]:
            wrong.append((case["group"], case["test"]))
    assert wrong == []


LEAVES: st.SearchStrategy[Any] = st.sampled_from([None, True, 0, 1, -1, 1.0, 2.5, "", "a", "b", "ab"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
LEAF_SCHEMAS = st.one_of(
    st.booleans(),
    st.just({"$ref": "#/$defs/d"}),
    st.builds(lambda name: {"type": name}, st.sampled_from(["string", "integer", "object", "array", "null"])),
    st.builds(lambda value: {"const": value}, VALUES),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda least: {"minimum": least, "minLength": 1, "maxItems": 2}, st.integers(-1, 2)),
    st.builds(lambda name: {"required": [name], "pattern": "^a"}, st.sampled_from("abc")),
    st.just({"uniqueItems": True, "maxProperties": 2}),
)


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    by_name = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "properties": by_name,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$", "c"]), inner, max_size=1),
            "additionalProperties": inner,
            "propertyNames": inner,
            "dependentSchemas": by_name,
            "prefixItems": several,
            "items": inner,
            "contains": inner,
            "minContains": st.integers(0, 2),
            "unevaluatedItems": inner,
            "unevaluatedProperties": inner,
        },
    )


SCHEMAS = st.recursive(LEAF_SCHEMAS, combined, max_leaves=10)


@given(SCHEMAS, SCHEMAS.filter(lambda schema: "$ref" not in json.dumps(schema)), st.lists(VALUES, max_size=5))
def test_another_implementation_says_the_same(schema: Any, other: Any, values: list[Any]) -> None:
    whole = {"allOf": [schema], "$defs": {"d": other}}
    ours, theirs = Schema(whole), jsonschema.Draft202012Validator(whole)
    for value in values:
        fits = theirs.is_valid(value)
        assert ours.accepts(value) is fits
        assert bool(ours.faults(value)) is not fits


TOOL = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "pattern": "^/srv/"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        "where": {
            "oneOf": [
                {"properties": {"kind": {"const": "box"}, "size": {"type": "number"}}, "required": ["kind", "size"]},
                {"properties": {"kind": {"const": "line"}, "from": {"type": "number"}}, "required": ["kind", "from"]},
            ]
        },
        "name": {"type": ["string", "null"], "maxLength": 3},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
    "required": ["path"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"path": "/srv/a"}, []),
        ({}, [(("path",), "a value: it is required")]),
        ({"path": "/etc/x"}, [(("path",), "text that matches ^/srv/")]),
        ({"path": "/srv/a", "limit": 1.0}, []),
        ({"path": "/srv/a", "limit": 11}, [(("limit",), "at most 10")]),
        ({"path": "/srv/a", "limit": "1"}, [(("limit",), "a whole number")]),
        ({"path": "/srv/a", "limit": True}, [(("limit",), "a whole number")]),
        ({"path": "/srv/a", "tags": ["a", "c"]}, [(("tags", 1), 'one of "a", "b"')]),
        ({"path": "/srv/a", "tags": ["a", "a"]}, [(("tags",), "items that are all different")]),
        ({"path": "/srv/a", "name": "long"}, [(("name",), "at most 3 characters")]),
        ({"path": "/srv/a", "name": 1}, [(("name",), "text or null")]),
        ({"path": "/srv/a", "either": None}, [(("either",), "text or a whole number")]),
        ({"path": "/srv/a", "other": 1}, [(("other",), "nothing: it must not be there")]),
        (
            {"path": "/srv/a", "where": {"kind": "box", "size": "big"}},
            [(("where", "size"), "a number")],
        ),
        ([], [((), "an object")]),
    ],
)
def test_a_fault_says_where_and_what_was_expected(value: Any, expected: list[Any]) -> None:
    assert list(Schema(TOOL).faults(value)) == [Fault(path, words) for path, words in expected]


def test_all_faults_are_told_up_to_the_most_that_were_asked_for() -> None:
    value = {"path": 5, "limit": 0, "tags": "a", "other": 1}
    assert [fault.path for fault in Schema(TOOL).faults(value)] == [("path",), ("limit",), ("tags",), ("other",)]
    assert len(Schema(TOOL).faults(value, most=2)) == 2


@given(VALUES, st.text(min_size=12))
def test_a_fault_holds_nothing_of_the_value_but_names(value: Any, secret: str) -> None:
    schema = Schema({"properties": {"a": {"type": "null"}}, "additionalProperties": {"maxLength": 3}, "maxItems": 0})
    for hidden in (secret, {"a": secret}, {"b": secret}, [secret, value]):
        for fault in schema.faults(hidden):
            assert secret not in fault.expected
            assert secret not in fault.path


def chain(length: int, keyword: str = "allOf") -> dict[str, Any]:
    """Each definition applies the one before it twice."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for number in range(1, length):
        before = {"$ref": f"#/$defs/d{number - 1}"}
        definitions[f"d{number}"] = {keyword: [before, before]}
    return {"$defs": definitions, "$ref": f"#/$defs/d{length - 1}"}


def tree(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = {"a": value}
    return value


HOSTILE: dict[str, tuple[Any, Any]] = {
    "references that double": (chain(60), "x"),
    "alternatives that double": (chain(60, "oneOf"), "x"),
    "levels of the value that double": (
        {
            "$defs": {"n": {"properties": {"a": {"allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}}}},
            "$ref": "#/$defs/n",
        },
        tree(40),
    ),
    "a dynamic reference to itself": (
        {"$dynamicAnchor": "x", "allOf": [{"$dynamicRef": "#x"}]},
        1,
    ),
    "many patterns over long texts": (
        {"items": {"not": {"anyOf": [{"pattern": f"[ab]*a[ab]{{500}}{n}"} for n in range(8)]}}},
        ["ab" * 20_000] * 50,
    ),
    "many conditions over many members": (
        {"patternProperties": {f"x{n}.*y": {} for n in range(200)}},
        {f"member-{n}": 1 for n in range(2000)},
    ),
    "many lists within each other, all different": (
        {"$defs": {"u": {"uniqueItems": True, "items": {"$ref": "#/$defs/u"}}}, "$ref": "#/$defs/u"},
        [[[[[[list(range(10_000))]]]]]] * 4,
    ),
    "much that may not be what it is": ({"enum": [list(range(1000))]}, [list(range(300_000))]),
    "many large numbers": ({"items": {"multipleOf": 1e-05}}, [10**4000 + n for n in range(5000)]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_would_take_forever_is_given_up(name: str) -> None:
    schema, value = HOSTILE[name]
    compiled = Schema(schema)
    with pytest.raises(TooComplex):
        compiled.accepts(value)
    with pytest.raises(TooComplex):
        compiled.faults(value)


def test_the_steps_are_counted_alike_in_every_run() -> None:
    schema, value = chain(10), "x"
    needed = next(steps for steps in range(10_000) if settles(Schema(schema), value, steps))
    assert all(settles(Schema(schema), value, needed) for _ in range(5))
    assert not settles(Schema(schema), value, needed - 1)


def settles(schema: Schema, value: Any, steps: int) -> bool:
    try:
        return schema.accepts(value, steps)
    except TooComplex:
        return False


def test_a_recursive_schema_follows_the_value_to_its_end() -> None:
    node = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"items": {"$ref": "#"}}},
        "required": ["value"],
    }
    schema = Schema(node)
    value: dict[str, Any] = {"value": 0}
    for number in range(20):
        value = {"value": number, "children": [value, {"value": 1}]}
    assert schema.accepts(value)
    value["children"][0]["children"][1] = {}
    (fault,) = schema.faults(value)
    assert fault == Fault(("children", 0, "children", 1, "value"), "a value: it is required")


def test_a_value_nested_as_deep_as_the_gateway_reads_is_checked() -> None:
    # 64 levels, each through a reference and an alternative.
    schema = {"$defs": {"n": {"anyOf": [{"type": "string"}, {"additionalProperties": {"$ref": "#/$defs/n"}}]}}}
    assert Schema({**schema, "$ref": "#/$defs/n"}).accepts(tree(63))
    with pytest.raises(TooComplex):
        Schema({**schema, "$ref": "#/$defs/n"}).accepts(tree(300))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"anyOf": [{"type": "string"}, {"not": {"$ref": "#"}}]},
        {"if": {"$ref": "#"}},
        {"dependentSchemas": {"a": {"$ref": "#"}}},
    ],
)
def test_a_schema_that_never_goes_deeper_into_the_value_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError, match="refer to itself"):
        Schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "string",
        1,
        {"type": "any"},
        {"type": []},
        {"type": None},
        {"properties": []},
        {"properties": {"a": 1}},
        {"required": "a"},
        {"required": [1]},
        {"minimum": "1"},
        {"minimum": True},
        {"multipleOf": 0},
        {"minLength": -1},
        {"maxItems": 1.5},
        {"enum": {}},
        {"pattern": 5},
        {"pattern": "("},
        {"patternProperties": {"(": {}}},
        {"allOf": []},
        {"anyOf": {}},
        {"items": [{}]},
        {"prefixItems": {}},
        {"$ref": 5},
        {"uniqueItems": "yes"},
        {"dependentRequired": {"a": "b"}},
        {"contains": 1},
        {"minContains": -1, "contains": {}},
        {"not": "x"},
        {"if": 1},
        {"unevaluatedProperties": 1},
    ],
)
def test_a_keyword_that_is_not_as_the_specification_has_it_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError):
        Schema(schema)


def test_what_no_value_can_reach_is_not_looked_at() -> None:
    assert Schema({"$defs": {"broken": {"type": "any", "$ref": "https://example.com/gone"}}}).accepts(1)


KEYWORDS = sorted(
    {*DRAFT_2020_12.keywords, *DRAFT_07.keywords, "$id", "$anchor", "$dynamicAnchor", "$defs", "definitions", "$schema"}
    | {"then", "else", "minContains", "maxContains", "contentSchema", "x-unknown"}
)
REFERENCES = ["#", "#a", "#/$defs/a", "#/x-unknown", "#/anyOf/0", "a", "https://example.com/a", "urn:x:y", "%", "#%41"]
META = "https://json-schema.org/draft/2020-12/schema"
ODD_LEAVES = st.sampled_from(
    [None, True, False, 0, -1, 2, 1.5, 10**30, "", "^a", "(", "string", "object", SEVEN, META, *REFERENCES]
)
ODD = st.recursive(
    ODD_LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5)
        | st.dictionaries(st.sampled_from(["a", "b", "^a"]), inner, max_size=2)
    ),
    max_leaves=25,
)


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(KEYWORDS), ODD, max_size=6), VALUES)
def test_whatever_is_given_as_a_schema_it_is_used_or_refused(schema: Any, value: Any) -> None:
    try:
        compiled = Schema(schema)
        fits = compiled.accepts(value, steps=2000)
    except (SchemaError, TooComplex):
        return
    assert bool(compiled.faults(value, steps=2000)) is not fits


def test_too_many_regular_expressions_are_refused() -> None:
    many = {"allOf": [{"pattern": f"^[^/]{{1,255}}{number}$"} for number in range(40)]}
    with pytest.raises(SchemaError, match="memory"):
        Schema(many)
    assert Schema(many, SchemaBounds(patterns=64 * 1024 * 1024)).size > 16 * 1024 * 1024


def test_a_definition_that_dynamic_references_find_is_the_outermost() -> None:
    schema = {
        "$id": "https://example.com/strings",
        "$ref": "list",
        "$defs": {
            "strings": {"$dynamicAnchor": "item", "type": "string"},
            "list": {
                "$id": "list",
                "type": "array",
                "items": {"$dynamicRef": "#item"},
                "$defs": {"any": {"$dynamicAnchor": "item"}},
            },
        },
    }
    assert Schema(schema).accepts(["a"])
    assert not Schema(schema).accepts([1])
    assert Schema(schema["$defs"]["list"]).accepts([1])  # type: ignore[index]


class Parameters(BaseModel):
    shape: Schema


def test_a_parameter_is_written_as_the_schema_itself() -> None:
    assert Parameters.model_validate({"shape": {"type": "string"}}).shape.accepts("a")
    assert Parameters(shape=Schema(True)).model_dump() == {"shape": True}
    with pytest.raises(ValidationError, match="expected a JSON Schema: type: expected a type"):
        Parameters.model_validate({"shape": {"type": "text"}})
    assert TypeAdapter(Schema).json_schema()["type"] == "object"
