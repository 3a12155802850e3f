"""Names against globs, for all policies alike: `*` is any text, `?` one character, `[ab]` one of them.

Rules:
- Upper and lower case differ, on every platform.

Not here: URIs (resource_uris.py), which of many rules a name belongs to (access_rules.py).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection


def any_of(globs: Collection[str]) -> Callable[[str], bool]:
    """A test for whether a name fits any of the globs; where there are none, every name does."""
    if not globs:
        return lambda name: True
    match = re.compile("|".join(map(fnmatch.translate, globs))).match
    return lambda name: match(name) is not None
