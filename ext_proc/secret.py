"""A secret's value, by reference.

Rules:
- A bundle names a key id under `secrets` and where its value is (a file or an environment variable), never the value.
- A policy's parameter of type `Secret` is written as the key id in the bundle and arrives resolved.
- Its repr, str and JSON never show the value.

Not here: reading files or the environment (bundle/secrets.py resolves, through pydantic's validation context).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

CONTEXT_KEY = "secrets"


class Secret:
    """A named secret."""

    __slots__ = ("_value", "key_id")

    def __init__(self, key_id: str, value: bytes) -> None:
        self.key_id = key_id
        self._value = value

    def reveal(self) -> bytes:
        """The value. Not to be logged, put into an error, a metric, a header or metadata."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.key_id!r})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same secret: a bundle that is loaded again makes all of its secrets anew."""
        return isinstance(other, Secret) and (self.key_id, self._value) == (other.key_id, other._value)

    def __hash__(self) -> int:
        return hash((self.key_id, self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._resolve, serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: secret.key_id)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "title": "key id of a secret"}

    @classmethod
    def _resolve(cls, value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        known: Mapping[str, Secret] = (info.context or {}).get(CONTEXT_KEY, {})
        if not isinstance(value, str):
            raise ValueError("expected the key id of a secret under `secrets`")
        if value not in known:
            raise ValueError(f"no usable secret {value!r} under `secrets`; known: {', '.join(sorted(known)) or 'none'}")
        return known[value]
