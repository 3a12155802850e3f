"""Which store a bundle leads to, and which policies would not hold in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import Examined
from ext_proc.bundle.store_settings import default_folder
from ext_proc.secret import Secret
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings, StoreSettings
from tests.unit.bundle.building import PLUGINS, examined, good

MIB = 1 << 20
HOME = {"HOME": "/home/op"}


def bundle(store: Any = None, *policies: Mapping[str, Any], **modes: str) -> dict[str, Any]:
    """A bundle with policies that keep state, by name and mode, beside one that keeps none."""
    made = good()
    for name, mode in modes.items():
        made["policies"].append({"name": name, "type": f"{PLUGINS}:CallLimit", "mode": mode})
        made["routes"][0]["policies"].append(name)
    if store is not None:
        made["store"] = store
    return made


def found(made: Mapping[str, Any], environ: Mapping[str, str] = HOME, folder: Path = Path("/etc/gh")) -> Examined:
    result = examined(made, folder=folder, environ=environ)
    assert result.problems == ()
    return result


def settings(made: Mapping[str, Any], environ: Mapping[str, str] = HOME) -> StoreSettings | None:
    rulebook = found(made, environ).rulebook
    assert rulebook is not None
    return rulebook.store


def warnings(made: Mapping[str, Any]) -> list[str]:
    return [str(warning) for warning in found(made, {**HOME, "URL": "redis://h"}).warnings]


def test_without_a_policy_that_keeps_state_there_is_no_store() -> None:
    assert settings(bundle({"embedded": {"path": "here.db"}})) is None
    assert settings(bundle(calls="off")) is None
    unused = bundle(calls="enforce")
    unused["routes"][0]["policies"].remove("calls")
    assert settings(unused) is None


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_the_default_is_a_file_by_the_bundles_name(mode: str) -> None:
    expected = EmbeddedSettings(Path("/home/op/.local/state/gatehouse/test.db"), 256 * MIB, 0.020)
    assert settings(bundle(calls=mode)) == expected


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        (HOME, "/home/op/.local/state/gatehouse"),
        ({**HOME, "XDG_STATE_HOME": "/state"}, "/state/gatehouse"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, "/home/op/.local/state/gatehouse"),
        ({**HOME, "XDG_STATE_HOME": "/state", "STATE_DIRECTORY": "/var/lib/gatehouse"}, "/var/lib/gatehouse"),
        ({**HOME, "STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
    ],
)
def test_the_default_folder_is_where_the_system_says(environ: dict[str, str], folder: str) -> None:
    assert default_folder(environ) == Path(folder)


def test_a_user_without_a_home_has_the_systems_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert default_folder({}) == Path("/var/lib/gatehouse")


def test_a_relative_path_starts_at_the_bundles_folder() -> None:
    assert settings(bundle({"embedded": {"path": "state/here.db", "timeout": "5ms"}}, calls="enforce")) == (
        EmbeddedSettings(Path("/etc/gh/state/here.db"), 256 * MIB, 0.005)
    )
    absolute = settings(bundle({"embedded": {"path": "/var/here.db"}}, calls="enforce"))
    assert absolute == EmbeddedSettings(Path("/var/here.db"), 256 * MIB, 0.020)


def in_redis(**changes: Any) -> dict[str, Any]:
    return {**bundle({"redis": {"url": "where", **changes}}, calls="enforce"), "secrets": {"where": {"env": "URL"}}}


def test_redis_keys_start_with_the_bundles_name_unless_it_says_otherwise() -> None:
    url = Secret("where", b"redis://h")
    environ = {"URL": "redis://h"}
    expected = RedisSettings(url, "gatehouse:test", False, 0.020, 0.050, 16, 5, 1.0)
    assert settings(in_redis(), environ) == expected
    changed = settings(in_redis(prefix="acme", cluster=True, timeout="5ms", max_connections=2), environ)
    assert changed == RedisSettings(url, "acme", True, 0.005, 0.050, 2, 5, 1.0)


def test_a_bundle_loaded_again_leads_to_equal_settings_unless_the_secret_changed() -> None:
    first, again = (settings(in_redis(), {"URL": "redis://h"}) for _ in range(2))
    assert first == again
    assert hash(first) == hash(again)
    assert first != settings(in_redis(), {"URL": "redis://other"})
    assert "redis://h" not in repr(first)


def test_policies_that_hold_on_one_host_only_are_named() -> None:
    (warning,) = warnings(bundle(calls="enforce", budget="shadow", resting="off"))
    assert warning == (
        "store.hosts: calls and budget would hold on one host only: set store.hosts: one if it is one, or else "
        "store.redis"
    )
    (warning,) = warnings(bundle({"hosts": "several"}, a="enforce", b="enforce", c="enforce"))
    assert warning == (
        "store.hosts: a, b and c would not hold: each host counts by itself in the embedded store; set store.redis"
    )


def test_policies_that_hold_are_not_warned_of() -> None:
    assert warnings(bundle({"hosts": "one"}, calls="enforce")) == []
    assert warnings(in_redis()) == []
    assert warnings({**in_redis(), "store": {"hosts": "several", "redis": {"url": "where"}}}) == []
    assert warnings(bundle({"hosts": "several"})) == []
