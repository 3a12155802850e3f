"""name_globs: which names fit."""

from __future__ import annotations

import pytest

from gatehouse_policies.name_globs import any_of


@pytest.mark.parametrize(
    ("globs", "name", "fits"),
    [
        (["docs.*"], "docs.read", True),
        (["docs.*"], "docs", False),
        (["docs.*"], "my.docs.read", False),
        (["docs.*"], "DOCS.read", False),
        (["docs.*"], "docs.read\nmore", True),
        (["a?c", "x"], "abc", True),
        (["a?c", "x"], "x", True),
        (["a?c", "x"], "xx", False),
        (["[ab]"], "b", True),
        (["[ab]"], "c", False),
        (["read"], "read\n", False),
    ],
)
def test_a_name_fits_a_glob_as_a_whole(globs: list[str], name: str, fits: bool) -> None:
    assert any_of(globs)(name) is fits


def test_where_there_are_no_globs_every_name_fits() -> None:
    assert any_of([])("")
    assert any_of([])("anything")
