"""Fixtures for tests through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ext_proc.demo.processes import every_end_is_ctrl_c
from tests.envoy.harness import Stacks


@pytest.fixture(scope="session")
def gatehouse_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stacks]:
    """Call it with a bundle's text: `running = gatehouse_stack(BUNDLE)`; see `Stacks.__call__`."""
    with every_end_is_ctrl_c(), closing(Stacks(tmp_path_factory.mktemp("stacks"))) as stacks:
        yield stacks
