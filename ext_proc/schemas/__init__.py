"""JSON Schema, evaluated within bounds: a schema and a value may both be an attacker's.

Rules:
- Nothing is fetched: a reference leads into the schema itself, to a document that was handed over, or to a meta-schema.
- Work is counted in steps, not in time: the same schema and value end the same way on any machine.
- What cannot be decided within the bounds is an error, never a yes.

Not here: where schemas come from, what is answered to a value that does not fit (the policies).
"""

from ext_proc.schemas.bounds import DEFAULT_BOUNDS, DEFAULT_STEPS, SchemaBounds
from ext_proc.schemas.faults import Fault, SchemaError, TooComplex
from ext_proc.schemas.schema import Schema

__all__ = ["DEFAULT_BOUNDS", "DEFAULT_STEPS", "Fault", "Schema", "SchemaBounds", "SchemaError", "TooComplex"]
