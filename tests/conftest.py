"""What holds for every test: Hypothesis judges behaviour, not the speed of the machine it runs on."""

from __future__ import annotations

import os

from hypothesis import settings

# Everything asked here is on the loopback: no proxy of the environment has a part in it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

settings.register_profile("local", deadline=None, print_blob=True)
# The same examples in every run: what fails there can be run again here.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
