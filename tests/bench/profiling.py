"""`make bench PROFILE=1`: Gatehouse under load, once per case, with a text file each about where its CPU time went.

Not here: the profiler itself (sampler.py).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ext_proc.demo.processes import Processes
from tests.bench.cases import Case
from tests.bench.checks import check
from tests.bench.load import Load
from tests.bench.rounds import CONNECTIONS
from tests.bench.variants import GATEHOUSE, VARIANTS, Stacks, start_upstream


def profile(cases: Sequence[Case], seconds: float, output: Path, say: Callable[[str], None]) -> list[Path]:
    """Writes `profile-CASE.txt` for each case into `output`, an existing folder.

    Raises:
        DemoError, WrongAnswer, LoadError: as for a run.
    """
    (variant,) = (variant for variant in VARIANTS if variant.name == GATEHOUSE)
    written = []
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder, Processes(Path(folder)) as processes:
        address, _ = start_upstream(processes)
        for number, case in enumerate(cases):
            path = output / f"profile-{case.name.lower().replace(' ', '-').replace('/', '-')}.txt"
            say(f"profile: {case.name}")
            directory = Path(folder) / f"run-{number}"
            directory.mkdir()
            serve = (sys.executable, "-m", "tests.bench.sampler", str(path), "serve")
            with Stacks(directory, address, None, serve).running([variant]) as (running,):
                lengths = check(running, cases).lengths
                asyncio.run(_load(running.port, case, lengths.get(case.name), seconds))
            written.append(path)
    return written


async def _load(port: int, case: Case, expected: int | None, seconds: float) -> None:
    async with Load(port, case, case.streams or CONNECTIONS, expected) as load:
        await asyncio.sleep(seconds)
        load.check()
