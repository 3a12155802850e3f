"""The format of a bundle's `store`: where policies keep what outlives an exchange.

Rules:
- The same as of the rest of the format (models.py).

Not here: where the file is if nobody says so, and who is warned of what (store_settings.py); what a store does
(stores/store.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from ext_proc.secret import Secret
from ext_proc.units import Duration, Size

# No braces: what stands between the first of them decides in which slot of a cluster a key is.
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
_SMALLEST = 1 << 20  # bytes of the embedded store's file


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError("expected 1 to 64 letters, digits and . _ : -")
    return text


def _size(size: int) -> int:
    if size < _SMALLEST:
        raise ValueError("expected at least 1MiB")
    return size


KeyPrefix = Annotated[str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "format": "text"})]
FileSize = Annotated[Size, AfterValidator(_size)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddedPart(_Part):
    """A file on this host, which all of its processes that serve the bundle share."""

    path: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file, on a local disk; it and missing folders are made. A relative path starts at the "
        "bundle's folder. If left out: NAME.db, by the bundle's name, in the folder that `STATE_DIRECTORY` names "
        "(systemd and the image set it), or else in `gatehouse` below `XDG_STATE_HOME` (`~/.local/state` unless set). "
        "Without a policy that keeps state no file is touched.",
    )
    max_size: FileSize = Field(
        default=256 << 20,
        description="The largest file; past it operations fail. Beside it stands a log of up to 32MiB.",
    )
    timeout: Duration = Field(
        default=0.020, description="How long an operation waits for the file while other processes have it locked."
    )


class RedisPart(_Part):
    """Redis 7 or later, or Valkey, shared by all hosts."""

    url: Secret = Field(
        description="The key id of a secret that holds the URL: `redis://`, `rediss://` (TLS) or `unix://`, with user "
        "and password where they are needed. As its options it may have `client_name`, `health_check_interval`, and "
        "with TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`, `ssl_ciphers` "
        "and `ssl_min_version`."
    )
    prefix: KeyPrefix | None = Field(
        default=None,
        description="What all keys start with; if left out, `gatehouse:` and the bundle's name. Bundles with the same "
        "prefix share what policies of the same name keep.",
    )
    cluster: bool = Field(default=False, description="Whether the URL leads to a node of a Redis Cluster.")
    timeout: Duration = Field(default=0.020, description="For one operation.")
    connect_timeout: Duration = Field(
        default=0.050, description="What an operation gets in addition where it has to connect first."
    )
    max_connections: int = Field(
        default=16, ge=1, le=1024, description="The most connections of one process to one server."
    )
    failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="After so many operations without an answer in a row all fail at once, without asking.",
    )
    pause: Duration = Field(default=1.0, description="For how long; then one operation tries again.")

    @model_validator(mode="after")
    def _usable(self) -> RedisPart:
        from ext_proc.stores.redis_connections import options_of  # the client is imported where it is used

        try:
            options_of(self.url, self.cluster)
        except ValueError as error:
            raise ValueError(f"the secret {self.url.key_id} cannot be used: {error}") from None
        return self


class StorePart(_Part):
    """Where policies keep what outlives an exchange: counters, leases, ledgers."""

    hosts: Literal["one", "several"] | None = Field(
        default=None,
        description="On how many hosts the bundle is served. What the embedded store keeps is one host's alone, so "
        "`check` warns of policies that keep state in it, unless this is `one`.",
    )
    embedded: EmbeddedPart = Field(default=EmbeddedPart(), description="The default.")
    redis: RedisPart | None = Field(default=None, description="In place of `embedded`.")

    @model_validator(mode="after")
    def _one(self) -> StorePart:
        if self.redis is not None and "embedded" in self.model_fields_set:
            raise ValueError("expected either embedded or redis")
        return self
