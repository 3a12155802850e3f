"""Real Envoy and real Gatehouse around an upstream of the test's choice.

Rules:
- A test asks for what it needs each time it runs (`gatehouse_stack(bundle)`). What was started for the same bundle is
  used again, and the oldest makes room: never more than a few Envoys on one machine.
- Nothing here waits by time alone: what is waited for is looked at, with a deadline.

Not here: the upstream's scripts (upstream.py).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from ext_proc.demo.stack import Stack, Upstreams
from tests.envoy.upstream import Upstream

_AT_ONCE = 3
_PATIENCE = 10.0
_INTERVAL = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """A running stack and the scripted upstream that is all its clusters, unless the demo's own servers are."""

    stack: Stack
    upstream: Upstream

    def access_log(self, count: int, path: str | None = None) -> list[dict[str, Any]]:
        """The last `count` lines of Envoy's access log (for `path`, if given), once there are as many."""
        return wait_for(lambda: self._lines(count, path), f"{count} lines in the access log")

    def _lines(self, count: int, path: str | None) -> list[dict[str, Any]] | None:
        lines = [line for line in self.stack.access_log() if path in (None, line["path"])]
        return lines[-count:] if len(lines) >= count else None


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """What `look` returns once it is not None; fails after 10 s, saying what never came."""
    until = time.monotonic() + _PATIENCE
    while (found := look()) is None:
        if time.monotonic() > until:
            raise AssertionError(f"not after {_PATIENCE:g} s: {what}")
        time.sleep(_INTERVAL)
    return found


class Stacks:
    """Starts stacks, keeps a few, ends them all: the `gatehouse_stack` fixture."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: OrderedDict[tuple[object, ...], tuple[Running, ExitStack]] = OrderedDict()
        self._count = 0

    def __call__(
        self,
        bundle: str,
        *,
        demo_upstreams: bool = False,
        listen: Literal["unix", "tcp"] = "unix",
        serve_arguments: Sequence[str] = (),
        edit_bootstrap: Callable[[str], str] | None = None,
        fresh: bool = False,
    ) -> Running:
        """A running stack that serves `bundle` (YAML text).

        Args:
            demo_upstreams: the demo's MCP server and models stand behind it, not the scripted upstream.
            listen, serve_arguments, edit_bootstrap: as for `Stack`.
            fresh: do not use one that runs already, for a test that breaks it.
        """
        key = (bundle, demo_upstreams, listen, tuple(serve_arguments), edit_bootstrap)
        if fresh:
            self._end(key)
        if key not in self._running:
            while len(self._running) >= _AT_ONCE:
                self._end(next(iter(self._running)))
            self._running[key] = self._start(bundle, demo_upstreams, listen, serve_arguments, edit_bootstrap)
        self._running.move_to_end(key)
        return self._running[key][0]

    def close(self) -> None:
        """Ends all."""
        for key in list(self._running):
            self._end(key)

    def _start(
        self,
        bundle: str,
        demo_upstreams: bool,
        listen: Literal["unix", "tcp"],
        serve_arguments: Sequence[str],
        edit_bootstrap: Callable[[str], str] | None,
    ) -> tuple[Running, ExitStack]:
        self._count += 1
        path = self._directory / f"bundle-{self._count}.yaml"
        path.write_text(bundle, encoding="utf-8")
        with ExitStack() as starting:
            upstream = starting.enter_context(Upstream())
            upstreams = Upstreams(*[upstream.address] * 3)
            stack = starting.enter_context(
                Stack(
                    path,
                    upstreams=None if demo_upstreams else upstreams,
                    listen=listen,
                    serve_arguments=serve_arguments,
                    edit_bootstrap=edit_bootstrap,
                )
            )
            return Running(stack, upstream), starting.pop_all()

    def _end(self, key: tuple[object, ...]) -> None:
        if key in self._running:
            self._running.pop(key)[1].close()


def gatehouse_parts(bootstrap: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gatehouse's filter and Gatehouse's cluster in a bootstrap, e.g. to compare with what a document shows."""
    config = yaml.safe_load(bootstrap)
    return _filter_of(config), _cluster_of(config)


def with_gatehouse_parts(bootstrap: str, http_filter: Mapping[str, Any], cluster: Mapping[str, Any]) -> str:
    """The bootstrap with another filter and cluster in the place of Gatehouse's; the cluster keeps its real address."""
    config = yaml.safe_load(bootstrap)
    old_filter, old_cluster = _filter_of(config), _cluster_of(config)
    address = old_cluster["load_assignment"]
    old_filter.clear()
    old_filter.update(http_filter)
    old_cluster.clear()
    old_cluster.update(cluster)
    old_cluster["load_assignment"] = address
    return str(yaml.safe_dump(config, sort_keys=False))


def _filter_of(config: dict[str, Any]) -> dict[str, Any]:
    (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    return _named(manager["typed_config"]["http_filters"], "envoy.filters.http.ext_proc")


def _cluster_of(config: dict[str, Any]) -> dict[str, Any]:
    return _named(config["static_resources"]["clusters"], "gatehouse")


def _named(items: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (item for item in items if item["name"] == name)
    return found
