"""Which store a bundle asks for, as frozen data: what the rulebook carries, and the server opens.

Not here: how it is written (bundle/store_models.py), opening it (server/stores.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ext_proc.secret import Secret


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """The embedded store.

    Attributes:
        path: the file.
        max_size: of the file, in bytes.
        timeout: seconds that an operation waits for the file.
    """

    path: Path
    max_size: int
    timeout: float


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Redis or Valkey.

    Attributes:
        url: redis://, rediss:// or unix://, with credentials and the client's options.
        prefix: what all keys start with.
        cluster: whether the server is a node of a Redis Cluster.
        timeout: seconds for one operation.
        connect_timeout: seconds more for one that has to connect first.
        max_connections: of one process, to one server.
        failures: in a row, after which it is not asked for a while.
        pause: seconds of that while.
    """

    url: Secret
    prefix: str
    cluster: bool
    timeout: float
    connect_timeout: float
    max_connections: int
    failures: int
    pause: float


StoreSettings = EmbeddedSettings | RedisSettings
