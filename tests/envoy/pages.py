"""A stack with pages of policies for people: envoy/pages.yaml put into the bootstrap, and a bundle that knows its port.

Not here: the browser (tests/browser.py), what people do there (test_pages.py).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ext_proc.demo import envoy_parts
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import bundle_file, logged, mark, signal_gatehouse
from tests.unit.credentials.minting import Minter, jwks

ANYWHERE = "http://127.0.0.1:1"  # where the bundle says that pages are, until Envoy's port is known


def with_pages(where: str) -> Callable[[str], str]:
    """Puts envoy/pages.yaml into a bootstrap, `where` being HOST:PORT or unix:PATH of the listener for pages."""

    return lambda bootstrap: envoy_parts.with_pages(bootstrap, where)


def stack_with_pages(
    stacks: Stacks, bundle: str, where: str, keys: Path, edit: Callable[[str], str] = lambda bootstrap: bootstrap
) -> Running:
    """A stack of its own for `bundle`, whose `pages.url` starts with ANYWHERE.

    Args:
        edit: what else is to be changed in the bootstrap.
        keys: gets the keys that Envoy verifies tokens with, for Gatehouse to do so too.
    """
    keys.write_bytes(jwks(Minter()))
    pages = with_pages(where)

    def edited(bootstrap: str) -> str:
        return edit(pages(bootstrap))

    running = stacks(bundle, serve_arguments=("--pages", where), edit_bootstrap=edited, fresh=True)
    config = yaml.safe_load((running.stack.logs / "bootstrap.yaml").read_text(encoding="utf-8"))
    keys.write_text(_provider(config)["local_jwks"]["inline_string"], encoding="utf-8")
    since = mark(running)
    bundle_file(running).write_text(bundle.replace(ANYWHERE, running.stack.url), encoding="utf-8")
    signal_gatehouse(running, signal.SIGHUP)
    logged(running, "bundle reloaded", since)
    return running


def _provider(config: Any) -> Any:
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["http_filters"][0]["typed_config"]["providers"]["demo"]
