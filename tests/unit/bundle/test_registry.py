"""Policy types: by entry point and by module:Class."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ext_proc.bundle.registry import GROUP, PolicyTypes, UnusableType
from tests.unit.bundle.building import PLUGINS
from tests.unit.bundle.plugins import ToolAllowlist


def entry(name: str, target: str = f"{PLUGINS}:ToolAllowlist") -> EntryPoint:
    return EntryPoint(name, target, GROUP)


def test_a_registered_type_is_found_by_its_name() -> None:
    types = PolicyTypes([entry("zeta"), entry("alpha")])
    assert types.names == ("alpha", "zeta")
    assert types.find("alpha").__qualname__ == ToolAllowlist.__qualname__


def test_anybodys_policy_is_found_by_module_and_class() -> None:
    assert PolicyTypes([]).find(f"{PLUGINS}:ToolAllowlist").__qualname__ == "ToolAllowlist"


def test_an_unknown_type_is_told_with_the_known_ones_and_the_nearest() -> None:
    types = PolicyTypes([entry("tool-access"), entry("usage")])
    expected = "known are tool-access, usage, and module:Class of your own; did you mean 'tool-access'"
    with pytest.raises(UnusableType, match=expected):
        types.find("tool-acces")
    with pytest.raises(UnusableType, match="known are none"):
        PolicyTypes([]).find("tool-access")


def test_a_type_that_two_packages_register_is_refused() -> None:
    types = PolicyTypes([entry("same", "one:A"), entry("same", "two:B")])
    with pytest.raises(UnusableType, match="one:A and two:B both do"):
        types.find("same")


def test_a_package_that_is_seen_twice_counts_once() -> None:
    assert PolicyTypes([entry("same"), entry("same")]).find("same")


def test_a_module_that_fails_at_import_is_told_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_plugin.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = r"cannot import failing_plugin:X \(RuntimeError: not today\)"
    with pytest.raises(UnusableType, match=expected):
        PolicyTypes([]).find("failing_plugin:X")


@pytest.mark.parametrize("target", [":X", "x:", "a b:X", "a:X()", "..:X", "a:b:c", "a/b:X"])
def test_what_is_no_import_path_is_never_imported(target: str) -> None:
    with pytest.raises(UnusableType, match="expected module:Class"):
        PolicyTypes([]).find(target)


@pytest.mark.parametrize("target", ["ext_proc.policy:Policy", f"{PLUGINS}:not_a_policy", "json:JSONDecoder"])
def test_what_is_no_policy_is_refused(target: str) -> None:
    with pytest.raises(UnusableType, match="to be a subclass of"):
        PolicyTypes([]).find(target)


def test_the_built_in_policies_are_registered_like_anybody_elses() -> None:
    assert PolicyTypes().find("tool-access").__module__ == "gatehouse_policies.tool_access"
