"""Fixtures of the conformance tests: both servers, and a stack in front of one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, every_end_is_ctrl_c, free_ports
from ext_proc.demo.stack import Stack, Upstreams
from tests.conformance.suite import EVERYTHING, LOOPBACK_ONLY, NODE, require_installed

ROOT = Path(__file__).parents[2]

StartStack = Callable[[str, str], Stack]


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


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Call it with a bundle's text and a server's address: Envoy and Gatehouse in front of it, until the test's end."""
    with every_end_is_ctrl_c(), ExitStack() as running:

        def start(bundle: str, server: str) -> Stack:
            path = tmp_path / "bundle.yaml"
            path.write_text(bundle, encoding="utf-8")
            return running.enter_context(Stack(path, upstreams=Upstreams(server, server, server)))

        yield start
