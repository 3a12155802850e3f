"""The reference: complete, and up to date in docs/policies.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from ext_proc.bundle import models, reference
from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.bundle.registry import PolicyTypes
from tests.unit.bundle.plugins import Signed, ToolAllowlist, Unions

DOCUMENT = Path(__file__).parents[3] / "docs" / "policies.md"


def built_in() -> dict[str, type]:
    types = PolicyTypes()
    found = {name: types.find(name) for name in types.names}
    return {name: cls for name, cls in found.items() if cls.__module__.startswith("gatehouse_policies.")}


def test_the_document_is_up_to_date() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert "tool-access" in built_in()
    assert reference.update(document, reference.render(built_in())) == document, (
        "run: gatehouse policies --into docs/policies.md"
    )


def test_every_key_of_the_bundle_is_in_the_reference_with_its_meaning() -> None:
    text = reference.render({})
    parts = [cls for cls in vars(models).values() if isinstance(cls, type) and issubclass(cls, BaseModel)]
    fields = [(name, field) for cls in parts for name, field in cls.model_fields.items()]
    assert len(fields) > 30
    for name, field in fields:
        assert f"| `{name}` |" in text
        assert field.description, f"{name} has no description"
        assert " ".join(field.description.split()).replace("|", "\\|") in text


def test_sizes_durations_and_choices_are_written_as_an_operator_writes_them() -> None:
    text = reference.render({})
    assert "| `event` | size | `16MiB` |" in text
    assert "| `decision` | duration | `150ms` |" in text
    assert "| `mode` | `enforce` or `shadow` or `off` | `enforce` |" in text
    assert f"| `protocol` | {' or '.join(f'`{name}`' for name in sorted(PROTOCOLS))} | required |" in text
    assert "### `routes[].allow_opaque[]`" in text
    assert "### `secrets.<name>`" in text


def test_a_policys_parameters_are_in_the_reference() -> None:
    text = reference.render({"allow-list": ToolAllowlist, "signed": Signed, "unions": Unions})
    assert text.index("### allow-list") < text.index("### signed")
    assert "| `allow` | list of text | required |" in text
    assert "| `signing` | key id of a secret | required |" in text
    assert "| `allow` | true or false or CEL expression | `true` |" in text
    assert "| `names` | mapping of name to whole number |  |" in text
    assert "#### `parameters.action`" in text


def test_what_stands_around_the_markers_stays() -> None:
    document = f"before\n{reference.START}\nold\n{reference.END}\nafter\n"
    updated = reference.update(document, "new\n")
    assert updated == f"before\n{reference.START}\n\nnew\n\n{reference.END}\nafter\n"
    assert reference.update(updated, "new\n") == updated


@pytest.mark.parametrize(
    "document",
    [
        "",
        reference.START,
        reference.END + reference.START,
        reference.START + reference.START + reference.END,
        reference.START + reference.END + reference.END,
    ],
)
def test_a_document_without_its_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="each once"):
        reference.update(document, "new")
