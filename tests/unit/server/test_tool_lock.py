"""tool_lock: a lock file is changed whole, keeps what else stands in it, and nothing else is written over."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from ext_proc.bundle_file import MAX_BYTES
from ext_proc.pins.lock import Lock, parse_lock, render_lock
from ext_proc.server import tool_lock
from ext_proc.server.tool_lock import Unwritable

ONE, OTHER = "1" * 64, "2" * 64


def naming(tool: str, digest: str = ONE) -> Lock:
    return Lock().approving("docs", tool, [digest])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tools.lock"


def test_a_file_that_is_not_there_is_made(file: Path) -> None:
    tool_lock.change(file, lambda before: before.approving("docs", "read", [ONE]))
    assert (tool_lock.read(file), file.stat().st_mode & 0o777) == (naming("read"), 0o644)


def test_what_else_stands_in_it_and_who_may_read_it_stay(file: Path) -> None:
    file.write_text(render_lock(naming("read")))
    file.chmod(0o600)
    tool_lock.change(file, lambda before: before.approving("docs", "send", [OTHER]))
    assert tool_lock.read(file) == naming("read").approving("docs", "send", [OTHER])
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("text", [b"", b"7", b"{", b"servers: {}", b"\xff", b"#" * (MAX_BYTES + 1)])
def test_what_is_no_lock_file_is_not_written_over(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    with pytest.raises(Unwritable, match="cannot be read as a lock file"):
        tool_lock.change(file, lambda before: before)
    assert file.read_bytes() == text


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="No such file"):
        tool_lock.change(tmp_path / "no" / "tools.lock", lambda before: before)


def test_a_failed_write_leaves_the_old_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(render_lock(naming("read")))

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(Unwritable, match="No space left"):
        tool_lock.change(file, lambda before: before.approving("docs", "send", [OTHER]))
    assert parse_lock(file.read_bytes()) == naming("read")
    assert os.listdir(file.parent) == [file.name]


def test_of_two_commands_at_once_the_second_waits_and_nothing_is_lost(file: Path) -> None:
    held = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    began = threading.Event()

    def approves() -> None:
        began.set()
        tool_lock.change(file, lambda before: before.approving("docs", "send", [OTHER]))

    thread = threading.Thread(target=approves)
    thread.start()
    began.wait()
    file.write_text(render_lock(naming("read")))  # who holds the lock writes meanwhile
    os.close(held)
    thread.join()
    assert tool_lock.read(file) == naming("read").approving("docs", "send", [OTHER])
