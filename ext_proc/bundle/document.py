"""YAML to plain values, with the line of each: mappings with text keys, lists, text, numbers, booleans and null.

Rules:
- Plain values are those of YAML 1.2's core schema (section 10.3.2): only `true` and `false` are booleans, so that
  `mode: off` is the word "off"; `2026-11-20` and `1:30` are text.
- Anchors and aliases, tags and non-text keys are refused; a key that stands twice is an error, for YAML readers differ
  on which one counts.
- The size of the file and the depth of nesting are bounded before anything is built from them.

Not here: what the values mean (models.py).
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ext_proc.bundle.problems import Place, path_text
from ext_proc.errors import BundleError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64

_PREFIX = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}", re.ASCII)
# Bounded, so that no number becomes infinite on its way.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)


@dataclass(slots=True)
class Document:
    """A bundle's text, read.

    Attributes:
        tree: its values.
        problems: what was wrong with keys, anchors and tags; the tree goes without them.
        lines: the line of each value, from 1, by its path as a Problem has it.
    """

    tree: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int | None:
        """The line of the value at `path`, or of the nearest value around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return None


def read_text(path: Path) -> str:
    """The text of a bundle's file.

    Raises:
        BundleError: it is not a readable regular file of UTF-8 text of at most MAX_BYTES.
    """
    try:
        # A pipe or a device could block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise BundleError([Problem("", f"expected {path} to be a regular file")])
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError([Problem("", f"cannot read {path} ({error.strerror})")]) from error
    if len(data) > MAX_BYTES:
        raise BundleError([Problem("", f"expected a file of at most {MAX_BYTES >> 20} MiB")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BundleError([Problem("", f"expected UTF-8 text; byte {error.start} is not")]) from error


def read_document(text: str) -> Document:
    """The values of a bundle's text.

    Raises:
        BundleError: a syntax error (with its line and column), more than one document, nesting deeper than MAX_DEPTH,
            or a text that is no mapping.
    """
    control = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        raise BundleError([Problem(f"line {line}", "expected text without control characters")])
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BundleError([Problem(where, f"expected YAML: {error.problem or error.context}")]) from error
    finally:
        loader.dispose()
    if not isinstance(root, yaml.MappingNode):
        found = "nothing" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise BundleError([Problem("", "expected a mapping with apiVersion, kind, metadata, routes, policies", found)])
    document = Document(tree={})
    document.tree = _mapping(root, (), document)
    return document


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the core schema's plain values, no anchors, and a bound on depth."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own class attribute, filled just below

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases (& and *) are not read; write the value out", event.start_mark
            )
        if self._depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


for _kind, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(_PREFIX + _kind, re.compile(rf"(?:{_pattern.pattern})\Z", re.ASCII), None)


def _value(node: yaml.Node, place: Place, document: Document) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != _PREFIX + "seq":
            _refuse_tag(node, place, document)
        document.lines[path_text(place)] = node.start_mark.line + 1
        return [_value(item, (*place, index), document) for index, item in enumerate(node.value)]
    document.lines[path_text(place)] = node.start_mark.line + 1
    return _scalar(node, place, document)


def _mapping(node: yaml.MappingNode, place: Place, document: Document) -> dict[str, Any]:
    if node.tag != _PREFIX + "map":
        _refuse_tag(node, place, document)
    document.lines.setdefault(path_text(place), node.start_mark.line + 1)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _PREFIX + "str":
            document.problems.append(
                Problem(path_text(place), f"expected every key to be text (in quotes if need be), in line {line}")
            )
            continue
        key = key_node.value
        at = (*place, key)
        if key in found:
            document.problems.append(Problem(path_text(at), f"expected every key once; line {line} repeats it"))
            continue
        found[key] = _value(value_node, at, document)
        document.lines[path_text(at)] = line
    return found


def _scalar(node: yaml.Node, place: Place, document: Document) -> Any:
    text: str = node.value
    match node.tag.removeprefix(_PREFIX):
        case "str":
            return text
        case "null" if _NULL.fullmatch(text):
            return None
        case "bool" if _BOOL.fullmatch(text):
            return text.lower() == "true"
        case "int" if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case "float" if _FLOAT.fullmatch(text):
            return float(text)
    _refuse_tag(node, place, document)
    return None


def _refuse_tag(node: yaml.Node, place: Place, document: Document) -> None:
    line = node.start_mark.line + 1
    document.problems.append(Problem(path_text(place), f"expected a value without a tag (!), in line {line}"))
