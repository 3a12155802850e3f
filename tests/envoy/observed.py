"""What can be seen of a running stack from outside: Gatehouse's log, decisions and metrics, and Envoy's counters.

Rules:
- A test that looks at decisions marks where the log stands, does something, and reads what came after the mark.
- Nothing waits by time alone (`harness.wait_for`).

Not here: Envoy's access log (harness.py).
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.envoy.harness import Running, wait_for


def text_of_log(running: Running) -> str:
    """All that Gatehouse wrote, on standard output and standard error."""
    return (running.stack.logs / "gatehouse.log").read_text(encoding="utf-8")


def log_lines(running: Running, since: int = 0) -> list[dict[str, Any]]:
    """The whole lines of Gatehouse's log after the first `since`."""
    return [json.loads(line) for line in text_of_log(running).split("\n")[since:-1]]


def mark(running: Running) -> int:
    """How many lines the log has now: a place behind the exchanges of what went before.

    An exchange is recorded when its RPC is over, which may be after its client's answer: those of the test before are
    waited for, but only for a moment, since a test may hold one open on purpose.
    """
    until = time.monotonic() + 1.0
    while metric(running, "gatehouse_exchanges_active") and time.monotonic() < until:
        time.sleep(0.01)
    return len(log_lines(running))


def logged(running: Running, event: str, since: int = 0) -> dict[str, Any]:
    """The first line with this event after the mark, once it is there."""
    return wait_for(
        lambda: next((line for line in log_lines(running, since) if line["event"] == event), None),
        f"{event!r} in Gatehouse's log",
    )


def decisions(running: Running, since: int, count: int = 1) -> list[dict[str, Any]]:
    """The decisions after the mark, in the order in which the exchanges ended, once there are `count` of them."""

    def look() -> list[dict[str, Any]] | None:
        found = [line for line in log_lines(running, since) if line["event"] == "decision"]
        return found if len(found) >= count else None

    found = wait_for(look, f"{count} decisions in Gatehouse's log")
    assert len(found) == count
    return found


def metric(running: Running, name: str, **labels: str) -> float:
    """The sum of the samples called `name` whose labels hold `labels`."""
    text = _page(f"{running.stack.admin_url}/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def envoy_stat(running: Running, name: str) -> int:
    """One of Envoy's counters or gauges; 0 where it has not been counted yet."""
    found = _page(f"{running.stack.envoy_admin_url}/stats?filter=^{name}$").split()
    return int(found[1]) if found else 0


def _page(url: str) -> str:
    """Fetched without httpx, which reads all root certificates each time: these are looked at again and again."""
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def nothing_left(running: Running, *, pooled: bool = False) -> None:
    """Waits until no exchange is under way in Envoy, at the upstream, or in Gatehouse.

    Args:
        pooled: connections to the upstream may stay in Envoy's pool, idle.
    """

    def look() -> bool | None:
        counts = [
            envoy_stat(running, "http.clients.downstream_rq_active"),
            envoy_stat(running, "cluster.gatehouse.upstream_rq_active"),
            envoy_stat(running, "cluster.mcp.upstream_rq_active"),
            0 if pooled else envoy_stat(running, "cluster.mcp.upstream_cx_active"),
            envoy_stat(running, "http.clients.ext_proc.streams_started")
            - envoy_stat(running, "http.clients.ext_proc.streams_closed")
            - envoy_stat(running, "http.clients.ext_proc.streams_failed"),
            metric(running, "gatehouse_exchanges_active"),
        ]
        return None if any(counts) else True

    wait_for(look, "no exchange under way in Envoy, at the upstream and in Gatehouse")


def bundle_file(running: Running) -> Path:
    """The bundle that Gatehouse was started with."""
    command = running.stack.processes["gatehouse"].process.args
    assert isinstance(command, list)
    return Path(command[command.index("--bundle") + 1])


def signal_gatehouse(running: Running, number: signal.Signals) -> None:
    """Sends Gatehouse a signal."""
    running.stack.processes["gatehouse"].process.send_signal(number)


def kill_gatehouse(running: Running) -> None:
    """Ends Gatehouse as a crash would."""
    process = running.stack.processes["gatehouse"].process
    process.kill()
    process.wait()


def restart_gatehouse(running: Running) -> None:
    """Starts Gatehouse anew, where it is dead; Envoy stays as it is."""
    command, ready = running.stack.processes["gatehouse"].process.args, running.stack.processes["gatehouse"].ready
    assert isinstance(command, list)
    running.stack.processes.kill("gatehouse")
    running.stack.processes.start("gatehouse", command, ready)
    running.stack.processes.wait_until_ready()
