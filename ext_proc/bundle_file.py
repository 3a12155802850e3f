"""A file that a policy's parameter names: read with the bundle, or only named, for a policy that writes it.

Rules:
- A parameter of type `BundleFile` is written as a path, relative to the bundle's folder, and arrives with the bytes.
- It is read when the bundle is loaded, and again when that is reloaded: a file that is missing, empty or too large is
  an error of the bundle.
- Its repr and JSON show the path, never what is in it.
- A parameter of type `BundlePath` is a path of the same kind, and nothing is looked at when the bundle is loaded.

Not here: what the file means (the policy), secrets (secret.py).
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

FOLDER_KEY = "folder"  # in pydantic's validation context: where a relative path starts
MAX_BYTES = 16 * 1024 * 1024


class BundleFile:
    """A file beside a bundle.

    Attributes:
        name: as the bundle has it.
        path: where it was read.
        data: what was in it.
    """

    __slots__ = ("data", "name", "path")

    def __init__(self, name: str, path: Path, data: bytes) -> None:
        self.name = name
        self.path = path
        self.data = data

    def __repr__(self) -> str:
        return f"BundleFile({self.name!r})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same file with the same content."""
        return isinstance(other, BundleFile) and (self.path, self.data) == (other.path, other.data)

    def __hash__(self) -> int:
        return hash((self.path, self.data))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._resolve, serialization=core_schema.plain_serializer_function_ser_schema(lambda file: file.name)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "title": "path of a file"}

    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> BundleFile:
        if isinstance(value, BundleFile):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("expected the path of a file")
        folder = (info.context or {}).get(FOLDER_KEY, Path())
        return cls(value, folder / value, _read(folder / value))


def _named(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected the path of a file")
    folder: Path = (info.context or {}).get(FOLDER_KEY, Path())
    return (folder / value).absolute()


BundlePath = Annotated[
    Path,
    BeforeValidator(_named),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "title": "path of a file"}),
]


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("expected a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot read {path} ({reason})") from None
    if not data:
        raise ValueError(f"expected {path} not to be empty")
    if len(data) > MAX_BYTES:
        raise ValueError(f"expected {path} to be at most {MAX_BYTES // 1024 // 1024} MiB")
    return data
