"""Processes whose policies keep something open: where that cannot be, none is served."""

from __future__ import annotations

from pathlib import Path

from tests.unit.server.test_run import refused

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: metered}
routes:
  - {name: models, match: {path: /v1}, protocol: openai, policies: [meter]}
policies:
  - {name: meter, type: usage, parameters: {ledger: {sink: sqlite, path: taken/usage.db}}}
"""


async def test_a_ledger_that_cannot_be_opened_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(BUNDLE)
    said = await refused(bundle)
    assert f"policy meter: cannot use {tmp_path}/taken/usage.db as a ledger: " in said
    assert "Traceback" not in said
