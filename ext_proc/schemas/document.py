"""The documents that a schema is made of, and where a reference in them leads.

Rules:
- The size and the depth of a document are measured before anything else is done with it, without recursion.
- An identifier counts where the dialect has a schema, and nowhere else: `enum` and unknown keywords hold data.
- A reference leads into these documents or nowhere: nothing is fetched, from a network or a file.

Not here: what the schemas mean (compiler.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ext_proc.schemas.bounds import SchemaBounds
from ext_proc.schemas.dialects import DRAFT_2020_12, Dialect, dialect_of, meta_schemas
from ext_proc.schemas.faults import SchemaError
from ext_proc.schemas.run import Scope
from ext_proc.schemas.uri import resolve


class Resource:
    """A schema with an identifier of its own, the root of a document among them (Core, section 4.3.5).

    Attributes:
        uri: absolute, without a fragment; "" for a root without one.
        root: its schema.
        anchors: subschemas by the plain names that `$anchor` and `$dynamicAnchor` give them.
        dynamic: those of `$dynamicAnchor` among them.
        scope: for the runs.
    """

    __slots__ = ("anchors", "dialect", "dynamic", "root", "scope", "uri")

    def __init__(self, uri: str, root: Any, dialect: Dialect) -> None:
        self.uri = uri
        self.root = root
        self.dialect = dialect
        self.anchors: dict[str, Any] = {}
        self.dynamic: dict[str, Any] = {}
        self.scope = Scope()


class Documents:
    """All documents of one schema; others join when a reference names them.

    Args:
        root: the schema.
        given: others that it may refer to, by their URIs.

    Attributes:
        main: the resource of the root.
        resources: all found so far.

    Raises:
        SchemaError: the root is past a bound, of no dialect that is read, or gives an identifier twice.
    """

    def __init__(self, root: Any, bounds: SchemaBounds, given: Mapping[str, Any]) -> None:
        self._bounds = bounds
        self._given = given
        self._values = 0
        self._by_uri: dict[str, Resource] = {}
        # By identity: the documents are kept, so no other object can take an identity over.
        self._owners: dict[int, Resource] = {}
        self.main = self._add("", root, DRAFT_2020_12)

    @property
    def resources(self) -> list[Resource]:
        return list(self._by_uri.values())

    def owner(self, schema: Mapping[str, Any]) -> Resource:
        """The resource that a schema stands in."""
        return self._owners[id(schema)]

    def find(self, base: Resource, reference: str) -> Any:
        """The schema that a reference names.

        Raises:
            SchemaError: it is in none of the documents.
        """
        uri, fragment = resolve(base.uri, reference)
        resource = self._resource(uri, base.dialect)
        if not fragment:
            return resource.root
        fragment = unquote(fragment)
        if fragment.startswith("/"):
            return self._at(resource, fragment)
        if fragment not in resource.anchors:
            raise SchemaError("expected a reference to an anchor that is there")
        return resource.anchors[fragment]

    def dynamic_name(self, base: Resource, reference: str) -> str | None:
        """The name that a `$dynamicRef` looks for in all resources; None where it is a plain reference."""
        uri, fragment = resolve(base.uri, reference)
        name = unquote(fragment)
        return name if name in self._resource(uri, base.dialect).dynamic else None

    def _resource(self, uri: str, dialect: Dialect) -> Resource:
        """The resource of a URI; a document that joins and names no dialect is of the one that refers to it."""
        if uri not in self._by_uri:
            document = self._given.get(uri, meta_schemas().get(uri))
            if document is None:
                raise SchemaError("expected a reference into the schema itself: nothing is fetched")
            self._add(uri, document, dialect)
        return self._by_uri[uri]

    def _add(self, uri: str, root: Any, dialect: Dialect) -> Resource:
        self._measure(root)
        resource = self._by_uri[uri] = Resource(uri, root, dialect_of(root, dialect))
        self._scan(root, resource)
        return resource

    def _measure(self, root: Any) -> None:
        level, depth = [root], 0
        self._values += 1
        while level := [value for value in level if isinstance(value, dict | list)]:
            depth += 1
            if depth > self._bounds.depth:
                raise SchemaError(f"expected a schema of at most {self._bounds.depth} levels")
            # Before the next level is taken: aliases of YAML can make it larger than its text.
            self._values += sum(len(value) * (2 if isinstance(value, dict) else 1) for value in level)
            if self._values > self._bounds.values:
                raise SchemaError(f"expected a schema of at most {self._bounds.values} values")
            level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]

    def _scan(self, start: Any, resource: Resource) -> None:
        """Finds identifiers in `start` and in all schemas below it."""
        waiting = [(start, resource)]
        while waiting:
            schema, owner = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in self._owners:
                continue
            owner = self._identified(schema, owner)
            self._owners[id(schema)] = owner
            waiting.extend((inner, owner) for inner in owner.dialect.subschemas(schema))

    def _identified(self, schema: Mapping[str, Any], owner: Resource) -> Resource:
        """The resource that a schema is of, with its anchors noted."""
        lonely = owner.dialect.lonely_ref
        id = schema.get("$id")
        if isinstance(id, str) and not (lonely and "$ref" in schema):
            uri, fragment = resolve(owner.uri, id)
            if lonely and fragment and uri == owner.uri:
                self._name(owner.anchors, fragment, schema)
            elif fragment:
                raise SchemaError("expected an identifier without a fragment", ("$id",))
            elif schema is owner.root:
                owner.uri = uri
                self._register(uri, owner)
            else:
                owner = Resource(uri, schema, dialect_of(schema, owner.dialect))
                self._register(uri, owner)
        if not lonely:
            for keyword in ("$anchor", "$dynamicAnchor"):
                name = schema.get(keyword)
                if isinstance(name, str):
                    self._name(owner.anchors, name, schema)
                    if keyword == "$dynamicAnchor":
                        owner.dynamic[name] = schema
        return owner

    def _register(self, uri: str, resource: Resource) -> None:
        if self._by_uri.setdefault(uri, resource) is not resource:
            raise SchemaError("expected every identifier once", ("$id",))

    def _name(self, anchors: dict[str, Any], name: str, schema: Mapping[str, Any]) -> None:
        if anchors.setdefault(name, schema) is not schema:
            raise SchemaError("expected every anchor once in a schema")

    def _at(self, resource: Resource, pointer: str) -> Any:
        """What a JSON Pointer (RFC 6901) leads to."""
        found = resource.root
        owner = resource
        for token in pointer.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and name.isascii() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise SchemaError("expected a reference to a place that is there")
            if isinstance(found, dict):
                owner = self._owners.get(id(found), owner)
        if isinstance(found, dict) and id(found) not in self._owners:
            # A place where the dialect has no schema; who refers to it takes it for one.
            self._scan(found, owner)
        return found
