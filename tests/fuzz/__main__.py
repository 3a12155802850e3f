"""`make fuzz`: fuzzes every target for its part of the time, one after the other.

    python -m tests.fuzz [--seconds N] [--seed N] [--only TARGET] [--findings FOLDER] [--unguided]

Rules:
- Where atheris is not, inputs are changed by chance alone, and that is said.
- The seed is printed; a finding does not need it, for its input is written to build/fuzz/ with its trace beside it.
- Exit code 1 if a law is broken, if an input takes too long or too much memory, or if a target did not run.
- Every run starts from the seeds alone: it leaves findings and logs behind, no corpus.

Not here: the laws (*_laws.py), the fuzzers (one.py, unguided.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS
from tests.fuzz.unguided import LONGEST_INPUT

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "build" / "fuzz"
SECONDS = 60
_START = 2  # seconds that a target takes to begin
_LEAST = 2  # seconds for a target
_WEIGHTS = {"mcp_exchange": 2, "openai_exchange": 2, "events": 3}  # parts of the time; 1 for the others, which are fast
_MEMORY = 1024  # MiB
_GRACE = 60  # seconds on top, to instrument, to read the seeds, and to end
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_KEPT = re.compile(r"Test unit written to (\S+)")


def fuzz(name: str, seconds: int, seed: int, findings: Path, *, guided: bool) -> str:
    """Fuzzes one target; what is wrong, in a sentence that names the input, or "" if nothing is.

    Args:
        findings: the folder for the log and for inputs that break a law; it exists.
    """
    log = findings / f"{name}.log"
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds(name)):
            (Path(folder) / f"{number:03}").write_bytes(data)
        command = command_for(name, seconds, seed, f"{findings}{os.sep}{name}-", folder if guided else None)
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds + _GRACE
                ).returncode
            except subprocess.TimeoutExpired:
                return f"{name}: hangs; see {log}"
    told = log.read_text(encoding="utf-8", errors="replace")
    runs = _RUNS.search(told)
    print(f"{name}: {runs.group(1) if runs else 'an unknown number of'} inputs", flush=True)
    if code:
        kept = _KEPT.search(told)
        return f"{name}: {f'{kept.group(1)} breaks a law' if kept else 'did not run'}; see {log}"
    return (
        "" if runs and int(runs.group(1)) >= len(seeds(name)) else f"{name}: not even all seeds were tried; see {log}"
    )


def command_for(name: str, seconds: int, seed: int, prefix: str, corpus: str | None) -> Sequence[str]:
    """The command line that fuzzes one target.

    Args:
        prefix: what the names of kept inputs begin with, folder included.
        corpus: the folder of the seeds, for atheris; None without it.
    """
    if corpus is None:
        return [sys.executable, "-m", "tests.fuzz.unguided", name, str(seconds), str(seed), prefix]
    flags = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={2 * max(map(len, seeds(name)))}",
        f"-timeout={LONGEST_INPUT}",
        f"-rss_limit_mb={_MEMORY}",
        f"-artifact_prefix={prefix}",
        "-print_final_stats=1",
    ]
    return [sys.executable, "-m", "tests.fuzz.one", name, *flags, corpus]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes what reads bytes from outside.")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for all targets together (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of chance; another each time unless given")
    parser.add_argument("--only", choices=TARGETS, help="one target alone")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="where findings are written")
    parser.add_argument("--unguided", action="store_true", help="do without atheris")
    asked = parser.parse_args(arguments)
    guided = not asked.unguided and importlib.util.find_spec("atheris") is not None
    seed = SystemRandom().randrange(1, 2**31) if asked.seed is None else asked.seed
    names = [asked.only] if asked.only else list(TARGETS)
    findings = asked.findings.resolve()
    findings.mkdir(parents=True, exist_ok=True)
    how = "guided by coverage" if guided else "without atheris, by chance alone: it finds less"
    print(f"{len(names)} targets in {asked.seconds} s, seed {seed}, {how}", flush=True)
    ends = time.monotonic() + asked.seconds
    wrong = []
    for number, name in enumerate(names):
        weights = [_WEIGHTS.get(each, 1) for each in names[number:]]
        part = (ends - time.monotonic()) * weights[0] / sum(weights)
        wrong.append(fuzz(name, max(round(part) - _START, _LEAST), seed, findings, guided=guided))
    for problem in filter(None, wrong):
        print(problem, file=sys.stderr)
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
