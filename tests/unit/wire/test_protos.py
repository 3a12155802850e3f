"""Our protos are Envoy's on the wire, and the generated code is what the protos say.

Rules:
- Every message, field, number, type, label, oneof and enum value is compared with envoy-data-plane's own.
- What we leave out is listed here, so that nothing is left out by mistake.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ext_proc.events import BodyMode
from ext_proc.wire.pb import base_pb2, external_processor_pb2, processing_mode_pb2
from ext_proc.wire.service import METHOD, PROCESS, SERVICE

ROOT = Path(__file__).resolve().parents[3]
FILES = (base_pb2.DESCRIPTOR, processing_mode_pb2.DESCRIPTOR, external_processor_pb2.DESCRIPTOR)
MESSAGES = {message.name: message for file in FILES for message in file.message_types_by_name.values()}
ENUMS = {
    message.name + enum.name: enum for message in MESSAGES.values() for enum in message.enum_types_by_name.values()
}
LEFT_OUT = {("Metadata", "typed_filter_metadata"), ("HttpHeaders", "attributes")}
# An open enum there, an integer here: the same bytes, without a list of sixty codes.
INTEGERS_FOR_ENUMS = {("HttpStatus", "code")}
TYPES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A field as it is on the wire, and its oneof. `of` is the message or enum that it holds; a map: its value's."""

    number: int
    type: str
    repeated: bool
    oneof: str | None
    of: str


def our_fields(message: Descriptor) -> dict[str, Shape]:
    return {field.name: _our_shape(field) for field in message.fields}


def _our_shape(field: FieldDescriptor) -> Shape:
    oneof = field.containing_oneof.name if field.containing_oneof else None
    held = field.message_type or field.enum_type
    if isinstance(held, Descriptor) and held.GetOptions().map_entry:
        key, value = (held.fields_by_name[name] for name in ("key", "value"))
        kind = f"map {TYPES[key.type]} {TYPES[value.type]}"
        return Shape(field.number, kind, False, oneof, _flat_name(value.message_type) if value.message_type else "")
    return Shape(field.number, TYPES[field.type], field.is_repeated, oneof, _flat_name(held) if held else "")


def _flat_name(held: Descriptor | EnumDescriptor) -> str:
    parent = held.containing_type
    return held.name if parent is None else parent.name + held.name


def their_fields(message: type[Any]) -> dict[str, Shape]:
    return {field.name: _their_shape(field) for field in dataclasses.fields(message)}


def _their_shape(field: dataclasses.Field[Any]) -> Shape:
    meta = field.metadata["betterproto"]
    kind = meta.proto_type
    if meta.map_meta:
        kind = "map " + " ".join(part.proto_type for part in meta.map_meta)
    of = ""
    if meta.unwrap:
        of = meta.unwrap().__name__
    elif kind.endswith(("message", "enum")):
        # The annotation is text such as "list[___config__core__v3__.HeaderValueOption] | None".
        of = re.findall(r"\w+", str(field.type).removesuffix("| None"))[-1]
    return Shape(meta.number, kind, meta.repeated, meta.group, of)


def theirs(envoy: SimpleNamespace, name: str) -> type[Any]:
    (found,) = (vars(module)[name] for module in vars(envoy).values() if name in module.__all__)
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_of_a_message_is_envoys(envoy: SimpleNamespace, name: str) -> None:
    expected = their_fields(theirs(envoy, name))
    for message, field in LEFT_OUT:
        if message == name:
            del expected[field]
    for message, field in INTEGERS_FOR_ENUMS:
        if message == name:
            assert expected[field].type == "enum"
            expected[field] = dataclasses.replace(expected[field], type="int32", of="")

    assert our_fields(MESSAGES[name]) == expected


@pytest.mark.parametrize("name", ENUMS)
def test_every_value_of_an_enum_is_envoys(envoy: SimpleNamespace, name: str) -> None:
    expected = {value.name: int(value) for value in theirs(envoy, name)}
    assert {value.name: value.number for value in ENUMS[name].values} == expected


def test_no_message_of_the_service_is_missing(envoy: SimpleNamespace) -> None:
    service = {name for name in envoy.ext_proc.__all__ if not name.startswith("ExternalProcessor")}
    assert service <= MESSAGES.keys() | ENUMS.keys()


def test_the_body_modes_of_events_are_envoys() -> None:
    modes = {value.name: value.number for value in ENUMS["ProcessingModeBodySendMode"].values}
    del modes["GRPC"]  # Envoy does not implement it
    assert {mode.name: mode.value for mode in BodyMode} == modes


def test_the_method_is_the_one_envoy_calls(envoy: SimpleNamespace) -> None:
    assert list(envoy.ext_proc.ExternalProcessorBase().__mapping__()) == [PROCESS]
    assert f"/{SERVICE}/{METHOD}" == PROCESS


def test_no_name_can_meet_envoys_own_in_the_descriptor_pool() -> None:
    assert {file.package for file in FILES} == {"gatehouse.ext_proc.v3"}
    assert all(file.name.startswith("ext_proc/wire/pb/") for file in FILES)


def test_the_generated_code_is_what_the_protos_say(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "proto" / "generate.py", "--out", tmp_path], check=True, timeout=60)

    committed = dict(_generated(ROOT))
    assert dict(_generated(tmp_path)) == committed
    assert len(committed) == 2 * len(list((ROOT / "proto").glob("*.proto")))


def _generated(root: Path) -> Iterator[tuple[str, str]]:
    for file in (root / "ext_proc" / "wire" / "pb").glob("*.py*"):
        if file.name != "__init__.py":
            yield file.name, file.read_text()
