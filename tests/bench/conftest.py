"""One upstream for all tests of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ext_proc.demo.processes import Processes
from tests.bench.variants import start_upstream


@pytest.fixture(scope="session")
def upstream_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the benchmark's upstream."""
    logs: Path = tmp_path_factory.mktemp("bench")
    with Processes(logs) as processes:
        address, _ = start_upstream(processes)
        yield int(address.rpartition(":")[2])
