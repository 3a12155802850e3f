"""Fixtures of the conformance tests: both servers, and a stack in front of one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, every_end_is_ctrl_c, free_ports
from ext_proc.demo.stack import Stack, Upstreams
from tests.conformance.bundles import bundle
from tests.conformance.suite import EVERYTHING, LOOPBACK_ONLY, NODE, require_installed

ROOT = Path(__file__).parents[2]

WITNESSES = ("Reads", "Holds", "Rewrites")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the servers are, "HOST:PORT": `ours`, and npm's `everything`."""
    require_installed()
    with every_end_is_ctrl_c(), Processes(tmp_path_factory.mktemp("servers")) as processes:
        ours, everything = free_ports(2)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        command = [sys.executable, "-m", "tests.conformance.server", "--port", str(ours)]
        processes.start("ours", command, accepts(LOOPBACK, ours), {"PYTHONPATH": path})
        command = [str(NODE), "--require", str(LOOPBACK_ONLY), str(EVERYTHING), "streamableHttp"]
        processes.start("everything", command, accepts(LOOPBACK, everything), {"PORT": str(everything)})
        processes.wait_until_ready()
        yield {"ours": f"{LOOPBACK}:{ours}", "everything": f"{LOOPBACK}:{everything}"}


@contextmanager
def gateway(bundle_text: str, server: str, directory: Path) -> Iterator[Stack]:
    """Envoy and Gatehouse in front of the server at an address, until the block's end."""
    path = directory / "bundle.yaml"
    path.write_text(bundle_text, encoding="utf-8")
    with every_end_is_ctrl_c(), Stack(path, upstreams=Upstreams(server, server, server)) as stack:
        yield stack


# One at a time: pytest runs all tests that want a stack before it starts the next.
@pytest.fixture(scope="module", params=WITNESSES)
def before_ours(
    request: pytest.FixtureRequest, servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack in front of our server, with each of the witnesses."""
    with gateway(bundle(request.param), servers["ours"], tmp_path_factory.mktemp("ours")) as stack:
        yield stack


@pytest.fixture(scope="module", params=WITNESSES)
def before_everything(
    request: pytest.FixtureRequest, servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack in front of npm's server, with each of the witnesses."""
    with gateway(bundle(request.param), servers["everything"], tmp_path_factory.mktemp("everything")) as stack:
        yield stack
