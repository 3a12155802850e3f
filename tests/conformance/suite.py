"""Runs the official MCP conformance suite against a server's URL and reads what it found.

Rules:
- Installed means: exactly what package-lock.json pins. Anything else is a failure that says what to run, never a skip.
- A check counts by what it says, with its words: scenario, id, name, status and error message. What the suite only
  notes (INFO) is left out, for it depends on when bytes arrived.

Not here: what is run against what (test_conformance.py).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_MODULES = _HERE / "node_modules"
_INSTALLED_FROM = _MODULES / ".installed-from"
NODE = _MODULES / ".bin" / "node"
CONFORMANCE = _MODULES / ".bin" / "conformance"
EVERYTHING = _MODULES / ".bin" / "mcp-server-everything"
LOOPBACK_ONLY = _HERE / "loopback.cjs"

# Per run of all scenarios of one revision; one takes about 3 s.
_DEADLINE = 120.0
# 0: all that the revision requires passed. 1: some of it did not.
_ENDED = (0, 1)


class NotInstalled(AssertionError):
    """The suite is not there, or is another one than is pinned."""


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """One finding of the suite."""

    scenario: str
    id: str
    name: str
    status: str  # SUCCESS, FAILURE, WARNING or SKIPPED
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What one run found.

    Attributes:
        checks: in the suite's own order within a scenario, scenarios by name.
        conforms: whether all that the revision requires passed, by the suite's own word.
    """

    checks: tuple[Check, ...]
    conforms: bool

    @property
    def score(self) -> tuple[int, int]:
        """How many checks passed and how many failed."""
        counts = Counter(check.status for check in self.checks)
        return counts["SUCCESS"], counts["FAILURE"]


def require_installed() -> None:
    """Raises NotInstalled, one sentence, unless everything is there."""
    pinned = (_HERE / "package-lock.json").read_bytes()
    if not _INSTALLED_FROM.is_file() or _INSTALLED_FROM.read_bytes() != pinned:
        raise NotInstalled("The MCP conformance suite is not installed as pinned: run tests/conformance/setup.")


def run_suite(url: str, output: Path, arguments: Sequence[str]) -> Findings:
    """Runs the suite's server scenarios that `arguments` choose, e.g. `--requirements 2025-11-25`.

    Args:
        output: a folder that does not exist yet; the suite writes what it found there.

    Raises:
        NotInstalled: see `require_installed`.
        AssertionError: the suite itself failed.
    """
    require_installed()
    command = [str(NODE), str(CONFORMANCE), "server", "--url", url, "--output-dir", str(output), *arguments]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DEADLINE, check=False
    )
    if ended.returncode not in _ENDED or not output.is_dir():
        raise AssertionError(f"the suite ended with status {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr}")
    checks = [check for folder in sorted(output.iterdir()) for check in _checks_in(folder)]
    return Findings(tuple(checks), conforms=ended.returncode == 0)


def _checks_in(folder: Path) -> list[Check]:
    # server-SCENARIO-2026-01-31T12-00-00-000Z
    scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\dZ-]+$", "", folder.name)
    report = folder / "checks.json"
    if not report.is_file():
        return [Check(scenario, scenario, "", "FAILURE", "the scenario itself gave up")]
    return [
        Check(scenario, found["id"], found["name"], found["status"], found.get("errorMessage") or "")
        for found in json.loads(report.read_text(encoding="utf-8"))
        if found["status"] != "INFO"
    ]
