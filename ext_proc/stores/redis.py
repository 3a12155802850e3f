"""The store in Redis 7 or later, or Valkey: shared by all hosts.

Rules:
- One operation is one script, run by the server as a whole; its keys have one hash tag, made of their group, so that a
  cluster keeps them in one slot. The server's own clock lets them expire.
- Groups and names are hashed: the length of a key is bounded, and no name stands in the server's own logs.
- Scripts carry `#!lua`, with which a server that is full refuses one before it starts, not in its middle.
- An operation is tried once. Where no answer comes several times in a row, the server is not asked for a while. An
  error that it answers with is an answer.
- Neither credentials nor keys are in any error.

Not here: connections and their time (redis_connections.py), what the operations mean (store.py).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from ext_proc.stores.breaker import Breaker
from ext_proc.stores.redis_connections import Argument, Connections, connections_of
from ext_proc.stores.settings import RedisSettings
from ext_proc.stores.store import (
    ABSENT,
    MAX_SUM,
    Count,
    Counted,
    Entry,
    Key,
    StoreError,
    Write,
    check_counts,
    check_keys,
    check_writes,
    new_version,
)

OPENING: Final = 5.0  # seconds that the first answer may take

_VERSION = 8  # bytes of a version, in front of every value
_CODE = re.compile(r"[A-Z]{2,20}\b")
_REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError, ssl.SSLError)
_UNANSWERED = (RedisError, RedisClusterException, OSError)


class _Script:
    """A script, and the digest by which a server that has it runs it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()


# An older Redis than 7 does not know the first line.
_PROBE = "#!lua flags=no-writes\nreturn 1"

_READ = _Script(
    """#!lua flags=no-writes
return redis.call('MGET', unpack(KEYS))
"""
)

# For each key three arguments: the version that must be there ('*' for any, '' for none); milliseconds until it expires
# ('' for never, '-' to delete); version and value.
_WRITE = _Script(
    """#!lua
for i, key in ipairs(KEYS) do
  local expected = ARGV[3 * i - 2]
  if expected ~= '*' and redis.call('GETRANGE', key, 0, 7) ~= expected then
    return 0
  end
end
for i, key in ipairs(KEYS) do
  local expires, value = ARGV[3 * i - 1], ARGV[3 * i]
  if expires == '-' then
    redis.call('UNLINK', key)
  elseif expires == '' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', expires)
  end
end
return 1
"""
)

# For each key three arguments: amount, milliseconds until it expires, limit. The answer: the number of the first
# counter that would pass its limit, or 0; the sums.
_COUNT = _Script(
    """#!lua
local sums = {}
for i, key in ipairs(KEYS) do
  sums[i] = tonumber(redis.call('GET', key) or '0')
end
for i = 1, #KEYS do
  local amount, limit = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i])
  if amount >= 0 and sums[i] + amount > limit then
    return {i, unpack(sums)}
  end
end
for i, key in ipairs(KEYS) do
  local amount = tonumber(ARGV[3 * i - 2])
  if amount ~= 0 then
    sums[i] = math.max(sums[i] + amount, 0)
    local text = string.format('%.0f', sums[i])
    if redis.call('EXISTS', key) == 1 then
      redis.call('SET', key, text, 'KEEPTTL')
    elseif sums[i] > 0 then
      redis.call('SET', key, text, 'PX', ARGV[3 * i - 1])
    end
  end
end
return {0, unpack(sums)}
"""
)


class RedisStore:
    """A store in Redis. Made by `open`.

    Attributes:
        warnings: what an operator should know of the server, found when it was opened.
        silence: why it did not answer then; "" where it did.
    """

    def __init__(self, settings: RedisSettings, connections: Connections) -> None:
        self.warnings: tuple[str, ...] = ()
        self.silence = ""
        self._prefix = settings.prefix
        self._connections = connections
        self._timeout = settings.timeout
        self._clock = asyncio.get_running_loop().time
        self._breaker = Breaker(settings.failures, settings.pause, self._clock)

    @classmethod
    async def open(cls, settings: RedisSettings, *, must_answer: bool) -> RedisStore:
        """The store, its server tried once.

        Args:
            must_answer: whether a server that cannot be reached is an error. One that refuses us always is.

        Raises:
            StoreError: it cannot be used.
        """
        try:
            store = cls(settings, connections_of(settings))
        except ValueError as error:
            raise StoreError(f"cannot use Redis as a store: {error}") from error
        try:
            store.warnings = await store._introduced()
        except _UNANSWERED as error:
            store.silence = _reason(error)
            if must_answer or _is_refusal(error):
                await store.close()
                raise StoreError(f"cannot use Redis as a store: {store.silence}") from error
        return store

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        check_keys(keys)
        if not keys:
            return ()
        found = await self._run(_READ, self._names("e", keys), ())
        return [None if value is None else _entry(value) for value in found]

    async def write(self, writes: Sequence[Write]) -> bool:
        check_writes(writes)
        if not writes:
            return True
        version = new_version().to_bytes(_VERSION)
        arguments: list[Argument] = []
        for write in writes:
            arguments.append(_expected(write.expected))
            if write.value is None:
                arguments += ["-", ""]
            else:
                expires = "" if write.expires is None else _milliseconds(write.expires)
                arguments += [expires, version + write.value]
        return bool(await self._run(_WRITE, self._names("e", [write.key for write in writes]), arguments))

    async def count(self, counts: Sequence[Count]) -> Counted:
        check_counts(counts)
        if not counts:
            return Counted(())
        arguments: list[Argument] = []
        for count in counts:
            limit = MAX_SUM if count.limit is None else min(count.limit, MAX_SUM)
            arguments += [count.amount, _milliseconds(count.expires), limit]
        passed, *sums = await self._run(_COUNT, self._names("c", [count.key for count in counts]), arguments)
        return Counted(tuple(sums), passed - 1 if passed else None)

    async def close(self) -> None:
        await self._connections.close()

    def _names(self, kind: str, keys: Sequence[Key]) -> list[str]:
        tag = f"{self._prefix}:{{{_hash(keys[0].group)}}}:{kind}:"
        return [tag + _hash(key.name) for key in keys]

    async def _run(self, script: _Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        if not self._breaker.admits():
            raise StoreError("it did not answer several times, and is not asked for a while")
        began = self._clock()
        try:
            answer = await self._evaluate(script, (len(keys), *keys, *arguments))
        except ResponseError as error:
            self._breaker.succeeded()
            raise StoreError(_reason(error)) from error
        except _UNANSWERED as error:
            self._breaker.failed()
            raise StoreError(_reason(error)) from error
        except BaseException:
            # Given up from outside: that tells something only after the time in which an answer was due.
            if self._clock() - began < self._timeout:
                self._breaker.learnt_nothing()
            else:
                self._breaker.failed()
            raise
        self._breaker.succeeded()
        return answer

    async def _evaluate(self, script: _Script, arguments: Sequence[Argument]) -> Any:
        try:
            return await self._connections.execute("EVALSHA", script.sha, *arguments)
        except NoScriptError:  # a new server, or one that was restarted: it did nothing, and learns the script now
            return await self._connections.execute("EVAL", script.text, *arguments)

    async def _introduced(self) -> tuple[str, ...]:
        """What there is to say of the server; raises what connecting raises."""
        await self._connections.execute("EVAL", _PROBE, 0, patience=OPENING)
        try:
            about = await self._connections.execute("EVAL", "return redis.call('INFO', 'memory')", 0, patience=OPENING)
        except ResponseError:
            return ()  # it does not tell everybody
        facts = dict(line.partition(b":")[::2] for line in about.splitlines())
        if facts.get(b"maxmemory") == b"0" or facts.get(b"maxmemory_policy") in (b"noeviction", None):
            return ()
        return ("Redis may evict what policies keep: set its maxmemory-policy to noeviction",)


def _hash(text: str) -> str:
    """43 characters; text from outside may hold lone surrogates."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _entry(value: bytes) -> Entry:
    return Entry(value[_VERSION:], int.from_bytes(value[:_VERSION]))


def _expected(version: int | None) -> Argument:
    if version is None:
        return "*"
    return b"" if version == ABSENT else version.to_bytes(_VERSION)


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)


def _is_refusal(error: BaseException) -> bool:
    """Whether asking again would not help: it was reached, and what is set up does not fit."""
    inner = _unwrapped(error)
    unready = isinstance(inner, BusyLoadingError | ClusterDownError)
    return isinstance(inner, _REFUSALS) or (isinstance(inner, ResponseError) and not unready)


def _unwrapped(error: BaseException) -> BaseException:
    """What the client put into a more general error while it connected."""
    inner = error.__cause__ or error.__context__
    general = type(error) in (ConnectionError, RedisClusterException)
    return _unwrapped(inner) if general and isinstance(inner, _UNANSWERED) else error


def _reason(error: BaseException) -> str:
    """In words of ours: the text of an answer may repeat what was sent."""
    match _unwrapped(error):
        case ssl.SSLError(reason=reason):
            return f"TLS failed ({reason})"
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return "it refuses our credentials, or what they may do"
        case OutOfMemoryError():
            return "it is full (maxmemory)"
        case ReadOnlyError():
            return "it is a replica"
        case MovedError():
            return "it is a node of a cluster: set cluster: true"
        case BusyLoadingError():
            return "it is still loading its data"
        case ResponseError() as answer:
            code = _CODE.match(str(answer))
            return f"it answered with {code[0] if code else type(answer).__name__}"
        case TimeoutError():
            return "it did not answer in time"
    return "it cannot be reached"
