"""What is compared, and how each is started: one Envoy each, in front of the same upstream.

Rules:
- Every Envoy runs envoy/bootstrap.yaml; variants differ in the one filter and in what stands behind it.
- Gatehouse runs as an operator starts it, with the default bundle or with guarded.yaml.
- What cannot be had here (no Go, no module proxy) is left out with its reason, never silently.

Not here: what is asked of them (cases.py).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ext_proc.demo.envoy_config import Addresses, bootstrap
from ext_proc.demo.files import shipped
from ext_proc.demo.processes import LOOPBACK, Probe, Processes, accepts, answers, free_ports
from ext_proc.demo.stack import envoy_binary
from ext_proc.demo.tokens import TokenSigner

DIRECT, MCP_FILTER, GO, GATEHOUSE, GATEHOUSE_TCP = "direct", "mcp filter", "Go no-op", "Gatehouse", "Gatehouse, TCP"
GUARDED = "Gatehouse, guarded"
_GUARDED_BUNDLE = Path(__file__).with_name("guarded.yaml")
_NOOP = Path(__file__).parent / "noop_go"
_EXT_PROC = "envoy.filters.http.ext_proc"
_MCP_FILTER = {
    "name": "envoy.filters.http.mcp",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp",
        # It passes what is not MCP, and reads the whole body of the largest case; its default is 8 KiB.
        "traffic_mode": "PASS_THROUGH",
        "max_request_body_size": 65536,
    },
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing to compare.

    Attributes:
        means: a sentence for the table.
        behind: the processor behind the ext_proc filter, if there is one.
        listen: how Envoy reaches it.
        bundle: what Gatehouse serves; None for the default bundle.
    """

    name: str
    means: str
    behind: Literal["", "go", "gatehouse"] = ""
    listen: Literal["unix", "tcp"] = "unix"
    bundle: Path | None = None

    def edit(self, config: dict[str, Any]) -> None:
        """Makes Envoy's configuration this variant's."""
        if self.behind:
            return
        (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        filters = manager["typed_config"]["http_filters"]
        position = [item["name"] for item in filters].index(_EXT_PROC)
        filters[position : position + 1] = [_MCP_FILTER] if self.name == MCP_FILTER else []


VARIANTS = (
    Variant(DIRECT, "Envoy alone: bootstrap.yaml without the ext_proc filter."),
    Variant(MCP_FILTER, "Envoy's own C++ `mcp` filter in its place: it parses requests, and decides nothing."),
    Variant(
        GO, "A processor in Go (grpc-go) over a Unix socket, which asks for the same messages and does nothing.", "go"
    ),
    Variant(GATEHOUSE, "`gatehouse serve` with the default bundle, over a Unix socket.", "gatehouse"),
    Variant(GATEHOUSE_TCP, "The same over TCP.", "gatehouse", "tcp"),
    Variant(
        GUARDED,
        "The default bundle with every policy for MCP on its route (tests/bench/guarded.yaml), over a Unix socket; "
        "state in the embedded store.",
        "gatehouse",
        bundle=_GUARDED_BUNDLE,
    ),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A variant that takes requests.

    Attributes:
        port: where its Envoy listens.
        envoy, processor: process ids; the processor's is None where there is none.
    """

    variant: Variant
    port: int
    envoy_admin: str
    envoy: int
    processor: int | None


class CannotBuild(Exception):
    """There is no Go here, or it cannot build; the message is for the person at the terminal."""


def build_noop(directory: Path) -> Path:
    """Builds the Go program into `directory`.

    Raises:
        CannotBuild: why not.
    """
    go = shutil.which("go")
    if go is None:
        raise CannotBuild("there is no `go` here")
    program = directory / "noop"
    built = subprocess.run(
        [go, "build", "-o", str(program), "."], cwd=_NOOP, capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise CannotBuild(f"`go build` failed: {built.stderr.strip()[-300:]}")
    return program


def start_upstream(processes: Processes) -> tuple[str, int]:
    """Starts the upstream; its address and its process id."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.upstream", "--port", str(port)]
    child = processes.start("upstream", command, accepts(LOOPBACK, port))
    processes.wait_until_ready()
    return f"{LOOPBACK}:{port}", child.process.pid


class Stacks:
    """Starts variants in front of one upstream.

    Args:
        directory: an existing folder for logs and sockets.
        noop: the built Go program; None where there is none.
        serve: how `gatehouse serve` is started; a profile wraps it.
    """

    def __init__(
        self,
        directory: Path,
        upstream: str,
        noop: Path | None,
        serve: Sequence[str] = (sys.executable, "-m", "ext_proc.cli", "serve"),
    ) -> None:
        self._directory = directory
        self._upstream = upstream
        self._noop = noop
        self._serve = tuple(serve)

    @contextmanager
    def running(self, variants: Sequence[Variant]) -> Iterator[list[Running]]:
        """All of `variants` at once, ready."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._start(index, variant)) for index, variant in enumerate(variants)]

    @contextmanager
    def _start(self, index: int, variant: Variant) -> Iterator[Running]:
        logs = self._directory / str(index)
        logs.mkdir()
        port, envoy_admin, admin, behind_port = free_ports(4)
        address = f"{LOOPBACK}:{behind_port}" if variant.listen == "tcp" else f"unix:{logs / 'processor.sock'}"
        with Processes(logs) as processes:
            processor = self._start_processor(processes, variant, address, admin)
            addresses = Addresses(
                listen=f"{LOOPBACK}:{port}",
                admin=f"{LOOPBACK}:{envoy_admin}",
                gatehouse=address,
                mcp=self._upstream,
                model_a=self._upstream,
                model_b=self._upstream,
            )
            config = yaml.safe_load(bootstrap(addresses, TokenSigner().jwks(), str(logs / "access.jsonl")))
            variant.edit(config)
            path = logs / "bootstrap.yaml"
            path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            command = [str(envoy_binary()), "--config-path", str(path), "--log-level", "warning"]
            # One worker, so that what a request costs can be read; and no shared memory between the Envoys.
            command += ["--concurrency", "1", "--disable-hot-restart"]
            admin_url = f"http://{LOOPBACK}:{envoy_admin}"
            envoy = processes.start("envoy", command, answers(f"{admin_url}/ready"))
            processes.wait_until_ready()
            yield Running(variant, port, admin_url, envoy.process.pid, processor)

    def _start_processor(self, processes: Processes, variant: Variant, address: str, admin: int) -> int | None:
        if variant.behind == "go":
            assert self._noop is not None
            return processes.start("go", [str(self._noop), "-listen", address], _listens(address)).process.pid
        if variant.behind == "gatehouse":
            bundle = variant.bundle or shipped("policies/bundles/default.yaml")
            command = [*self._serve, "--bundle", str(bundle), "--listen", address, "--admin", f"{LOOPBACK}:{admin}"]
            ready: Callable[[], bool] = answers(f"http://{LOOPBACK}:{admin}/readyz")
            state = {"STATE_DIRECTORY": str(self._directory / "state")}
            return processes.start("gatehouse", command, ready, state).process.pid
        return None


def _listens(address: str) -> Probe:
    """Ready when a connection to "unix:PATH" or "HOST:PORT" is accepted."""
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return accepts(host, int(port))

    def probe() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(address.removeprefix("unix:")) == 0

    return probe
