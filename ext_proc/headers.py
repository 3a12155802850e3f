"""HTTP headers as Envoy gives them: lower-case names, repeated names, byte values.

Rules:
- Names are lower case text; values are bytes, because Envoy passes what is not UTF-8 (ext_proc
  `HeaderValue.raw_value`).
- Order and repetitions are kept: a folded mapping would hide a duplicated routing header.
- `Headers` is immutable; a change is a `HeaderMutation`, which Envoy applies.

Not here: any protocol's knowledge of what a header means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# RFC 9110 section 5.6.2: the characters of a field name.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Headers:
    """An ordered multimap of header lines, also used for trailers.

    Pseudo headers (`:method`, `:path`, `:authority`, `:scheme`, `:status`) are lines like any other.
    """

    __slots__ = ("_first", "lines")

    def __init__(self, lines: Iterable[tuple[str, bytes]] = ()) -> None:
        self.lines: tuple[tuple[str, bytes], ...] = tuple(lines)
        first: dict[str, bytes] = {}
        for name, value in self.lines:
            first.setdefault(name, value)
        self._first = first

    @classmethod
    def of(cls, **lines: str) -> Headers:
        """Builds headers from keywords, `_` standing for `-`: `Headers.of(content_type="application/json")`."""
        return cls((name.replace("_", "-"), value.encode()) for name, value in lines.items())

    def get(self, name: str) -> str | None:
        """The first value of `name` (lower case) as text, odd bytes as surrogate escapes; None if absent."""
        value = self._first.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def get_all(self, name: str) -> tuple[bytes, ...]:
        """Every value of `name`, in order."""
        return tuple(value for key, value in self.lines if key == name)

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and other.lines == self.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    def __repr__(self) -> str:
        # Values may be credentials: a repr ends up in logs and tracebacks, so it names the headers only.
        return f"Headers({', '.join(name for name, _ in self.lines)})"


@dataclass(frozen=True, slots=True)
class HeaderMutation:
    """What is to change: lines that overwrite, and names to remove. `HeaderMutation()` changes nothing."""

    set: tuple[tuple[str, bytes], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.remove)

    def then(self, later: HeaderMutation) -> HeaderMutation:
        """This change followed by `later`; associative, with `HeaderMutation()` as identity.

        A later removal drops an earlier line of that name; a later line cancels an earlier removal.
        """
        if not later:
            return self
        if not self:
            return later
        overwritten = {name for name, _ in later.set}
        kept = tuple(line for line in self.set if line[0] not in overwritten and line[0] not in later.remove)
        removed = tuple(name for name in self.remove if name not in overwritten and name not in later.remove)
        return HeaderMutation(kept + later.set, removed + later.remove)


def is_token(name: str) -> bool:
    """Whether `name` is a lower-case header field name (RFC 9110 section 5.6.2)."""
    return bool(name) and all(character in _TOKEN for character in name)


def media_type(headers: Headers) -> str:
    """The media type of `content-type` in lower case without parameters; "" if there is none."""
    value = headers.get("content-type")
    return "" if value is None else value.partition(";")[0].strip().lower()


def content_length(headers: Headers) -> int | None:
    """The declared length in bytes; None where it is absent, or no plain number, or stated twice differently."""
    values = set(headers.get_all("content-length"))
    if len(values) != 1:
        return None
    (value,) = values
    return int(value) if value.isdigit() and len(value) < 20 else None
