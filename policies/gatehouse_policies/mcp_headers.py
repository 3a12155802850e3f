"""What the headers of MCP 2026-07-28 say by themselves: the revision, the method, and what it is aimed at.

Rules:
- A POST speaks revision 2026-07-28 if any of its version headers, or any part of one, says so: who repeats that header
  does not choose by it which rules are kept.
- Each header stands once, in printable ASCII (MCP 2026-07-28, transports: standard headers). Any other text travels in
  the encoding `=?base64?...?=`; a broken one stands for nothing, and a method that needs none must have none, for
  Envoy's routes compare it as it is.
- `Mcp-Name` is needed where the method is aimed at a name, a URI or a task.

Not here: whether the body says the same (header_integrity.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ext_proc.framing.header_value import encode_header_value, read_header_value
from ext_proc.messages import RequestHead
from ext_proc.messages.mcp_headers import MODERN, NAMED_BY

VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """A header that cannot be relied on.

    Attributes:
        reason: header-missing, header-duplicated or header-malformed.
        header: its name as the specification writes it.
    """

    reason: str
    header: str

    @property
    def message(self) -> str:
        """The same for the caller."""
        words = {"header-missing": "is missing", "header-duplicated": "stands more than once"}
        return f"the header {self.header} {words.get(self.reason, 'cannot be read')}"


class Told(NamedTuple):
    """What the headers of a request say.

    Attributes:
        name: "" for a method that is aimed at nothing.
    """

    method: str
    name: str


def speaks_modern(head: RequestHead) -> bool:
    """Whether this is a POST that claims a stateless revision."""
    if head.method != "POST":
        return False
    lines = b",".join(head.headers.get_all(VERSION.lower()))
    return any(part.strip().decode("latin-1") in MODERN for part in lines.split(b","))


def told(head: RequestHead) -> Told | HeaderFault | None:
    """What the headers of a request say; the first fault in them; None for one that is not of a stateless revision."""
    if not speaks_modern(head):
        return None
    version = value_of(head, VERSION)
    if isinstance(version, HeaderFault) or version not in MODERN:
        return version if isinstance(version, HeaderFault) else HeaderFault("header-malformed", VERSION)
    method = method_of(head)
    if method is None or isinstance(method, HeaderFault):
        return method or HeaderFault("header-missing", METHOD)
    name = value_of(head, NAME)
    if isinstance(name, HeaderFault):
        return name
    if method not in NAMED_BY:
        return Told(method, "")
    return HeaderFault("header-missing", NAME) if name is None else Told(method, name)


def method_of(head: RequestHead) -> str | HeaderFault | None:
    """The text that `Mcp-Method` stands for; None where there is none."""
    method = value_of(head, METHOD)
    if isinstance(method, str) and head.headers.get(METHOD.lower()) != encode_header_value(method):
        return HeaderFault("header-malformed", METHOD)
    return method


def value_of(head: RequestHead, header: str) -> str | HeaderFault | None:
    """The text that a header stands for; None where there is none."""
    lines = head.headers.get_all(header.lower())
    if not lines:
        return None
    if len(lines) > 1:
        return HeaderFault("header-duplicated", header)
    decoded = read_header_value(lines[0])
    return HeaderFault("header-malformed", header) if decoded is None else decoded
