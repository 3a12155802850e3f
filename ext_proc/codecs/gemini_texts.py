"""Gemini: where text stands in the parts of content, in requests and answers alike, and how a member is spelled.

Rules:
- The API takes ProtoJSON: a member's name may be written in camel case or with underscores (protobuf.dev, ProtoJSON).
  Both spellings are read as one, and both at once are malformed: two readers would differ.
- Parts are read by their fields, not by their kinds. All text of a candidate is one channel, as clients join it; so is
  all of its thought.
- Arguments and results of functions are JSON values, and the strings in them are texts. Arguments that come in pieces
  (`partialArgs`) are plain text.
- Grounding repeats what the candidate said, and quotes what was found: texts too, each a channel of its own.
- A field of another type than its text is malformed; so is a key beside it that equals a text's but for case.
- What vouches for a changed text goes with it, and what spells it by tokens: a part's signature, `logprobsResult`.

Source: Google, Gemini API and Vertex AI (Content, Part, Candidate, GroundingMetadata).

Not here: the classes of messages (gemini_messages.py), when a candidate is over (gemini_answer.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

from ext_proc.codecs import llm_fields
from ext_proc.codecs.llm_fields import as_object, as_text, objects, reject
from ext_proc.codecs.llm_found import Found, spliced_spots
from ext_proc.codecs.llm_texts import Ambiguous, at_path
from ext_proc.framing.json_splice import Path
from ext_proc.messages import ChannelKind, Role

_UPPER = re.compile(r"[A-Z]")
_LOWER = re.compile(r"_([a-z])")
_PART = frozenset(
    {"text", "thought", "thoughtSignature", "functionCall", "functionResponse", "executableCode", "code", "role"}
    | {"codeExecutionResult", "output", "inlineData", "fileData", "args", "response", "name", "parts", "partialArgs"}
    | {"stringValue", "toolCall", "toolResponse"}
)
_GROUNDING = frozenset(
    {"groundingChunks", "groundingSupports", "webSearchQueries", "segment", "text", "retrievedContext", "title", "web"}
)
# What holds a JSON value, and what holds a text.
_VALUES: tuple[tuple[str, str, ChannelKind, bool], ...] = (
    ("functionCall", "args", ChannelKind.TOOL_ARGUMENTS, False),
    ("toolCall", "args", ChannelKind.TOOL_ARGUMENTS, False),
    ("functionResponse", "response", ChannelKind.CONTENT, True),
    ("toolResponse", "response", ChannelKind.CONTENT, True),
)
_WORDS: tuple[tuple[str, str, ChannelKind, bool], ...] = (
    ("executableCode", "code", ChannelKind.TOOL_INPUT, False),
    ("codeExecutionResult", "output", ChannelKind.CONTENT, True),
)


@cache  # the format's names, never a payload's
def snake(name: str) -> str:
    """The other spelling of a member's name."""
    return _UPPER.sub(lambda letter: "_" + letter.group().lower(), name)


def camel(name: str) -> str:
    """A member's usual name."""
    return _LOWER.sub(lambda letter: letter[1].upper(), name)


def spelling(value: Mapping[str, Any], name: str) -> str:
    """How a member is spelled in `value`; its usual name where it does not stand.

    Raises:
        Ambiguous: in both ways at once.
    """
    other = snake(name)
    if other == name or other not in value:
        return name
    if name in value:
        raise Ambiguous("a member stands in both of its spellings")
    return other


def member(value: Mapping[str, Any], name: str) -> Any:
    """A member by its name in camel case, however it is spelled; None where it does not stand.

    Raises:
        Ambiguous: it is spelled in both ways at once.
    """
    other = snake(name)
    return value.get(name if other == name or other not in value else spelling(value, name))


# What texts of a part stand in that are not its own, in both spellings.
_HOLDERS = frozenset(spelled for name, *_ in (*_VALUES, *_WORDS) for spelled in (name, snake(name)))


def of_content(content: Any, role: Role, at: Path) -> Iterator[Found]:
    """Every text of a content's parts.

    Raises:
        Malformed: something has another type than its field's.
    """
    if content is None:
        return
    if isinstance(content, str):  # an instruction may be written so
        if content:
            yield Found(ChannelKind.CONTENT, role, at, content, index=0)
        return
    if not isinstance(content, dict):
        reject("content must be an object")
    check_keys(content, _PART)
    parts = content.get("parts")
    listed = [parts] if isinstance(parts, dict) else objects(parts, "parts")
    for position, part in enumerate(listed):
        path: Path = (*at, "parts") if isinstance(parts, dict) else (*at, "parts", position)
        yield from of_part(part, role, path)


def of_part(part: Mapping[str, Any], role: Role, at: Path) -> Iterator[Found]:
    """Every text of a part.

    Raises:
        Malformed: something has another type than its field's.
    """
    check_keys(part, _PART)
    text = text_of(part, "text")
    if text:
        kind = ChannelKind.REASONING if part.get("thought") is True else ChannelKind.CONTENT
        yield Found(kind, role, (*at, "text"), text, index=0)
    if _HOLDERS.isdisjoint(part):
        return
    for name, holds, kind, of_tool in _VALUES:
        held = object_of(part, name)
        check_keys(held, _PART)
        if held.get(holds):
            yield Found(kind, Role.TOOL if of_tool else role, (*at, spelling(part, name), holds), None)
    for name, listed, holds in (
        ("functionCall", "partialArgs", "stringValue"),
        ("functionResponse", "parts", "text"),
    ):
        held = object_of(part, name)
        for position, inner in enumerate(objects(member(held, listed), listed)):
            check_keys(inner, _PART)
            if text_of(inner, holds):
                where = (*at, spelling(part, name), spelling(held, listed), position, spelling(inner, holds))
                kind, whose = (ChannelKind.CONTENT, Role.TOOL) if holds == "text" else (ChannelKind.TOOL_INPUT, role)
                yield Found(kind, whose, where, member(inner, holds))
    for name, holds, kind, of_tool in _WORDS:
        held = object_of(part, name)
        check_keys(held, _PART)
        if text_of(held, holds):
            whose = Role.TOOL if of_tool else role
            yield Found(kind, whose, (*at, spelling(part, name), holds), held[holds])


def of_grounding(candidate: Mapping[str, Any], at: Path) -> Iterator[Found]:
    """What a candidate's grounding repeats of it, and what it quotes.

    Raises:
        Malformed: something has another type than its field's.
    """
    metadata = object_of(candidate, "groundingMetadata")
    if not metadata:
        return
    check_keys(metadata, _GROUNDING)
    for listed, holder, holds, whose in (
        ("groundingSupports", "segment", "text", Role.ASSISTANT),
        ("groundingChunks", "retrievedContext", "text", Role.TOOL),
        ("groundingChunks", "retrievedContext", "title", Role.TOOL),
        ("groundingChunks", "web", "title", Role.TOOL),
    ):
        for position, entry in enumerate(objects(member(metadata, listed), listed)):
            check_keys(entry, _GROUNDING)
            held = object_of(entry, holder)
            check_keys(held, _GROUNDING)
            if text_of(held, holds):
                where: Path = (spelling(metadata, listed), position, spelling(entry, holder), holds)
                path = (*at, spelling(candidate, "groundingMetadata"), *where)
                yield Found(ChannelKind.CONTENT, whose, path, held[holds])


def text_of(holder: Mapping[str, Any], name: str) -> str:
    """The text under a name; "" where there is none.

    Raises:
        Malformed: it is something else.
    """
    return as_text(member(holder, name), name)


def check_keys(value: Mapping[str, Any], names: frozenset[str]) -> None:
    """Looks at the keys of what texts stand in.

    Args:
        names: in camel case.

    Raises:
        Ambiguous: one equals one of the format's but for case, or a member is spelled in both ways.
    """
    if names.issuperset(value):
        return  # each in its usual spelling, as nearly all are
    every, others = _spelled(names)
    llm_fields.check_keys(value, every)
    if not others.keys().isdisjoint(value) and any(key in others and others[key] in value for key in value):
        raise Ambiguous("a member stands in both of its spellings")


@cache
def _spelled(names: frozenset[str]) -> tuple[frozenset[str], Mapping[str, str]]:
    """The names in all spellings, and the usual one of each other."""
    others = {snake(name): name for name in names if snake(name) != name}
    return names.union(others), others


def beside(value: Any, path: Path) -> dict[Path, bytes | None]:
    """What goes with a changed text: what vouches for it or spells it by tokens."""
    found: list[Path] = [(*path[:-1], name) for name in ("thoughtSignature", "thought_signature")]
    if path[0] == "candidates":
        found += [(*path[:2], name) for name in ("logprobsResult", "logprobs_result")]
    return {place: None for place in found if at_path(value, place) is not None}


def object_of(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under a name; {} where there is none.

    Raises:
        Malformed: it is something else.
    """
    return as_object(member(holder, name), name)


changes_for = partial(spliced_spots, beside)
