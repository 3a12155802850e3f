"""The format of a bundle's `pages`: where people find the pages of policies.

Rules:
- The same as of the rest of the format (models.py).
- The URL is kept as browsers write it: scheme and host in lower case, no default port. A form is taken only from this
  origin, so another spelling would be another origin.

Not here: what is served there (server/pages.py), what else of a bundle pages need (page_checks.py).
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from ext_proc.bundle.identity_models import is_local
from ext_proc.pages import PublicPages
from ext_proc.units import Duration, Size

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]", re.ASCII)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", re.ASCII)
_PORTS = {"https": 443, "http": 80}
_LARGEST_FORM = 1 << 20  # bytes
_LONGEST = 5.0  # seconds; the server gives up after REQUEST_SECONDS (server/http.py)
_USUAL = PublicPages("")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("expected a URL such as https://gate.example.com/gatehouse") from None
    host = parts.netloc.rpartition("@")[2].lower()
    host = host.removesuffix(f":{parts.netloc.rpartition(':')[2]}") if port is not None else host
    if parts.scheme not in _PORTS or parts.username is not None or not _HOST.fullmatch(host):
        raise ValueError("expected a URL such as https://gate.example.com/gatehouse, its host in ASCII")
    path = parts.path.rstrip("/")
    if "?" in text or "#" in text or not _PREFIX.fullmatch(path):
        raise ValueError("expected a URL with a path of plain segments, and without a query")
    if parts.scheme != "https" and not is_local(text):
        raise ValueError("expected https: a form's token in the clear is anybody's; http is for the loopback alone")
    return f"{parts.scheme}://{host}{'' if port in (None, _PORTS[parts.scheme]) else f':{port}'}{path}"


def _form(size: int) -> int:
    if size > _LARGEST_FORM:
        raise ValueError("expected at most 1MiB")
    return size


def _timeout(seconds: float) -> float:
    if seconds > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST:g}s")
    return seconds


PageUrl = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "format": "URL"})]


class PagesPart(BaseModel):
    """Where people find the pages of policies. The service serves them where `gatehouse serve --pages` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: PageUrl = Field(
        description="What the URLs of all pages start with, as people's browsers see it: `https://gate.example.com/"
        "gatehouse` for `https://gate.example.com/gatehouse/NAME`, NAME being a policy's. Envoy leads this path to the "
        "listener for pages as it is, host and path unchanged. Forms are taken from pages of this origin alone."
    )
    form: Annotated[Size, AfterValidator(_form)] = Field(
        default=_USUAL.form, description="The largest form that is posted; a larger one is answered with 413."
    )
    timeout: Annotated[Duration, AfterValidator(_timeout)] = Field(
        default=_USUAL.timeout, description="The time that a policy may take for one page."
    )

    def public(self) -> PublicPages:
        """The pages as the service knows them."""
        parts = urlsplit(self.url)
        return PublicPages(f"{parts.scheme}://{parts.netloc}", parts.path, self.form, self.timeout)
