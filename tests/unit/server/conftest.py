"""The server under test, over both kinds of address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ext_proc.server.address import UnixAddress
from tests.unit.server.fakes import Served, serving


@pytest.fixture(params=["tcp", "unix"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    """A running server, over TCP and over a Unix socket."""
    async with serving(UnixAddress(str(tmp_path / "s")) if request.param == "unix" else None) as running:
        yield running
