"""Sizes and durations as an operator writes them: "32MiB", "150ms", "24h".

Rules:
- A size is bytes, bare or with a binary unit; "KB" and "MB" mean two things and are refused.
- A duration always has its unit: a bare number is read as seconds by one person and as milliseconds by the next.
- What an exchange waits for is a duration; what is kept for longer than an exchange is a period, which may be days.

Not here: which limit is what (bundle/models.py), what a policy keeps for how long (its parameters).
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

_SIZE = re.compile(r"(\d{1,12})(B|KiB|MiB|GiB)?", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

MAX_SIZE = 1 << 30
MAX_DURATION = 3600.0
MAX_PERIOD = 366 * 86400.0


def parse_size(value: object) -> int:
    """Bytes from 1 to MAX_SIZE, of an integer or a text such as "64KiB".

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError("expected a size such as 64KiB or 32MiB")
        size = int(found[1]) * _BYTES[found[2] or "B"]
    if not 0 < size <= MAX_SIZE:
        raise ValueError(f"expected a size from 1 byte to {format_size(MAX_SIZE)}")
    return size


def format_size(size: int) -> str:
    """The shortest exact text: 65536 gives "64KiB"."""
    unit, scale = next((unit, scale) for unit, scale in _BYTES.items() if size % scale == 0)
    return f"{size // scale}{unit}"


def parse_duration(value: object, at_most: float = MAX_DURATION) -> float:
    """Seconds, above 0 and up to `at_most`, of a text such as "150ms", "2s", "5m" or "1h".

    Raises:
        ValueError: anything else.
    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("expected a duration with its unit, such as 150ms, 2s or 5m")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= at_most:
        raise ValueError(f"expected a duration above 0 and up to {format_duration(at_most)}")
    return seconds


def parse_period(value: object) -> float:
    """Seconds, above 0 and up to MAX_PERIOD, of a text such as "10m", "24h" or "30d".

    Raises:
        ValueError: anything else.
    """
    return parse_duration(value, MAX_PERIOD)


def format_duration(seconds: float) -> str:
    """A text that reads back as the same duration: 0.15 gives "150ms"."""
    for unit, scale in _SECONDS.items():
        count = round(seconds / scale, 6)
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms"


Size = Annotated[
    int,
    PlainValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "format": "size"}),
]
Duration = Annotated[
    float,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
Period = Annotated[
    float,
    PlainValidator(parse_period),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
