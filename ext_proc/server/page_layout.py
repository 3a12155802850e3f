"""The frame of every page for people: one small HTML document, its only style sheet, and the headers that go with it.

Rules:
- No script, nothing from elsewhere, in nobody's frame: the content security policy names the one style sheet by its
  hash and allows a form to this origin; so what got into a page by a fault is shown at most, and never runs.
- `referrer-policy` is `same-origin`: under `no-referrer` a browser would send `origin: null` with a page's own forms
  (Fetch, "append a request Origin header").
- Readable on any screen, light or dark, by keyboard and aloud: a language, a title, one heading, a visible focus.

Not here: what a page says (a policy's `page`), who may see it (pages.py).
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Final

HTML: Final = "text/html; charset=utf-8"

_STYLE = """
:root{color-scheme:light dark;--line:#8886;--accent:#0b57d0;--on:#fff;--alarm:#b3261e}
@media(prefers-color-scheme:dark){:root{--accent:#a8c7fa;--on:#062e6f;--alarm:#f2b8b5}}
*{box-sizing:border-box}
body{margin:0;font:1rem/1.5 system-ui,sans-serif}
main{max-width:46rem;margin:0 auto;padding:1.5rem 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25}
h2{font-size:1.125rem}
pre,code,textarea{font:.9375rem/1.45 ui-monospace,monospace}
pre{white-space:pre-wrap;padding:.75rem;border:1px solid var(--line);border-radius:.375rem;max-height:24rem;
overflow:auto}
dt{font-weight:600}
dd{margin:0 0 .75rem}
table{border-collapse:collapse;width:100%}
th,td{padding:.375rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
label{display:block;font-weight:600}
input,textarea,select{font:inherit;width:100%;padding:.5rem;border:1px solid var(--line);border-radius:.375rem}
input[type=checkbox],input[type=radio]{width:auto}
button{font:inherit;min-height:2.75rem;padding:.5rem 1.25rem;border:1px solid currentColor;border-radius:.375rem;
background:none;color:inherit;cursor:pointer}
button.yes{background:var(--accent);border-color:var(--accent);color:var(--on)}
a,button,input,textarea,select,summary,pre{outline-offset:2px}
:focus-visible{outline:3px solid var(--accent)}
.choices{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1.5rem}
.note{opacity:.8}
.warning{border-left:.375rem solid var(--alarm);padding-left:.75rem}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# Of every answer, refusals too. What every answer of the server has (`cache-control: no-store`,
# `x-content-type-options: nosniff`) is not repeated here.
HEADERS: Final = (
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


def document(title: str, body: str) -> bytes:
    """A whole page.

    Args:
        title: plain text.
        body: HTML, the content of `<main>` after its heading.
    """
    title = html.escape(title)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
    # A lone surrogate has no bytes, and no page should fail over it.
    return text.encode("utf-8", "replace")
