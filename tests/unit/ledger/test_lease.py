"""Owners: who lives is told by a lock that the kernel holds, never by time."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ext_proc.ledger.lease import Lease, dead, owners_in
from ext_proc.ledger.record import LedgerError

HOLDS = """
import sys
from pathlib import Path
from ext_proc.ledger.lease import Lease
print(Lease.take(Path(sys.argv[1])).owner, flush=True)
sys.stdin.read()
"""


def is_dead(folder: Path, owner: str) -> bool:
    with dead(folder, owner) as gone:
        return gone


def test_an_owner_in_the_same_process_lives_until_it_ends(tmp_path: Path) -> None:
    held = Lease.take(tmp_path / "owners")
    assert not is_dead(tmp_path / "owners", held.owner)
    held.end()
    assert is_dead(tmp_path / "owners", held.owner)
    assert owners_in(tmp_path / "owners", 9) == []


def test_an_owner_in_another_process_lives_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert owners_in(tmp_path, 9) == [owner]
        assert not is_dead(tmp_path, owner)
        process.send_signal(signal.SIGSTOP)  # however long it does nothing
        assert not is_dead(tmp_path, owner)
        process.kill()
        process.wait()
        assert is_dead(tmp_path, owner)
    assert owners_in(tmp_path, 9) == []


def test_while_one_buries_an_owner_nobody_else_does(tmp_path: Path) -> None:
    held = Lease.take(tmp_path)
    os.close(held._descriptor)
    with dead(tmp_path, held.owner) as first, dead(tmp_path, held.owner) as second:
        assert (first, second) == (True, False)


def test_an_owner_whose_file_is_gone_notices(tmp_path: Path) -> None:
    held = Lease.take(tmp_path)
    assert held.holds()
    (tmp_path / held.owner).unlink()
    assert not held.holds()
    (tmp_path / held.owner).touch()
    assert not held.holds()
    held.end()


def test_a_file_that_is_taken_for_a_dead_owners_before_it_is_locked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buried: list[str] = []

    def flock(descriptor: int, operation: int) -> None:
        if not buried:
            buried.extend(owners_in(tmp_path, 9))
            (tmp_path / buried[0]).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    held = Lease.take(tmp_path)
    assert held.owner not in buried
    assert held.holds()
    held.end()


def test_where_locks_do_not_work_there_is_no_lease_and_nobody_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Lease.take(tmp_path)

    def flock(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LedgerError, match=r"cannot lock a file in .*: No locks available"):
        Lease.take(tmp_path)
    os.close(held._descriptor)
    assert not is_dead(tmp_path, held.owner)


def test_an_owners_files_are_its_own(tmp_path: Path) -> None:
    held = Lease.take(tmp_path / "owners")
    assert stat.S_IMODE((tmp_path / "owners").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "owners" / held.owner).stat().st_mode) == 0o600
    assert fcntl.fcntl(held._descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    held.end()


def test_what_is_no_owners_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "README").touch()
    (tmp_path / "0123456789abcdef").symlink_to("/etc/passwd")
    assert owners_in(tmp_path, 9) == ["0123456789abcdef"]
    assert not is_dead(tmp_path, "0123456789abcdef")
    assert owners_in(tmp_path / "none", 9) == []
