"""CPU time and memory of processes, and how busy the rest of the machine was meanwhile. Linux only.

Rules:
- CPU time is the kernel's clock of the whole process: every thread, those that ended too, in nanoseconds.
- What others used is measured with each figure: on a shared machine a figure without it says nothing.

Not here: what the processes did.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a stretch of time cost.

    Attributes:
        seconds: how long it was.
        cpu: CPU seconds of each process, by name.
        foreign: CPU seconds of everything else on the machine, and what its host took away (steal).
    """

    seconds: float
    cpu: Mapping[str, float]
    foreign: float


class Meter:
    """Measures from its making on.

    Args:
        processes: the ids of processes that live for as long, by name.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._began = time.monotonic()
        self._cpu = self._read()
        self._busy = _machine_busy()

    def read(self) -> Usage:
        """The usage so far."""
        seconds = time.monotonic() - self._began
        cpu = {name: used - self._cpu[name] for name, used in self._read().items()}
        foreign = _machine_busy() - self._busy - sum(cpu.values())
        return Usage(seconds, cpu, max(foreign, 0.0))

    def _read(self) -> dict[str, float]:
        return {name: cpu_seconds(process) for name, process in self._processes.items()}


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far, in seconds.

    Source: clock_getcpuclockid(3); the clock of another process is made from its id (`~pid << 3 | CPUCLOCK_SCHED`).

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime_ns((~process << 3) | 2) / 1e9


def resident_bytes(process: int) -> int:
    """Resident memory (VmRSS) of a process.

    Raises:
        OSError: there is no such process.
    """
    for line in Path(f"/proc/{process}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(process)


def thread_seconds(process: int) -> dict[str, float]:
    """CPU time of each thread of a process, in seconds, by "id name"."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        name, _, rest = (task / "stat").read_text("ascii").partition(" (")[2].rpartition(")")
        fields = rest.split()
        found[f"{task.name} {name}"] = (int(fields[11]) + int(fields[12])) * _TICK
    return found


def _machine_busy() -> float:
    """CPU seconds of all processors since the start that were not idle."""
    fields = [int(field) for field in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) * _TICK
