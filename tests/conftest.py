"""What holds for every test.

Rules:
- Hypothesis judges behaviour, not the speed of the machine it runs on.
- Ctrl-C is heeded, by tests and by what they start, where a runner in the background would have it ignored.
- Tables that tests make are shown behind the results, whether or not anything failed.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# The name of a test's property (`record_property`) that is a table.
TABLE = "table"

# Everything asked here is on the loopback: no proxy of the environment has a part in it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("local", deadline=None, print_blob=True)
# The same examples in every run: what fails there can be run again here.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the tables."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in report.user_properties:
                if name == TABLE:
                    terminalreporter.write_line(f"\n{text}")
