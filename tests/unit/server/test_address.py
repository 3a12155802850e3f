"""Addresses: what can be written, and why one cannot be had."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ext_proc.server.address import (
    Address,
    AddressError,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_tcp_address,
    reserved,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:50051", TcpAddress("127.0.0.1", 50051)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("unix:/run/gatehouse.sock", UnixAddress("/run/gatehouse.sock")),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


def test_a_relative_path_is_made_absolute() -> None:
    assert parse_address("unix:s") == UnixAddress(f"{Path.cwd()}/s")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected HOST:PORT"),
        ("50051", "names no host"),
        (":50051", "names no host: write 127.0.0.1:50051"),
        ("host:", "port from 0 to 65535"),
        ("host:http", "port from 0 to 65535"),
        ("host:65536", "port from 0 to 65535"),
        ("host:٣", "port from 0 to 65535"),
        ("::1:80", "in brackets"),
        ("unix:", "1 to 107 bytes"),
        ("unix:/" + "x" * 107, "1 to 107 bytes"),
    ],
)
def test_what_is_no_address_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(AddressError, match=sentence):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("evil.example:1", False),
    ],
)
def test_loopback_is_known_by_its_name_or_number(text: str, loopback: bool) -> None:
    assert parse_tcp_address(text).is_loopback is loopback


def test_a_host_that_nobody_knows_is_a_sentence() -> None:
    with pytest.raises(AddressError, match="the host is not known"), reserved(TcpAddress("999.999.999.999", 1)):
        pass


def test_a_host_that_is_not_ours_is_a_sentence() -> None:
    with pytest.raises(AddressError, match="cannot assign requested address"), reserved(TcpAddress("192.0.2.1", 1)):
        pass


def test_a_dead_servers_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with reserved(UnixAddress(str(path))):
        assert not path.exists()


def test_a_live_servers_socket_stays_also_without_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(AddressError, match="another process serves there"), reserved(UnixAddress(str(path))):
            pass
    assert path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(AddressError, match="no socket"), reserved(UnixAddress(str(path))):
        pass
    assert path.read_text() == "precious"


def test_an_address_is_reserved_once_at_a_time(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    with reserved(address), pytest.raises(AddressError, match="another process serves there"), reserved(address):
        pass
    with reserved(address):
        pass


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(AddressError, match="no such file or directory"),
        reserved(UnixAddress(str(tmp_path / "no" / "s"))),
    ):
        pass


def test_a_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "s.lock")
    with pytest.raises(AddressError), reserved(UnixAddress(str(tmp_path / "s"))):
        pass
    assert not (tmp_path / "elsewhere").exists()
