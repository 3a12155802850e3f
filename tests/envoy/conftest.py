"""Fixtures for tests through a real Envoy."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import certifi
import httpcore2
import pytest

from ext_proc.demo.processes import every_end_is_ctrl_c
from tests.browser import Chromium, running_chromium
from tests.envoy.harness import Running, Stacks
from tests.envoy.processor import ANSWER, Processor
from tests.envoy.ways import BUNDLE


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """New clients share what they would each read of the public authorities, which takes 25 ms; no test asks them."""
    create = ssl.create_default_context
    public, files = functools.cache(create), {certifi.where(), os.environ.get("SSL_CERT_FILE")}

    def shared(*purpose: ssl.Purpose, **authorities: Any) -> ssl.SSLContext:
        own = purpose or not authorities or not files.issuperset(authorities.values())
        return create(*purpose, **authorities) if own else public(**authorities)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", shared)  # httpx
        patch.setattr(httpcore2, "default_ssl_context", functools.cache(httpcore2.default_ssl_context))  # httpx2
        yield


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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A real headless browser, which reaches the loopback alone."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def envoy(gatehouse_stack: Stacks, processor: Processor) -> Iterator[Running]:
    """Envoy with the scripted processor in Gatehouse's place; the upstream answers with `processor.DONE`."""
    running = gatehouse_stack(BUNDLE, edit_bootstrap=processor.bootstrap)
    running.upstream.answer_with(ANSWER)
    yield running
    assert processor.failures == []
