"""Addresses to listen on, and why one cannot be had.

Rules:
- What is wrong with an address is said in one sentence, before gRPC gets it: its own error names no cause.
- A Unix socket is taken under a lock file beside it, for a second server would silently steal the first one's path.

Not here: who listens (aio.py, http.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ext_proc.errors import GatehouseError

_MAX_PATH = 107  # bytes of sockaddr_un's path, its final NUL aside
_MODE = 0o660  # Envoy may run as another user of the same group; nobody else may speak to us


class AddressError(GatehouseError):
    """An address that cannot be read, or cannot be listened on."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (a name or an IP address, without brackets) and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Reads HOST:PORT, [IPV6]:PORT or unix:PATH.

    Raises:
        AddressError: it is neither.
    """
    if text.startswith("unix:"):
        path = os.path.abspath(text.removeprefix("unix:")) if text != "unix:" else ""
        if not path or len(os.fsencode(path)) > _MAX_PATH:
            raise AddressError(f"{text!r} is no address: the path of a Unix socket has 1 to {_MAX_PATH} bytes")
        return UnixAddress(path)
    return parse_tcp_address(text)


def parse_tcp_address(text: str) -> TcpAddress:
    """Reads HOST:PORT or [IPV6]:PORT.

    Raises:
        AddressError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r} is no address: write an IPv6 address in brackets, as in [::1]:50051")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"{text!r} is no address: expected HOST:PORT with a port from 0 to 65535")
    if not host:
        raise AddressError(f"{text!r} names no host: write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface")
    return TcpAddress(host, int(port))


@contextlib.contextmanager
def reserved(address: Address) -> Iterator[None]:
    """Makes sure that `address` is free, and keeps a Unix socket's path ours for as long as the context lasts.

    Raises:
        AddressError: it is not free, or not ours to take.
    """
    if isinstance(address, TcpAddress):
        _probe(address)
        yield
        return
    lock = _lock(address)
    try:
        _clear(address)
        yield
    finally:
        os.close(lock)  # the file stays: removing it would let two servers hold locks on two files of one name


def restrict(address: UnixAddress) -> None:
    """Lets owner and group connect to a bound socket, and nobody else."""
    os.chmod(address.path, _MODE)


def _probe(address: TcpAddress) -> None:
    """Binds and lets go, to learn the reason where it cannot be done."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except OSError as error:
        raise AddressError(f"cannot listen on {address}: the host is not known ({error.strerror})") from error
    reason = ""
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                return
        except OSError as error:
            reason = reason or str(error.strerror).lower()
    raise AddressError(f"cannot listen on {address}: {reason}")


def _lock(address: UnixAddress) -> int:
    path = address.path + ".lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AddressError(f"cannot listen on {address}: {path}: {str(error.strerror).lower()}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise AddressError(f"cannot listen on {address}: another process serves there") from error
    return lock


def _clear(address: UnixAddress) -> None:
    """Removes what a dead server left; leaves alone what is no socket, or is somebody's who never took our lock."""
    try:
        mode = os.lstat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"cannot listen on {address}: the path exists and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            os.unlink(address.path)
        except OSError as error:
            raise AddressError(f"cannot listen on {address}: {str(error.strerror or error).lower()}") from error
        else:
            raise AddressError(f"cannot listen on {address}: another process serves there")
