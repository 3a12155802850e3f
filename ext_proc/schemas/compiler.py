"""From the documents of a schema to nodes that check values.

Rules:
- Only what a value can reach is compiled, each subschema once, without recursion.
- A schema that applies itself to the same value without end is refused.
- A keyword whose value is not of the form that the specification gives it is refused: ignored, it would admit too much.

Not here: where references lead (document.py), what the checks do (keywords.py and its neighbours).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ext_proc.schemas.bounds import SchemaBounds
from ext_proc.schemas.document import Documents, Resource
from ext_proc.schemas.faults import SchemaError
from ext_proc.schemas.patterns import Pattern
from ext_proc.schemas.run import Check, Node, Run, Scope, Seen

Maker = Callable[["Part"], Check | None]
ENDLESS = "expected a schema that does not refer to itself at the same place of a value"


class Part:
    """One schema object while it is compiled: what a keyword's maker is shown.

    Attributes:
        schema: the object.
        dialect: its dialect.
        keyword, value: those at hand.
    """

    __slots__ = ("_compiler", "_resource", "dialect", "keyword", "node", "schema", "value")

    def __init__(self, compiler: Compiler, schema: Mapping[str, Any], resource: Resource, node: Node) -> None:
        self._compiler = compiler
        self._resource = resource
        self.schema = schema
        self.dialect = resource.dialect
        self.node = node
        self.keyword = ""
        self.value: Any = None

    def at(self, keyword: str) -> Part:
        """The same, at another keyword."""
        self.keyword, self.value = keyword, self.schema.get(keyword)
        return self

    def below(self, schema: Any) -> Node:
        """The node of a subschema that is applied to a part of the value."""
        return self._compiler.node(schema)

    def beside(self, schema: Any) -> Node:
        """The node of a subschema that is applied to the same value."""
        node = self.below(schema)
        self.node.applies.append(node)
        return node

    def target(self, reference: str) -> Any:
        """The schema that a reference names."""
        return self._compiler.documents.find(self._resource, reference)

    def dynamic_name(self, reference: str) -> str | None:
        """What a `$dynamicRef` looks for; None where it is a plain reference."""
        return self._compiler.documents.dynamic_name(self._resource, reference)

    def pattern(self, source: Any) -> Pattern:
        """A compiled regular expression."""
        self.expects(isinstance(source, str), "a regular expression")
        return self._compiler.pattern(source)

    def expects(self, holds: bool, expected: str) -> None:
        """Refuses the keyword's value unless it is as it must be."""
        if not holds:
            raise SchemaError(f"{self.keyword}: expected {expected}")


class Compiler:
    """Compiles one schema.

    Args:
        makers: by keyword, in the order in which a value is checked: the cheap first, what asks for others last.

    Attributes:
        tracks: whether any keyword asks what others evaluated.
    """

    def __init__(self, documents: Documents, bounds: SchemaBounds, makers: Mapping[str, Maker]) -> None:
        self.documents = documents
        self._makers = makers
        self._patterns: dict[str, Pattern] = {}
        self._patterns_left = bounds.patterns
        self._nodes: dict[int, Node] = {}
        self._waiting: list[tuple[Mapping[str, Any], Node]] = []
        nowhere = Scope()
        self._always, self._never = Node(nowhere), Node(nowhere)
        self._never.checks = (_nothing,)
        self.tracks = False

    @property
    def size(self) -> int:
        """About how many bytes the compiled schema takes."""
        return 1024 * len(self._nodes) + sum(pattern.size for pattern in self._patterns.values())

    def compile(self) -> Node:
        """The root's node, with all that it reaches.

        Raises:
            SchemaError: the schema cannot be used.
        """
        main = self.documents.main
        self._always.scope = self._never.scope = main.scope
        root = self.node(main.root)
        self._work_off()
        named = -1
        while named != (named := len(self.documents.resources)):
            # What a dynamic reference may find; compiling it may bring further documents in.
            for resource in self.documents.resources:
                resource.scope.dynamic = {name: self.node(at) for name, at in resource.dynamic.items()}
            self._work_off()
        _refuse_endless(list(self._nodes.values()))
        return root

    def node(self, schema: Any) -> Node:
        """The node of a schema, to be filled in before the compilation ends."""
        schema = self._behind_references(schema)
        if schema is True or schema is False:
            return self._always if schema else self._never
        if not isinstance(schema, dict):
            raise SchemaError("expected a schema: an object, true or false")
        if id(schema) not in self._nodes:
            node = self._nodes[id(schema)] = Node(self.documents.owner(schema).scope)
            self._waiting.append((schema, node))
        return self._nodes[id(schema)]

    def _behind_references(self, schema: Any) -> Any:
        """What a schema stands for that is nothing but a reference within its own resource."""
        passed: set[int] = set()
        while isinstance(schema, dict) and "$ref" in schema:
            owner = self.documents.owner(schema)
            if not owner.dialect.lonely_ref and len(schema.keys() & owner.dialect.keywords) > 1:
                break
            if id(schema) in passed:
                raise SchemaError(ENDLESS)
            passed.add(id(schema))
            target = self.documents.find(owner, schema["$ref"]) if isinstance(schema["$ref"], str) else None
            if not isinstance(target, dict) or self.documents.owner(target) is not owner:
                break  # a resource that is passed through counts for `$dynamicRef`
            schema = target
        return schema

    def pattern(self, source: str) -> Pattern:
        """A compiled regular expression, each once."""
        if source not in self._patterns:
            pattern = self._patterns[source] = Pattern(source)
            self._patterns_left -= pattern.size
            if self._patterns_left < 0:
                raise SchemaError("expected regular expressions that take less memory")
        return self._patterns[source]

    def _work_off(self) -> None:
        while self._waiting:
            schema, node = self._waiting.pop()
            resource = self.documents.owner(schema)
            node.checks = tuple(self._checks(Part(self, schema, resource, node)))

    def _checks(self, part: Part) -> Iterator[Check]:
        """The checks of one schema object; keywords that mean something only together have one maker."""
        lonely = part.dialect.lonely_ref and "$ref" in part.schema
        keywords = {"$ref"} if lonely else part.schema.keys() & part.dialect.keywords
        made: set[Maker] = set()
        for keyword, maker in self._makers.items():
            if keyword not in keywords or maker in made:
                continue
            made.add(maker)
            self.tracks = self.tracks or keyword.startswith("unevaluated")
            check = maker(part.at(keyword))
            if check is not None:
                yield check


def _nothing(value: Any, run: Run, seen: Seen | None) -> bool:
    return run.fault("nothing: it must not be there")


def _refuse_endless(nodes: list[Node]) -> None:
    """Refuses schemas that come back to themselves at the same value; without recursion.

    Raises:
        SchemaError: there is such a cycle.
    """
    left = {id(node): len(node.applies) for node in nodes}
    appliers: dict[int, list[Node]] = {}
    for node in nodes:
        for inner in node.applies:
            appliers.setdefault(id(inner), []).append(node)
    done = [node for node in nodes if not node.applies]
    known = {id(node) for node in nodes}
    # `true` and `false` apply nothing, and are no nodes of a schema object.
    done += {id(inner): inner for node in nodes for inner in node.applies if id(inner) not in known}.values()
    settled = 0
    while done:
        node = done.pop()
        settled += id(node) in known
        for applier in appliers.get(id(node), ()):
            left[id(applier)] -= 1
            if left[id(applier)] == 0:
                done.append(applier)
    if settled < len(nodes):
        raise SchemaError(ENDLESS)
    for node in nodes:
        node.applies = []
