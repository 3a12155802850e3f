"""The browser of the tests: a machine without one is told what to install, and no test is left out in silence."""

from __future__ import annotations

import shutil

import pytest

from tests.browser import MISSING, NAMES, executable


def test_without_a_chromium_a_test_fails_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(pytest.fail.Exception, match=r"^needs Chromium, .*apt-get install chromium$"):
        executable()
    assert "chromium" in MISSING


@pytest.mark.parametrize("name", NAMES)
def test_any_chromium_of_the_system_will_do(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda asked: f"/usr/bin/{name}" if asked == name else None)
    assert executable() == f"/usr/bin/{name}"
