"""Sizes and durations as an operator writes them: "32MiB", "150ms".

Rules:
- A size is bytes, bare or with a binary unit; "KB" and "MB" mean two things and are refused.
- A duration always has its unit: a bare number is read as seconds by one person and as milliseconds by the next.

Not here: which limit is what (models.py).
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

_SIZE = re.compile(r"(\d{1,12})(B|KiB|MiB|GiB)?", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", re.ASCII)
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

MAX_SIZE = 1 << 30
MAX_DURATION = 3600.0


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


def parse_duration(value: object) -> float:
    """Seconds, above 0 and up to MAX_DURATION, of a text such as "150ms", "2s", "5m" or "1h".

    Raises:
        ValueError: anything else.
    """
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("expected a duration with its unit, such as 150ms, 2s or 5m")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= MAX_DURATION:
        raise ValueError(f"expected a duration above 0 and up to {format_duration(MAX_DURATION)}")
    return seconds


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
