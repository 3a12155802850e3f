"""Every limit, with its default; a bundle names them under `limits`.

Rules:
- A limit acts before memory is taken, never after.
- Sizes are bytes, times are seconds.

Not here: how a bundle writes them (bundle/models.py), who keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one bundle.

    Attributes:
        request_body: the largest request body; past it the caller gets 413 in the protocol's own shape.
        response_body: the largest answer that is held whole to be decided; a stream is bounded per event instead.
        event: the largest server-sent event.
        envoy_buffer: what Envoy buffers for us (`per_connection_buffer_limit_bytes`, 1 MiB unless set); past it Envoy
            itself answers 413 or 500.
        hold_back: the most text held back in a stream.
        call: the most of a streamed answer that waits for the arguments of a call that a model proposes.
        decision: the time for all hooks of one message, where Envoy's `message_timeout` runs (200 ms unless set).
        hold: the longest that a headers reply is held back for a body.
        json_depth: the deepest nesting of arrays and objects.
        json_values: the most values, keys included, in one JSON document: each takes memory of its own, however short.
        name: the longest name of a method, tool, prompt, resource (its URI) or model, in characters: each is compared
            with many patterns.
        batch: the most messages in one JSON-RPC batch.
        expansion: the most bytes that a compressed body may make of each of its own.
    """

    request_body: int = 32 * MIB
    response_body: int = 32 * MIB
    event: int = 16 * MIB
    envoy_buffer: int = 1 * MIB
    hold_back: int = 64 * KIB
    call: int = 4 * MIB
    decision: float = 0.150
    hold: float = 300.0
    json_depth: int = 64
    json_values: int = 500_000
    name: int = 4096
    batch: int = 64
    expansion: int = 200


DEFAULTS = Limits()
