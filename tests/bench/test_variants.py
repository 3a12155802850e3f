"""Variants differ in one filter, and what cannot be built is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ext_proc.bundle.load import examine
from ext_proc.demo.envoy_config import Addresses, bootstrap
from tests.bench.variants import DIRECT, GATEHOUSE, GO, GUARDED, MCP_FILTER, VARIANTS, CannotBuild, build_noop

_HERE = "127.0.0.1:1"


def _filters(name: str) -> list[str]:
    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    addresses = Addresses(listen=_HERE, admin=_HERE, gatehouse=_HERE, mcp=_HERE, model_a=_HERE, model_b=_HERE)
    config: dict[str, Any] = yaml.safe_load(bootstrap(addresses, "{}"))
    variant.edit(config)
    (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    return [item["name"].rpartition(".")[2] for item in manager["typed_config"]["http_filters"]]


def test_variants_differ_in_the_one_filter() -> None:
    assert _filters(DIRECT) == ["jwt_authn", "router"]
    assert _filters(MCP_FILTER) == ["jwt_authn", "mcp", "router"]
    assert _filters(GO) == _filters(GATEHOUSE) == _filters(GUARDED) == ["jwt_authn", "ext_proc", "router"]


def test_the_guarded_variant_has_every_policy_for_mcp_on_its_route() -> None:
    (variant,) = (variant for variant in VARIANTS if variant.name == GUARDED)
    assert variant.bundle is not None
    found = examine(variant.bundle)
    assert found.problems == found.warnings == ()
    assert found.bundle is not None
    types = {policy.name: policy.type for policy in found.bundle.policies}
    assert {types[name] for name in found.bundle.routes[0].policies} == {
        "header-integrity",
        "loop-guard",
        "session-binding",
        "tool-access",
        "tool-arguments",
    }


def test_without_go_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CannotBuild, match="no `go` here"):
        build_noop(tmp_path)
