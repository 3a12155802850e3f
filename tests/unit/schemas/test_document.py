"""schemas/document.py: identifiers where schemas are, references into what is there, nothing fetched."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.schemas.bounds import SchemaBounds
from ext_proc.schemas.document import Documents
from ext_proc.schemas.faults import SchemaError

BOUNDS = SchemaBounds()


def documents(root: Any, **given: Any) -> Documents:
    return Documents(root, BOUNDS, {f"https://example.com/{name}": schema for name, schema in given.items()})


def test_a_pointer_an_anchor_and_an_identifier_lead_to_the_same_schema() -> None:
    inner = {"$id": "https://example.com/inner", "$anchor": "here"}
    found = documents({"$defs": {"a/b~c d": inner}})
    for reference in (
        "#/$defs/a~1b~0c%20d",
        "https://example.com/inner",
        "https://example.com/inner#here",
        "https://example.com/inner#",
    ):
        assert found.find(found.main, reference) is inner


def test_a_pointer_leads_into_lists_and_through_what_is_no_keyword() -> None:
    found = documents({"anyOf": [{}, {"type": "string"}], "x-more": {"a": {"type": "null"}}})
    assert found.find(found.main, "#/anyOf/1") == {"type": "string"}
    assert found.find(found.main, "#/x-more/a") == {"type": "null"}


def test_relative_references_start_at_the_schema_that_they_stand_in() -> None:
    root = {
        "$id": "https://example.com/root",
        "$defs": {"inner": {"$id": "folder/inner", "$defs": {"x": {}}}, "x": {"title": "the root's"}},
    }
    found = documents(root)
    inner = root["$defs"]["inner"]  # type: ignore[index]
    assert found.owner(inner).uri == "https://example.com/folder/inner"
    assert found.find(found.owner(inner), "#/$defs/x") is inner["$defs"]["x"]
    assert found.find(found.owner(inner), "../root#/$defs/x") == {"title": "the root's"}


def test_identifiers_in_data_and_in_unknown_keywords_are_none() -> None:
    found = documents({"enum": [{"$id": "https://example.com/e"}], "x": {"$id": "https://example.com/x"}})
    for reference in ("https://example.com/e", "https://example.com/x"):
        with pytest.raises(SchemaError, match="nothing is fetched"):
            found.find(found.main, reference)


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.com/other.json",
        "http://127.0.0.1:1/schema",
        "file:///etc/passwd",
        "other.json",
        "//example.com/x",
        "urn:example:x",
        "#/nowhere",
        "#/anyOf/2",
        "#/anyOf/-1",
        "#/anyOf/01x",
        "#missing",
        "#/anyOf/٢",
    ],
)
def test_a_reference_to_what_is_not_there_is_refused(reference: str) -> None:
    found = documents({"anyOf": [{}, {}]})
    with pytest.raises(SchemaError):
        found.find(found.main, reference)


def test_other_documents_are_those_that_were_given() -> None:
    found = documents({}, other={"$defs": {"x": {"const": 1}}})
    assert found.find(found.main, "https://example.com/other#/$defs/x") == {"const": 1}


def test_the_meta_schemas_are_there() -> None:
    found = documents({})
    core = found.find(found.main, "https://json-schema.org/draft/2020-12/meta/core")
    assert core["$vocabulary"] == {"https://json-schema.org/draft/2020-12/vocab/core": True}
    old = found.find(found.main, "http://json-schema.org/draft-07/schema#")
    assert old["title"] == "Core schema meta-schema"


@pytest.mark.parametrize(
    "root",
    [
        {"$defs": {"a": {"$id": "https://example.com/x"}, "b": {"$id": "https://example.com/x"}}},
        {"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}},
        {"$id": "https://example.com/x#part"},
    ],
)
def test_an_identifier_that_two_readers_could_take_for_two_things_is_refused(root: Any) -> None:
    with pytest.raises(SchemaError):
        documents(root)


@pytest.mark.parametrize(
    "named",
    [
        "http://json-schema.org/draft-04/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://example.com/my-own",
        "",
        5,
    ],
)
def test_a_dialect_that_is_not_read_is_refused(named: Any) -> None:
    with pytest.raises(SchemaError, match="2020-12 or draft-07"):
        documents({"$schema": named})


def test_in_draft_07_a_reference_hides_the_identifier_beside_it() -> None:
    seven = "http://json-schema.org/draft-07/schema#"
    found = documents({"$schema": seven, "definitions": {"a": {"$id": "https://example.com/a", "$ref": "#"}}})
    with pytest.raises(SchemaError):
        found.find(found.main, "https://example.com/a")


def nested(levels: int) -> Any:
    schema: Any = {}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


def test_what_is_nested_deeper_than_the_bound_is_refused_however_deep_it_is() -> None:
    documents(nested(BOUNDS.depth))
    for levels in (BOUNDS.depth + 1, 5000):
        with pytest.raises(SchemaError, match="levels"):
            documents(nested(levels))


def test_what_is_larger_than_the_bound_is_refused() -> None:
    documents({"enum": list(range(BOUNDS.values - 10))})
    with pytest.raises(SchemaError, match="values"):
        documents({"enum": list(range(BOUNDS.values))})


def test_a_document_that_grows_by_aliases_is_refused_before_it_is_looked_through() -> None:
    # As a YAML file can make it: 30 lists, each ten times in the next.
    value: Any = 1
    for _ in range(30):
        value = [value] * 10
    with pytest.raises(SchemaError, match="values"):
        documents({"enum": value})


def test_a_document_that_holds_itself_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["not"] = schema
    with pytest.raises(SchemaError, match="levels"):
        documents(schema)
