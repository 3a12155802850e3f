"""tool-arguments: calls that fit their tool's schema, and results that are what their tool promised.

Rules:
- Arguments are checked against the tool's `inputSchema` as its server listed it, or against the one that the bundle
  gives in its place, and against every constraint of the bundle that fits the tool's name. Absent arguments are `{}`.
- A schema is JSON Schema 2020-12 unless it says draft-07. One that cannot be used (another dialect, a reference to
  somewhere else, past a limit, look-around in a regular expression) is unknown, as one is that was never listed;
  `unknown_schema` decides then. `format` and `content…` are annotations, as the specification has them.
- A denied call is a result with `isError: true`: it names places and what was expected there, and no value, so that a
  model can correct itself.
- A result without `isError` must hold what its tool's `outputSchema` says in `structuredContent`; and a text in it that
  is an object or a list as JSON must be the structured content, or its `result`, or one of the entries of that.
- What cannot be settled within `steps` is denied.
- Answers come in reverse: stand behind the policies that filter lists, so that whole lists are learned.
- Calls that a model proposes in its answer, for the client to run, are held to the same where `proposals` says so: to
  the schema that the request offers the function with, or the bundle's in its place, and to its constraints. A function
  that the request does not offer is unknown, as is one that its format knows by a type. A stream waits from a call's
  name until its arguments have come.

Not here: who may call (tool_access.py), what stands in arguments and results, what becomes of a proposed call
(proposed_calls.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from ext_proc.framing.json_view import JsonError, parse
from ext_proc.limits import DEFAULTS
from ext_proc.messages import (
    Completion,
    Generation,
    HeadersOnly,
    LlmError,
    Proposals,
    ProposedCall,
    ToolCall,
    ToolList,
    ToolResult,
)
from ext_proc.policy import Context, Deny, Mutation, Policy, Verdict
from ext_proc.schemas import DEFAULT_STEPS, Fault, Schema, SchemaBounds, SchemaError, TooComplex
from ext_proc.schemas.values import key_of
from ext_proc.units import Size
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.proposed_calls import OnProposals, ProposedCalls, Refusal
from gatehouse_policies.tool_definitions import KnownTools, Learning, ToolDefinition

MARK = "gatehouse/output"  # in a result's `_meta`: why it was not as promised

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}", re.ASCII)
_LONGEST = 300  # characters of what was expected at one place
_DEEPEST = 12  # names and positions of a place
_MISSING = object()

_UNKNOWN = Deny(
    "schema-unknown",
    "the gateway does not know this tool's schema yet: list the tools, then call again",
    as_result=True,
)
_UNUSABLE = Deny("schema-unusable", "the gateway cannot check arguments by this tool's schema", as_result=True)
_COMPLEX = Deny(
    "arguments-too-complex", "checking these arguments takes too long: send fewer or shorter", as_result=True
)
_PROPOSED = "the model proposed a call "
_NOT_OFFERED = Refusal(
    "the schema is not known", Deny("proposal-schema-unknown", f"{_PROPOSED}of a function whose schema is not known")
)
_NO_OBJECT = Refusal(
    "no arguments", Deny("proposal-arguments-invalid", f"{_PROPOSED}whose arguments are no JSON object")
)
_TOO_COMPLEX = Refusal(
    "too complex", Deny("proposal-arguments-too-complex", f"{_PROPOSED}whose arguments take too long to check")
)


class SchemaLimits(BaseModel, extra="forbid"):
    """What servers' schemas may be like, and what is spent on one value."""

    values: int = Field(default=20_000, ge=100, le=1_000_000, description="The most JSON values in a schema, keys too.")
    depth: int = Field(default=64, ge=4, le=256, description="The deepest nesting in a schema.")
    patterns: Size = Field(
        default=8 * 1024 * 1024, description="Memory for all compiled regular expressions of a schema."
    )
    steps: int = Field(
        default=DEFAULT_STEPS,
        ge=1000,
        le=100_000_000,
        description="What may be spent on one check: about one for each subschema applied and each member or item "
        "looked at, more for regular expressions over long texts. A million take up to a second.",
    )


class Parameters(BaseModel, extra="forbid"):
    """What calls and results must be like."""

    unknown_schema: Literal["deny", "allow"] = Field(
        default="deny", description="What happens to a call of a tool whose schema is not known, or cannot be used."
    )
    schemas: dict[str, Schema] = Field(
        default={},
        description="Schemas of arguments by tool name or glob, in place of what servers list; the first that fits.",
    )
    constraints: dict[str, Schema] = Field(
        default={}, description="Schemas by tool name or glob that arguments must fit too; all that fit the name."
    )
    output: Literal["deny", "mark", "off"] = Field(
        default="deny",
        description="A result that is not as promised: `deny` puts an error in its place, `mark` says so in its "
        f"`_meta` (`{MARK}`), `off` does not look.",
    )
    proposals: OnProposals = Field(
        default="ignore",
        description="What becomes of calls that a model proposes in its answer and whose arguments do not fit: `ignore`"
        " does not look at them; `deny` ends the answer, `strip` takes the call out of it, `mark` lets it go on and"
        " measures `proposals_denied`. Where they are looked at, a stream waits at each call until it is whole.",
    )
    errors: int = Field(default=5, ge=1, le=20, description="The most places that a denied call is told.")
    limits: SchemaLimits = Field(default=SchemaLimits(), description="What servers' schemas may be like.")
    learning: Learning = Field(default=Learning(), description="What is kept of servers' lists of tools.")


class Shapes(NamedTuple):
    """A tool's schemas as a server listed them.

    Attributes:
        input: None where it cannot be used.
        output: None where there is none, or it cannot be used.
    """

    input: Schema | None
    output: Schema | None


@dataclass(slots=True)
class State:
    """What is known of one exchange.

    Attributes:
        outputs: by the id of a call, what its result must be like.
        offered: by the name of a function that the client runs, the schemas that it was offered with, as they stand.
        proposals: what became of the answer's calls.
    """

    outputs: dict[str | int, Schema] = field(default_factory=dict)
    offered: dict[str, list[Any]] = field(default_factory=dict)
    proposals: Proposals = field(default_factory=Proposals)
    _compiled: dict[str, list[Schema | None]] = field(default_factory=dict)

    def compiled(self, name: str, compile: Callable[[Any], Schema | None]) -> Sequence[Schema | None]:
        """The schemas that a function was offered with, None for each that cannot be used; made once."""
        if name not in self._compiled and name in self.offered:
            self._compiled[name] = [compile(source) for source in self.offered[name]]
        return self._compiled.get(name, ())


class ToolArguments(Policy[Parameters, State]):
    """Calls that fit their tool's schema."""

    keeps_state = True

    def __new__(cls, name: str, parameters: Parameters) -> ToolArguments:
        # Only where results, or calls that models propose, are looked at are they held back.
        results, looks = parameters.output != "off", parameters.proposals != "ignore"
        return super().__new__(_KINDS[results, looks] if cls is ToolArguments else cls)

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        limits = parameters.limits
        self._bounds = SchemaBounds(limits.values, limits.depth, limits.patterns)
        self._known = KnownTools(self._compiled, parameters.learning)
        self._given = [(any_of([glob]), schema) for glob, schema in parameters.schemas.items()]
        self._constraints = [(any_of([glob]), schema) for glob, schema in parameters.constraints.items()]
        self._proposed = ProposedCalls(parameters.proposals, self._judge)
        self.wants_whole_calls = parameters.proposals != "ignore"

    def new_state(self) -> State:
        return State()

    def by_headers(self, message: HeadersOnly, ctx: Context[State]) -> bool:
        return False  # arguments stand in the body

    async def on_request(self, message: ToolCall, ctx: Context[State]) -> Verdict:
        given = self._given_for(message.name)
        known = None
        if given is None or self.parameters.output != "off":
            known = await self._known.get(message.name, ctx)
        if known is not None and known.output is not None:
            ctx.state.outputs[message.id] = known.output
        schema = given or (None if known is None else known.input)
        if schema is None and self.parameters.unknown_schema == "deny":
            return _UNKNOWN if known is None else _UNUSABLE
        schemas = [*([] if schema is None else [schema]), *self._constraints_for(message.name)]
        ctx.because("the schema is not known" if schema is None else "")
        try:
            faults = self._faults(schemas, message.arguments)
        except TooComplex:
            return _COMPLEX
        return _denied(faults) if faults else None

    async def on_response(self, message: ToolList, ctx: Context[State]) -> Verdict:
        await self._known.learn(message, ctx)
        return None

    def _offers(self, message: Generation, ctx: Context[State]) -> None:
        """Notes what the client can run."""
        for offered in message.offered_functions:
            ctx.state.offered.setdefault(offered.name, []).append(offered.schema)

    def _judge(self, call: ProposedCall, message: Completion | LlmError, ctx: Context[State]) -> Refusal | None:
        """What speaks against the arguments of a call that a model proposes."""
        given = self._given_for(call.name)
        schemas = ctx.state.compiled(call.name, self._schema) if given is None else [given]
        known = [schema for schema in schemas if schema is not None]
        if (not known or None in schemas) and self.parameters.unknown_schema == "deny":
            return _NOT_OFFERED
        if call.arguments is None:
            return _NO_OBJECT
        try:
            faults = self._faults([*known, *self._constraints_for(call.name)], call.arguments)
        except TooComplex:
            return _TOO_COMPLEX
        if not faults:
            return None
        wrong = "; ".join(_sentence(fault, "the arguments") for fault in faults)
        return Refusal("arguments-invalid", Deny(_NO_OBJECT.deny.reason, f"{_PROPOSED}that does not fit: {wrong}"))

    def _given_for(self, name: str) -> Schema | None:
        """The bundle's schema in the place of a tool's own."""
        return next((schema for fits, schema in self._given if fits(name)), None)

    def _constraints_for(self, name: str) -> Sequence[Schema]:
        return [constraint for fits, constraint in self._constraints if fits(name)]

    def _faults(self, schemas: Sequence[Schema], value: Any) -> list[Fault]:
        """What is wrong with a value, in words for each place once."""
        found: list[Fault] = []
        for schema in schemas:
            found += schema.faults(value, self.parameters.errors, self.parameters.limits.steps)
        return list(dict.fromkeys(found))[: self.parameters.errors]

    def _compiled(self, definition: ToolDefinition) -> tuple[Shapes, int]:
        """A definition's schemas, and about how many bytes they take."""
        # A tool's arguments are an object; a schema of another form is none for them (MCP schema, Tool).
        input = self._schema(definition.input) if isinstance(definition.input, dict) else None
        output = None if definition.output is None else self._schema(definition.output)
        return Shapes(input, output), sum(0 if schema is None else schema.size for schema in (input, output))

    def _schema(self, source: Any) -> Schema | None:
        try:
            return Schema(source, self._bounds)
        except SchemaError:
            return None


class _WithResults(ToolArguments):
    """The same, where results are looked at too."""

    async def on_response(self, message: ToolList | ToolResult, ctx: Context[State]) -> Verdict:
        if isinstance(message, ToolList):
            return await super().on_response(message, ctx)
        fault = self._fault(message, ctx)
        if fault is None:
            return None
        if self.parameters.output == "deny":
            return Deny("output-invalid", f"the tool's result was withheld: {fault}", as_result=True)
        ctx.because("output-invalid")
        meta = message.result.get("_meta")
        marked = {**(meta if isinstance(meta, Mapping) else {}), MARK: fault}
        return Mutation(message=message.with_result({**message.result, "_meta": marked}))

    def _fault(self, message: ToolResult, ctx: Context[State]) -> str | None:
        """What is wrong with a result, in a sentence; None for nothing."""
        result = message.result
        schema = None if message.request is None else ctx.state.outputs.get(message.request.id)
        if message.is_error or result.get("resultType", "complete") != "complete" or "task" in result:
            return None
        content = result.get("structuredContent", _MISSING)
        if content is _MISSING:
            return None if schema is None else "its structured content is missing"
        try:
            faults = [] if schema is None else self._faults([schema], content)
        except TooComplex:
            return "checking it takes too long"
        if faults:
            wrong = "; ".join(_sentence(fault, "the content") for fault in faults)
            return f"its structured content is not what its schema says: {wrong}"
        return "a text in it contradicts its structured content" if _contradicts(result, content) else None


class _WithProposals(ToolArguments):
    """The same, where calls that models propose are looked at."""

    async def on_request(self, message: ToolCall | Generation, ctx: Context[State]) -> Verdict:
        if isinstance(message, ToolCall):
            return await super().on_request(message, ctx)
        self._offers(message, ctx)
        return None

    async def on_response(self, message: ToolList | Completion | LlmError, ctx: Context[State]) -> Verdict:
        if isinstance(message, Completion | LlmError):
            return self._proposed.decide(message, ctx.state.proposals, ctx)
        return await super().on_response(message, ctx)


class _WithResultsAndProposals(_WithProposals, _WithResults):
    """Both."""

    async def on_response(self, message: ToolList | ToolResult | Completion | LlmError, ctx: Context[State]) -> Verdict:
        return await super().on_response(message, ctx)  # type: ignore[arg-type]  # results are the other's


# By whether results are looked at, and whether calls that models propose are.
_KINDS: Mapping[tuple[bool, bool], type[ToolArguments]] = {
    (False, False): ToolArguments,
    (True, False): _WithResults,
    (False, True): _WithProposals,
    (True, True): _WithResultsAndProposals,
}


def _denied(faults: Sequence[Fault]) -> Deny:
    wrong = "; ".join(_sentence(fault, "the arguments") for fault in faults)
    message = f"These arguments do not fit the tool. {wrong}. Correct them and call again."
    return Deny("arguments-invalid", message, as_result=True)


def _sentence(fault: Fault, whole: str) -> str:
    # The words come from a server's schema, and go to a model.
    expected = "".join(character if character.isprintable() else " " for character in fault.expected)
    expected = expected if len(expected) <= _LONGEST else expected[:_LONGEST] + "..."
    return f"{_place(fault.path) or whole}: expected {expected}"


def _place(path: Sequence[str | int]) -> str:
    """A place as it is written in code; a name that is no plain one may be data, and is left out."""
    text = "..." if len(path) > _DEEPEST else ""
    for part in path[-_DEEPEST:]:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _PLAIN_NAME.fullmatch(part) else "*"
            text += f".{name}" if text else name
    return text


def _contradicts(result: Mapping[str, Any], content: Any) -> bool:
    """Whether a text block that is an object or a list as JSON says something else than the structured content.

    Of structured content that only wraps a value in `result`, servers write the value alone, and of a list an entry in
    each block.
    """
    claims = _claims(result.get("content"))
    wrapped = content["result"] if isinstance(content, dict) and content.keys() == {"result"} else content
    entries = wrapped if isinstance(wrapped, list) else ()
    said = {key_of(value) for value in (content, wrapped, *entries)} if claims else set()
    return any(claim not in said for claim in claims)


def _claims(blocks: Any) -> list[Hashable]:
    """What text blocks say that are objects or lists as JSON; what two readers could differ about, equals nothing."""
    found: list[Hashable] = []
    for block in blocks or ():
        text = block.get("text")
        if block.get("type") != "text" or not isinstance(text, str) or text.lstrip()[:1] not in ("{", "["):
            continue
        try:
            found.append(key_of(parse(text.encode(), DEFAULTS.json_depth)))
        except JsonError as error:
            if error.reason != "json-malformed":  # what only begins like JSON is text
                found.append(error.reason)
    return found
