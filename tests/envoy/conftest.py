"""Fixtures for tests through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ext_proc.demo.processes import every_end_is_ctrl_c
from tests.envoy.harness import Running, Stacks
from tests.envoy.processor import ANSWER, Processor
from tests.envoy.ways import BUNDLE


@pytest.fixture(scope="session")
def gatehouse_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stacks]:
    """Call it with a bundle's text: `running = gatehouse_stack(BUNDLE)`; see `Stacks.__call__`."""
    with every_end_is_ctrl_c(), closing(Stacks(tmp_path_factory.mktemp("stacks"))) as stacks:
        yield stacks


@pytest.fixture(scope="session")
def processor() -> Iterator[Processor]:
    """A scripted processor for facts about Envoy itself."""
    with Processor() as processor:
        yield processor


@pytest.fixture
def envoy(gatehouse_stack: Stacks, processor: Processor) -> Iterator[Running]:
    """Envoy with the scripted processor in Gatehouse's place; the upstream answers with `processor.DONE`."""
    running = gatehouse_stack(BUNDLE, edit_bootstrap=processor.bootstrap)
    running.upstream.answer_with(ANSWER)
    yield running
    assert processor.failures == []
