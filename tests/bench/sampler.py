"""Where Gatehouse's own CPU time goes: its command line, run under a sampling profiler.

    python -m tests.bench.sampler OUTPUT serve --bundle ... (everything after OUTPUT is `gatehouse`'s)

Rules:
- The kernel's profiling timer counts the CPU time of all threads; at each tick the main thread's stack is noted. So
  time that gRPC's own threads use appears where the main thread happened to be: read the shares by thread first.
- It costs a few per cent, spread evenly, where a tracing profiler makes small functions look large. What C code uses
  counts for the Python line that called it.

Not here: the load (profiling.py).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType

from ext_proc.cli import app
from tests.bench.meter import thread_seconds

_INTERVAL = 0.001  # seconds of CPU time; the kernel rounds it up to its own tick
_ROOT = Path(__file__).resolve().parents[2]
_TOP = 45

Stack = tuple[CodeType, ...]


class Sampler:
    """Counts stacks, innermost frame first."""

    def __init__(self) -> None:
        self.stacks: Counter[Stack] = Counter()

    def start(self) -> None:
        """From now on; to be called in the main thread."""
        signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)

    def stop(self) -> None:
        """No more; late ticks are passed over."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def _tick(self, _number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        self.stacks[tuple(stack)] += 1


def report(stacks: Counter[Stack], threads: dict[str, float]) -> str:
    """Text: CPU time by thread; then samples by floor and by function, of those taken while the event loop ran."""
    stacks = Counter({stack: count for stack, count in stacks.items() if not all(map(_is_run_by_the_loop, stack))})
    total = sum(stacks.values()) or 1
    floors: Counter[str] = Counter()
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for stack, count in stacks.items():
        floors[_floor(stack)] += count
        own[_name(stack[0])] += count
        for name in {_name(code) for code in itertools.takewhile(_is_run_by_the_loop, stack)}:
            cumulative[name] += count
    lines = [f"{total} samples", "", "CPU seconds by thread:"]
    lines += [f"{used:8.2f}  {name}" for name, used in sorted(threads.items(), key=lambda item: -item[1])]
    lines += ["", "Samples by floor (the innermost frame of ours counts, with what it called elsewhere):"]
    lines += [f"{count / total:7.1%}  {floor}" for floor, count in floors.most_common()]
    lines += ["", "Self:"]
    lines += [f"{count / total:7.1%}  {name}" for name, count in own.most_common(_TOP)]
    lines += ["", "With everything below:"]
    lines += [f"{count / total:7.1%}  {name}" for name, count in cumulative.most_common(_TOP)]
    return "\n".join(lines) + "\n"


def _is_run_by_the_loop(code: CodeType) -> bool:
    """False for the frame that runs the event loop; what stands outside of it is the program's start."""
    return not code.co_filename.endswith("asyncio/runners.py")


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(str(_ROOT)) and "site-packages" not in code.co_filename


def _path(code: CodeType) -> str:
    name = code.co_filename
    if _is_ours(code):
        return str(Path(name).relative_to(_ROOT))
    return name.rpartition("site-packages/")[2] if "site-packages/" in name else "/".join(Path(name).parts[-2:])


def _floor(stack: Stack) -> str:
    """The folder or module of the innermost frame of ours that the event loop runs."""
    for code in stack:
        if not _is_run_by_the_loop(code):
            break
        if _is_ours(code):
            return "/".join(Path(_path(code)).parts[:2])
    return "the event loop and gRPC's core (C), and gRPC's threads"


def _name(code: CodeType) -> str:
    return f"{_path(code)}:{code.co_firstlineno} {code.co_qualname}"


def main(arguments: Sequence[str]) -> None:
    """Runs `gatehouse` and writes the report when it ends."""
    output, *rest = arguments
    sampler = Sampler()
    sampler.start()
    try:
        app(rest, standalone_mode=False)
    finally:
        sampler.stop()
        Path(output).write_text(report(sampler.stacks, thread_seconds(os.getpid())), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
