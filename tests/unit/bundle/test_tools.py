"""policies/bundles/tools.yaml does what it says of resources and prompts (of tools: tests/envoy/test_tools.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import examine
from ext_proc.testing import call, pass_through, request, response

BUNDLE = Path(__file__).parents[3] / "policies" / "bundles" / "tools.yaml"
STAFF = {"iss": "idp", "sub": "ann", "groups": ["staff"], "sub_profile": "user"}
AGENT = {**STAFF, "groups": [], "act": {"sub": "helper"}}


def asked(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.mark.parametrize(
    ("claims", "sent", "allowed"),
    [
        (None, asked("resources/list"), True),
        (None, asked("logging/setLevel", level="debug"), False),
        (None, asked("resources/read", uri="file:///srv/public/a"), True),
        (None, asked("resources/subscribe", uri="https://docs.example.com/a"), True),
        (None, asked("resources/read", uri="https://docs.example.com.evil.example/a"), False),
        (None, asked("resources/read", uri="file:///srv/private/a"), False),
        (STAFF, asked("resources/read", uri="file:///srv/private/a"), True),
        (STAFF, asked("resources/subscribe", uri="file:///srv/private/a"), False),
        (STAFF, asked("resources/read", uri="file:///srv/../etc/passwd"), False),
        (None, asked("prompts/get", name="public.a"), True),
        (STAFF, asked("prompts/get", name="letter", arguments={"to": "bob@example.com"}), True),
        (STAFF, asked("prompts/get", name="letter", arguments={"to": "bob@evil.example"}), False),
        (AGENT, asked("prompts/get", name="letter", arguments={"to": "bob@example.com"}), False),
        (STAFF, call("transfer", {"amount": 1}), False),  # of the server `payments` only
        (STAFF, call("export_salaries"), False),
    ],
)
def test_each_request_is_ruled_as_the_bundle_says(claims: Any, sent: dict[str, Any], allowed: bool) -> None:
    found = examine(BUNDLE)
    assert (found.problems, found.warnings) == ((), ())
    assert found.rulebook is not None
    done = response({"jsonrpc": "2.0", "id": 1, "result": {"resources": []}})
    played = pass_through(found.rulebook, request(sent, claims=claims), done)
    assert (played.upstream is not None) is allowed
