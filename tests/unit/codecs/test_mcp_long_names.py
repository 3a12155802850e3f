"""Names past `limits.name` are malformed, in requests and in lists: every rule's patterns are compared with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ext_proc.codecs.mcp import McpCodec
from ext_proc.limits import Limits
from ext_proc.messages import McpRequest, Message, Opaque
from tests.unit.codecs.building import answer_head, head

LONGEST = 64
LIMITS = Limits(name=LONGEST)


def sent(method: str, **params: Any) -> Message:
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": "r1", "method": method, "params": params})
    decoder = McpCodec().request_decoder(head(), LIMITS)
    ((message,),) = [frame.messages for frame in (*decoder.feed(body), *decoder.close())]
    return message


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("{name}", {}),
        ("tools/call", {"name": "{name}"}),
        ("prompts/get", {"name": "{name}"}),
        ("resources/read", {"uri": "{name}"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "{name}"}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a:b", "{name}"]}}),
    ],
)
def test_a_name_has_a_limit_wherever_it_stands(method: str, params: dict[str, Any]) -> None:
    def asked(length: int) -> Message:
        name = "x" * length
        filled = msgspec.json.decode(msgspec.json.encode(params).replace(b"{name}", name.encode()))
        return sent(method.replace("{name}", name), **filled)

    assert isinstance(asked(LONGEST), McpRequest)
    refused = asked(LONGEST + 1)
    assert isinstance(refused, Opaque)
    assert (refused.reason, refused.malformed, refused.id) == ("name-too-long", True, "r1")


def test_what_is_listened_to_has_a_limit_together() -> None:
    uri = "a:" + "x" * (LONGEST - 2)
    few, many = ([f"{uri[:-2]}{number:02}" for number in range(count)] for count in (16, 17))
    assert isinstance(sent("subscriptions/listen", notifications={"resourceSubscriptions": few}), McpRequest)
    assert isinstance(sent("subscriptions/listen", notifications={"resourceSubscriptions": many}), Opaque)


@pytest.mark.parametrize(
    ("method", "holds", "key"),
    [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ],
)
def test_a_list_with_a_longer_name_cannot_be_read(method: str, holds: str, key: str) -> None:
    request = sent(method)

    def listed(length: int) -> Message:
        entries = [{key: "short", "name": "n"}, {"name": "n", key: "x" * length}]
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": "r1", "result": {holds: entries}})
        decoder = McpCodec().response_decoder([request], head(), answer_head(), LIMITS)
        ((message,),) = [frame.messages for frame in (*decoder.feed(body), *decoder.close())]
        return message

    assert not isinstance(listed(LONGEST), Opaque)
    refused = listed(LONGEST + 1)
    assert isinstance(refused, Opaque)
    assert refused.reason == "name-too-long"
