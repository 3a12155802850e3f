"""Forms that ask for secrets: whether a schema's fields are named, labelled or described as what no form may ask for.

Rules:
- MCP forbids servers to ask by form for passwords, keys, access tokens or payment credentials (2026-07-28, elicitation:
  user interaction model); for these there is mode `url`, past the client and its model.
- Looked at are each field's name, title, description and format, wherever in the schema it stands, without regard to
  case, to how words are joined (`apiKey`, `api-key`), to marks, to characters that nobody sees, and to letters of other
  scripts that look like Latin ones.
- Names, addresses and birthdays are no secrets.

Not here: what a person fills in; words of other languages; a field called `value` under a message that asks for more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from ext_proc.scanning.hidden import CANDIDATE
from ext_proc.scanning.lookalikes import LOOKALIKES

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_JOINTS = re.compile(r"[\W_]+")
_SECRET = re.compile(
    r"\b(?:\w*(?:password|passwd|passphrase|passcode|apikey|accesskey|privatekey|secretkey|accesstoken|authtoken)s?"
    r"|pass (?:word|code|phrase)s?|pwd|passkeys?|pin(?: (?:code|number))?|secrets?|credentials?|mnemonic"
    r"|(?<!max )(?<!page )(?<!next )tokens?(?! (?:limit|budget|count))"
    r"|(?:api|access|private|secret|license|signing|encryption|ssh|account) keys?"
    r"|(?:seed|recovery|backup) (?:phrase|words|codes?)"
    r"|(?:otp|totp|mfa|2fa)(?: code)?|(?:one time|verification|security|authentication) codes?"
    r"|cards?|credit ?card|card ?number|cvv2?|cvc2?|cc ?(?:number|num)|iban|(?:account|routing) number"
    r"|ssn|social security)\b"
)
# Of those, the ones that a description may use in passing.
_IN_PASSING = re.compile(r"\b(?:pin|tokens?|secrets?|cards?)\b")
_DESCRIBED = ("title", "format")


def asks_for_secrets(schema: Any) -> bool:
    """Whether a form's schema has a field for a secret."""
    return any(_SECRET.search(_words(text)) for text in _labels(schema)) or any(
        _SECRET.search(_IN_PASSING.sub(" ", _words(text))) for text in _texts(schema, ("description",))
    )


def _labels(value: Any) -> Iterator[str]:
    """The names, titles and formats of all fields."""
    yield from _texts(value, _DESCRIBED)
    for found in _mappings(value):
        for key, below in found.items():
            if key.casefold() == "properties" and isinstance(below, Mapping):
                yield from below


def _texts(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for found in _mappings(value):
        for key, below in found.items():
            if key.casefold() in keys and isinstance(below, str):
                yield below


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value, which the codec has bounded in depth and number."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for below in value:
            yield from _mappings(below)


def _words(text: str) -> str:
    """Words in lower case with one blank between them, as they look: without marks and invisible characters."""
    split = unicodedata.normalize("NFKD", CANDIDATE.sub("", text))
    seen = "".join(c for c in split if unicodedata.category(c) not in ("Mn", "Cf"))
    return _JOINTS.sub(" ", _CAMEL.sub(" ", seen)).lower().translate(LOOKALIKES)
