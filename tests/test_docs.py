"""What the documents say is so: bundles are valid, links lead somewhere, outputs are what the commands print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ext_proc.bundle.load import examine
from ext_proc.cli import app
from ext_proc.demo.steps import STEPS
from ext_proc.trail import Outcome

ROOT = Path(__file__).parents[1]
# README.md is also tested through Envoy (tests/envoy/test_readme.py), docs/policies.md step by step (unit/bundle).
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DEFAULT = "policies/bundles/default.yaml"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def names(documents: list[Path]) -> list[str]:
    return [str(document.relative_to(ROOT)) for document in documents]


def bundles() -> list[tuple[str, str]]:
    """Each bundle with a name for it."""
    return [
        (f"{document.name}-{number}", content)
        for document in DOCUMENTS
        for number, (_, language, content) in enumerate(FENCE.findall(text_of(document)))
        # The bundle of docs/policies.md needs the module that the document writes; its own test has it.
        if language == "yaml" and content.startswith("apiVersion: gatehouse/") and "my_module" not in content
    ]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(document)), re.MULTILINE)
    bare = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in bare}


@pytest.mark.parametrize("content", [content for _, content in bundles()], ids=[name for name, _ in bundles()])
def test_a_bundle_in_a_document_passes_the_check(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text(content, encoding="utf-8")
    examined = examine(path)
    assert (examined.problems, examined.warnings) == ((), ())


def test_the_recipes_bundles_are_all_found() -> None:
    assert len([name for name, _ in bundles() if name.startswith("recipes.md")]) == 24


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(FENCE.sub("", text_of(document))):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_the_readme_shows_the_default_bundle_as_it_is() -> None:
    assert f"<!-- file: {DEFAULT} -->\n```yaml\n{text_of(ROOT / DEFAULT)}```" in README


def test_the_readme_shows_what_check_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    good = CliRunner().invoke(app, ["check", DEFAULT])
    assert f"$ gatehouse check {DEFAULT}\n{good.output}" in README
    condition = "\"'admin' in identity.groups\""
    misspelt = text_of(ROOT / DEFAULT).replace("default: deny", "defualt: deny")
    (tmp_path / "misspelt.yaml").write_text(misspelt.replace(f"allow: {condition}", f"alow: {condition}"))
    monkeypatch.chdir(tmp_path)
    bad = CliRunner().invoke(app, ["check", "misspelt.yaml"])
    assert f"$ gatehouse check misspelt.yaml\n{bad.output}```" in README


def test_the_readme_shows_rows_of_the_tour_as_it_is() -> None:
    start, end = README.index("<!-- the tour: start -->"), README.index("<!-- the tour: end -->")
    rows: list[list[list[str]]] = [[]]
    for line in README[start:end].splitlines():
        if line.startswith("│"):
            rows[-1].append([cell.strip() for cell in line.strip("│").split("│")])
        elif rows[-1]:
            rows.append([])
    _, *shown = [[" ".join(filter(None, cell)) for cell in zip(*row, strict=True)] for row in rows if row]
    by_question = {f"{step.asked} {step.caller}": step for step in STEPS}
    assert len(shown) >= 5
    for asked, saw, decided, ok in shown:
        step = by_question[asked]
        assert step.sees in saw
        assert step.reason in decided
        assert step.outcome in ("ok", "refused") or f"outcome {step.outcome}" in decided
        assert ok == "ok"


def test_the_readmes_policy_is_the_one_that_docs_policies_tests() -> None:
    (policy,) = [content for _, language, content in FENCE.findall(README) if language == "python"]
    assert f"```python\n{policy}```" in text_of(ROOT / "docs" / "policies.md")


@pytest.mark.parametrize("document", [README, OPERATIONS], ids=["README.md", "operations.md"])
def test_every_outcome_is_explained(document: str) -> None:
    for outcome in Outcome:
        assert f"| `{outcome}` |" in document


# What gives a reason: its first textual argument, or `reason`.
GIVE_A_REASON = {"Deny", "Opaque", "JsonError", "_Malformed", "malformed", "engine_denial"}
GIVE_A_REASON |= {"Rejected", "CredentialError", "ClaimsError"}
WITH_REASONS = [
    *ROOT.glob("ext_proc/engine/*.py"),
    *ROOT.glob("ext_proc/codecs/mcp*.py"),
    *ROOT.glob("ext_proc/credentials/*.py"),
    ROOT / "ext_proc/identity.py",
    ROOT / "ext_proc/framing/json_view.py",
]
# Not told to anybody: a policy's own reason takes their place.
INNER = {"denied", "responded"}


def test_every_reason_of_the_engines_and_of_mcps_is_explained() -> None:
    found = {reason for path in WITH_REASONS for reason in reasons(path)} - INNER
    assert {"not-this-protocol", "json-duplicate-key", "undecided-request"} <= found
    assert sorted(reason for reason in found if f"`{reason}`" not in OPERATIONS) == []


def reasons(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(text_of(path))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in GIVE_A_REASON:
            keywords = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            for argument in [*node.args[:2], *keywords]:
                if isinstance(argument, ast.Constant) and re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", str(argument.value)):
                    yield str(argument.value)
                    break


def test_the_known_limits_are_numbered_without_a_gap() -> None:
    limits = text_of(ROOT / "CHANGELOG.md").partition("### Known limits")[2]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", limits, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 5
