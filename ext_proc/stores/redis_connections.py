"""How a command reaches Redis: connections that are kept, their number, and the time that they get.

Rules:
- A command takes at most `timeout`, and `connect_timeout` more where a connection has to be made first.
- At most `max_connections` commands are under way; the next one waits, and its time runs.
- Nothing is sent twice: a command whose connection broke may have been carried out. Only a cluster's redirections, with
  which a node says that it did not, are followed.
- A connection on which a command was given up is closed: a late answer must not become the next one's.
- An URL's options are those of TLS and of the session; what would change how answers are read is none.

Not here: the commands (redis.py); what follows when there is no answer (breaker.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from ext_proc.secret import Secret
from ext_proc.stores.settings import RedisSettings

Argument = bytes | str | int

# What parse_url makes of the address, and what of an URL's query is passed on.
_ADDRESS: Final = {"connection_class", "host", "path", "port", "username", "password", "db"}
_OPTIONS: Final = {"client_name", "health_check_interval"}
_TLS_OPTIONS: Final = {
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
}
# Resending is what its retries would do.
_ONCE: Final = Retry(NoBackoff(), 0)


class Connections(Protocol):
    """Executes commands."""

    async def execute(self, *command: Argument, patience: float = 0.0) -> Any:
        """The answer, as it came.

        Args:
            patience: seconds more than an operation gets.

        Raises:
            TimeoutError: there was none in time.
            redis.exceptions.RedisError: it is an error, or there is no connection.
        """
        ...

    async def close(self) -> None: ...


def connections_of(settings: RedisSettings) -> Connections:
    """Connections are made when they are needed, on the loop that then runs.

    Raises:
        ValueError: see `options_of`.
    """
    options = options_of(settings.url, settings.cluster)
    return _Cluster(settings, options) if settings.cluster else _Server(settings, options)


def options_of(url: Secret, cluster: bool) -> Mapping[str, Any]:
    """The arguments of a connection.

    Raises:
        ValueError: the URL cannot be used; the text shows nothing of it.
    """
    try:
        options = dict(parse_url(url.reveal().decode()))
    except ValueError:  # its text may show a part of the password
        raise ValueError("expected an URL such as redis://user:password@host:6379/0, rediss:// or unix://") from None
    tls = url.reveal().startswith(b"rediss:")
    known = _OPTIONS | _TLS_OPTIONS if tls else _OPTIONS
    unknown = sorted(options.keys() - _ADDRESS - known)
    if unknown:
        raise ValueError(f"expected of the URL's options only {', '.join(sorted(known))}")
    if "path" in options and cluster:
        raise ValueError("expected a cluster's node to be named by its host, not by a Unix socket")
    if "path" not in options and not options.get("host"):
        raise ValueError("expected the URL to name a host")
    return options


class _Server:
    """One server, or what stands before several and looks like one."""

    def __init__(self, settings: RedisSettings, options: Mapping[str, Any]) -> None:
        self._timeout = settings.timeout
        self._connect_timeout = settings.connect_timeout
        self._free = asyncio.Semaphore(settings.max_connections)
        # No time limits of its own: it is given up from outside, as a whole.
        self._pool = ConnectionPool(
            max_connections=settings.max_connections, socket_timeout=None, retry=_ONCE, protocol=2, **options
        )

    async def execute(self, *command: Argument, patience: float = 0.0) -> Any:
        clock = asyncio.get_running_loop().time
        end = clock() + self._timeout + patience
        async with asyncio.timeout_at(end) as limit, self._free:
            began = clock()
            limit.reschedule(began + self._connect_timeout + patience)
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                limit.reschedule(end + clock() - began)  # connecting has a time of its own
                await connection.send_command(*command)
                return await connection.read_response()
            except ReadOnlyError:
                # After a failover this is the old primary: connected anew, its name may lead to the new one.
                await connection.disconnect(nowait=True)
                raise
            finally:
                await self._pool.release(connection)

    async def close(self) -> None:
        await self._pool.disconnect()


class _Cluster:
    """A Redis Cluster: the client knows which node has which keys."""

    def __init__(self, settings: RedisSettings, options: Mapping[str, Any]) -> None:
        self._limit = settings.timeout + settings.connect_timeout
        self._free = asyncio.Semaphore(settings.max_connections)
        self._client = RedisCluster(
            max_connections=settings.max_connections,
            socket_timeout=None,
            retry=_ONCE,
            protocol=2,
            **_of_cluster(options),
        )

    async def execute(self, *command: Argument, patience: float = 0.0) -> Any:
        async with asyncio.timeout(self._limit + patience), self._free:
            return await self._client.execute_command(*command)

    async def close(self) -> None:
        await self._client.aclose()


def _of_cluster(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same as the cluster's client wants it; databases other than 0 are not a cluster's."""
    kept = {name: value for name, value in options.items() if name not in ("connection_class", "db")}
    return {**kept, "ssl": True} if "SSL" in getattr(options.get("connection_class"), "__name__", "") else kept
