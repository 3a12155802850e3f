"""Language models' requests: what of one is put before the model, by the shapes that all formats share.

Rules:
- It is read for counting where the provider said nothing, never to decide: what has another type than its field's is
  passed over, and a member that is not known counts as text.
- Around each message there are 3 tokens, and 3 before the answer (OpenAI's formats and Anthropic's).
- Of a tool's definition names, descriptions, types and values count, and for its shape: 7 for a function, 3 for an
  object and for each of its properties, 3 for each value of an enum, less 3 for the enum; 12 for all tools. Of an
  answer's schema all words of its JSON count.
- Pictures, sound and files count by rules wherever they stand, for their content is not decoded: in messages, in what
  tools gave back, generated and sent back, as base64 or as an address. A text is a text whatever it looks like: a data
  URL there is read by the model letter by letter, and counts so.

  | what | tokens |
  |---|---|
  | a picture, OpenAI's formats | 85 with `detail: low`, else 765: a square of 1024 pixels, 85 and 4 tiles of 170 |
  | a picture, Anthropic's | 1600: the most that one is scaled to |
  | a picture, Gemini's | 258: one tile |
  | sound | 10 a second (OpenAI), 32 (Gemini); a second is 48,000 bytes of WAV, or 16,000 of what is compressed |
  | moving pictures, Gemini's | 263 a second; a second is 250,000 bytes |
  | any other file, and what else is a data URL | 258: a page |
  | what the provider has encrypted: reasoning, results | 1 for 16 characters, as in the one exchange recorded with it |
  | a signature of thoughts | 0: 47,000 characters of them took less than 75 tokens where they were recorded |

- Where an Anthropic request brings tools, 346 tokens stand before them.

Sources: OpenAI, "How to count tokens with tiktoken", and images and vision; Anthropic, tool use and vision; Google,
understand and count tokens.

Not here: the texts that policies see and edit (each format's own file), how a text is counted (tokens/), how often an
agent has gone round (llm_rounds.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ext_proc.codecs.llm_rounds import rounds_of
from ext_proc.messages import PromptPart, Role, encode_json

PER_MESSAGE: Final = 3
BEFORE_ANSWER: Final = 3
IMAGE_LOW: Final = 85
IMAGE_HIGH: Final = 765
IMAGE_ANTHROPIC: Final = 1600
IMAGE_GEMINI: Final = 258
FILE: Final = 258
HIDDEN: Final = 16  # characters for a token
TOOLS_ANTHROPIC: Final = 346
# What definitions take beside their words.
TOOLS: Final = 12
FUNCTION: Final = 7
PROPERTIES: Final = 3
PROPERTY: Final = 3
ENUM: Final = -3
ENUM_VALUE: Final = 3
_DEPTH: Final = 16  # of what stands in a message

_SYSTEM = ("system", "systemInstruction", "system_instruction", "instructions")
_TURNS = ("messages", "input", "contents", "prompt", "content", "requests")
_FRAMED = ("messages", "input")  # by formats that put something around each message
_TOOLS = ("tools", "functions")
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
# What stands in a message and is not put before the model.
_UNSAID = frozenset(
    {"role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "status", "index", "cache_control", "signature"}
    | {"thoughtSignature", "thought_signature", "logprobs", "annotations", "citations", "model", "file_id"}
    | {"outputDimensionality", "taskType", "task_type"}
    | {"toolCall", "toolResponse"}  # what Gemini ran itself, as it hands it to be sent again
)
_JSON = frozenset({"input", "arguments", "args", "response"})  # a call's arguments, or a result, as a JSON value
_ANSWERED = ("functionResponse", "function_response")
_DATA = ("inlineData", "inline_data", "fileData", "file_data")
_ENCRYPTED = frozenset({"encrypted_content", "encrypted_stdout"})
_PICTURES = ("image_url", "input_image", "computer_screenshot")
_SOUNDS = ("input_audio", "output_audio", "audio")
_FILES = ("file", "input_file", "video", "video_url", "base64")
_BESIDE = ("text", "title", "context", "revised_prompt")  # texts beside a picture, a sound or a file
# Members that are read as text whatever is in them.
_READ = frozenset(
    {"text", "content", "input", "output", "arguments", "instructions", "prompt", "thinking", "refusal", "transcript"}
    | {"logs", "data", "stdout", "stderr", "code", "title", "context", "result", "name"}
)
_DATA_URL = re.compile(r"data:[^,\s]{0,200};base64,[A-Za-z0-9+/=_-]*")


class Prompted:
    """A request whose value has the shapes that all formats share; a base beside its `ModelRequest`."""

    __slots__ = ()
    value: Mapping[str, Any]

    def prompt(self) -> Iterator[PromptPart]:
        """See `ModelRequest.prompt`."""
        return parts_of(self.value)

    @property
    def rounds(self) -> int | None:
        """See `Generation.rounds`."""
        return rounds_of(self.value)


def parts_of(request: Mapping[str, Any]) -> Iterator[PromptPart]:
    """What a request puts before the model. Never raises for what the request is."""
    generates = any(isinstance(request.get(name), list) for name in _FRAMED) and "encoding_format" not in request
    around = PER_MESSAGE if generates else 0
    for name in _SYSTEM:
        if request.get(name):
            yield PromptPart(Role.SYSTEM, tokens=around)
            yield from _within(request[name], Role.SYSTEM, 0)
    for name in _TURNS:
        held = request.get(name)
        for turn in held if isinstance(held, list) else [held]:
            if isinstance(turn, dict):
                yield PromptPart(_role(turn), tokens=around)
            yield from _within(turn, _role(turn), 0)
        if isinstance(held, list) and held and all(type(token) is int for token in held):
            yield PromptPart(Role.USER, tokens=len(held))  # what the client has encoded itself
    yield from _definitions(request)
    if generates:
        yield PromptPart(Role.SYSTEM, tokens=BEFORE_ANSWER)


def _role(turn: Any) -> Role:
    if not isinstance(turn, dict):
        return Role.USER
    role, kind = turn.get("role"), turn.get("type")
    if isinstance(role, str):
        return _ROLES.get(role, Role.USER)
    if isinstance(kind, str) and kind not in ("message", "item_reference"):
        return Role.TOOL if kind.endswith("_output") else Role.ASSISTANT
    return Role.USER


def _within(held: Any, role: Role, depth: int) -> Iterator[PromptPart]:
    """The parts of a message, or of something in one."""
    if isinstance(held, str):
        if held:
            yield PromptPart(role, held)
    elif depth > _DEPTH:
        return
    elif isinstance(held, list):
        for entry in held:
            yield from _within(entry, role, depth + 1)
    elif isinstance(held, dict):
        role = Role.TOOL if held.get("type") == "tool_result" else role
        tokens = _media(held)
        if tokens is not None:
            yield PromptPart(role, tokens=tokens)
        for name in held if tokens is None else [name for name in _BESIDE if name in held]:
            yield from _member(name, held[name], Role.TOOL if name in _ANSWERED else role, depth)


def _member(name: str, held: Any, role: Role, depth: int) -> Iterator[PromptPart]:
    """The parts of a member of a message, or of something in one."""
    if name in _UNSAID:
        return
    if name in _JSON and isinstance(held, dict):
        yield PromptPart(role, encode_json(held).decode("utf-8", "replace"))
    elif name in _ENCRYPTED and isinstance(held, str):
        yield PromptPart(role, tokens=_hidden(held))
    elif name == "audio" and isinstance(held, dict) and isinstance(held.get("data"), str):
        yield PromptPart(role, tokens=_sound(held))  # a model's own, sent back
    elif name not in _READ and isinstance(held, str) and _DATA_URL.fullmatch(held):
        yield PromptPart(role, tokens=FILE)
    else:
        yield from _within(held, role, depth + 1)


def _media(part: Mapping[str, Any]) -> int | None:
    """The tokens of what is no text; None for what is."""
    kind = part.get("type")
    data = next((part[name] for name in _DATA if isinstance(part.get(name), dict)), None)
    if data is not None:
        return _gemini_media(data)
    if kind == "image_generation_call":
        return IMAGE_HIGH if isinstance(part.get("result"), str) else None
    if kind in _PICTURES:
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
        return IMAGE_LOW if detail == "low" else IMAGE_HIGH
    if kind in _SOUNDS:
        sound = part.get("input_audio")
        sound = sound if isinstance(sound, dict) else part
        return _sound(sound) if isinstance(sound.get("data"), str) or kind == "input_audio" else None
    if kind == "image":
        return IMAGE_HIGH if "url" in part else IMAGE_ANTHROPIC
    if kind == "document":
        source = part.get("source")
        return None if isinstance(source, dict) and source.get("type") in ("text", "content") else FILE
    if kind == "redacted_thinking":
        return _hidden(part.get("data"))
    return FILE if kind in _FILES else None


def _hidden(encrypted: Any) -> int:
    return len(encrypted) // HIDDEN if isinstance(encrypted, str) else 0


def _sound(sound: Mapping[str, Any]) -> int:
    return round(10 * _bytes(sound.get("data")) / (48_000 if sound.get("format") == "wav" else 16_000))


def _gemini_media(data: Mapping[str, Any]) -> int:
    named = data.get("mimeType") or data.get("mime_type")
    what = named.partition("/")[0] if isinstance(named, str) else ""
    if what == "image":
        return IMAGE_GEMINI
    seconds = {"audio": (32, 16_000), "video": (263, 250_000)}.get(what)
    size = _bytes(data.get("data"))
    return round(seconds[0] * size / seconds[1]) if seconds and size else FILE


def _bytes(base64: Any) -> int:
    return len(base64) * 3 // 4 if isinstance(base64, str) else 0


def _definitions(request: Mapping[str, Any]) -> Iterator[PromptPart]:
    """What says which tools there are, and which shape the answer has."""
    for name in _TOOLS:
        tools = request.get(name)
        if isinstance(tools, list) and tools:
            anthropic = any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
            around = TOOLS + (TOOLS_ANTHROPIC if anthropic else 0)
            yield _defined(tools, around)
    config = request.get("generationConfig") or request.get("generation_config")
    text = request.get("text")
    schemas = [request.get("response_format"), text.get("format") if isinstance(text, dict) else None]
    if isinstance(config, dict):
        schemas += [config.get("responseSchema"), config.get("responseJsonSchema")]
    for schema in schemas:
        if isinstance(schema, dict) and len(schema) > 1:  # more than its type
            words = encode_json(schema).decode("utf-8", "replace").translate(_SIGNS)
            yield PromptPart(Role.SYSTEM, words, definition=True)


def _defined(value: Any, around: int) -> PromptPart:
    """A definition: its words, and the tokens that its shape takes."""
    words: list[str] = []
    tokens = around
    waiting = [value]
    while waiting:
        held = waiting.pop()
        if isinstance(held, str):
            words.append(held)
        elif isinstance(held, list):
            waiting += reversed(held)
        elif isinstance(held, dict):
            schemas = [held[name] for name in _SCHEMAS if isinstance(held.get(name), dict)]
            tokens += FUNCTION if schemas else 0
            for name in _PROPERTIES:
                members = held.get(name)
                if isinstance(members, dict) and members:
                    tokens += PROPERTIES + PROPERTY * len(members)
                    for key, member in members.items():
                        waiting += (member, key)
            options = held.get("enum")
            if isinstance(options, list):
                tokens += ENUM + ENUM_VALUE * len(options)
            waiting += [held[name] for name in _SAID if name in held]
    return PromptPart(Role.SYSTEM, " ".join(words), tokens, definition=True)


_SIGNS = str.maketrans(dict.fromkeys('{}[]",:', " "))
# Where a tool's definition has a schema, a schema its properties, and what else of both is said to the model.
_SCHEMAS = ("parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema")
_PROPERTIES = ("properties", "$defs")
_SAID = (
    *(*_SCHEMAS, "name", "description", "type", "enum", "items", "anyOf", "oneOf", "allOf", "function"),
    *("functionDeclarations", "function_declarations"),
)
