"""From a bundle's `store` to the store's settings, and what to warn of.

Rules:
- Without a policy on a route that keeps state there is no store: nothing is opened, no file is made.
- A policy in shadow counts: what it finds is to be what it would find in force.

Not here: the format (store_models.py), opening the store (server/stores.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ext_proc.bundle.models import Bundle
from ext_proc.policy import Policy
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings, StoreSettings


def keepers(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]]) -> list[str]:
    """The names of the policies that keep state, of those that are on and on a route, in the bundle's order."""
    used = {name for route in bundle.routes for name in route.policies}
    return [
        part.name
        for part in bundle.policies
        if part.mode != "off" and part.name in used and policies[part.name].keeps_state
    ]


def store_settings(
    bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], folder: Path, environ: Mapping[str, str]
) -> StoreSettings | None:
    """Which store to open; None where no policy keeps state.

    Args:
        folder: the bundle's, where a relative path starts.
        environ: the environment variables.
    """
    if not keepers(bundle, policies):
        return None
    redis, embedded = bundle.store.redis, bundle.store.embedded
    if redis is not None:
        return RedisSettings(
            redis.url,
            redis.prefix or f"gatehouse:{bundle.metadata.name}",
            redis.cluster,
            redis.timeout,
            redis.connect_timeout,
            redis.max_connections,
            redis.failures,
            redis.pause,
        )
    path = default_folder(environ) / f"{bundle.metadata.name}.db" if embedded.path is None else folder / embedded.path
    return EmbeddedSettings(path.absolute(), embedded.max_size, embedded.timeout)


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where this host's state is kept: as systemd says (`STATE_DIRECTORY`, systemd.exec(5)), or as the XDG Base
    Directory Specification does."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]  # several are joined by colons
    if given:
        return Path(given)
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):  # the specification: what is relative is ignored
        home = environ.get("HOME") or os.path.expanduser("~")
        base = f"{home}/.local/state" if home.startswith("/") else "/var/lib"  # a user without a home
    return Path(base) / "gatehouse"


def weakness(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]]) -> str | None:
    """Why policies would not hold what they promise over several hosts; None where they would."""
    names = keepers(bundle, policies)
    if not names or bundle.store.redis is not None or bundle.store.hosts == "one":
        return None
    which = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if bundle.store.hosts == "several":
        return f"{which} would not hold: each host counts by itself in the embedded store; set store.redis"
    return f"{which} would hold on one host only: set store.hosts: one if it is one, or else store.redis"
