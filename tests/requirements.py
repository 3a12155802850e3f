"""The rules that Gatehouse keeps, each with the tests that prove it.

Rules:
- An entry under `proved_by` is a test ("path::name") or a whole file whose tests are all about the rule ("path").
- tests/test_requirements.py checks it both ways: what is named exists, and every test of the folders that prove rules
  of the protocols is named here.

Not here: requirements of a single module, which its unit tests state.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule, where it comes from, and what proves it."""

    text: str
    source: str
    proved_by: tuple[str, ...]


X = "tests/exchange/"
E = "tests/envoy/"

REQUIREMENTS: dict[str, Requirement] = {
    "engine-1": Requirement(
        "Outside full duplex exactly one reply answers one event; events are worked off in order.",
        "docs/architecture.md, rule 1; ext_proc ProcessingResponse",
        (
            f"{X}test_lifecycle.py::test_each_event_has_exactly_one_reply_outside_full_duplex",
            f"{X}test_lifecycle.py::test_a_body_that_comes_with_trailers_is_decided_when_it_is_there",
            f"{X}test_lifecycle.py::test_events_that_come_while_a_checkpoint_is_outstanding_wait_for_it",
            f"{X}test_lifecycle.py::test_a_decision_that_nobody_asked_for_does_nothing",
            f"{X}test_lifecycle.py::test_in_observability_mode_nothing_is_answered",
        ),
    ),
    "engine-2": Requirement(
        "Header changes that depend on a body happen in BUFFERED, or in full duplex with the headers reply held.",
        "docs/architecture.md, rule 2; ext_proc: header changes in a body reply count in BUFFERED only",
        (f"{X}test_uploads.py", f"{E}test_modes.py"),
    ),
    "engine-3": Requirement(
        "The route cache is cleared when a routing header changed; a client's copies of our headers are removed.",
        "docs/architecture.md, rule 3",
        (
            f"{X}test_requests.py::test_a_clients_copies_of_our_headers_are_removed_on_governed_and_ungoverned_routes",
            f"{X}test_requests.py::test_an_allowed_call_goes_on_byte_for_byte_with_its_facts_as_headers",
            f"{X}test_requests.py::test_a_tool_name_that_no_header_can_carry_is_encoded",
            f"{E}test_requests.py::test_a_forged_fact_is_replaced_by_the_true_one",
            f"{E}test_istio.py",
            f"{E}test_models.py",
        ),
    ),
    "engine-4": Requirement(
        "Nothing of a response leaves before its message was decided; unchanged messages leave byte-identical.",
        "docs/architecture.md, rule 4",
        (f"{X}test_responses.py", f"{X}test_encodings.py", f"{E}test_streams.py"),
    ),
    "engine-5": Requirement(
        "A deny after response headers is the protocol's own end of stream, never raw bytes in the middle.",
        "docs/architecture.md, rule 5; docs/adr/0004",
        (
            f"{X}test_texts.py",
            f"{X}test_responses.py::test_a_malformed_event_ends_a_governed_stream_with_an_error_for_the_open_request",
            f"{E}test_faults.py::test_in_a_stream_an_error_stands_in_the_place_of_such_an_answer",
        ),
    ),
    "engine-6": Requirement(
        "Limits act before memory is taken: past a limit 413 or the protocol's error.",
        "docs/architecture.md, rule 6",
        (
            f"{X}test_requests.py::test_a_declared_length_past_the_limit_is_refused_before_a_byte_is_read",
            f"{X}test_uploads.py::test_a_body_of_unknown_length_is_bounded_and_refused_as_soon_as_it_is_too_large",
            f"{X}test_encodings.py::test_a_bomb_is_refused",
            f"{X}test_lifecycle.py::test_envoys_own_413_becomes_the_protocols_error",
        ),
    ),
    "engine-7": Requirement(
        "OK is sent only after Envoy's half-close; any end of ours before it is an error status; Envoy fails closed.",
        "docs/architecture.md, rule 7; ext_proc: a clean close means 'continue without me'",
        (
            f"{X}test_lifecycle.py::test_ok_is_sent_only_after_envoys_half_close",
            f"{X}test_lifecycle.py::test_a_cancelled_or_failed_rpc_is_not_finished",
            f"{X}test_lifecycle.py::test_what_breaks_ext_procs_rules_aborts_the_rpc_so_that_envoy_fails_closed",
            f"{X}test_lifecycle.py::test_an_answer_to_a_request_that_was_never_decided_is_refused",
            f"{E}test_faults.py",
            f"{E}test_stack.py",
        ),
    ),
    "engine-8": Requirement(
        "Trailers, empty bodies, GET, local replies, compressed bodies and cancelled streams are ordinary cases.",
        "docs/architecture.md, rule 8",
        (f"{X}test_lifecycle.py", f"{X}test_fixed_modes.py"),
    ),
    "engine-9": Requirement(
        "A bundle swap is atomic: an exchange ends under the bundle it began with; a bad bundle replaces nothing.",
        "docs/architecture.md, rule 9",
        (f"{E}test_process.py",),
    ),
    "cutting": Requirement(
        "Chunk boundaries mean nothing: any cutting of any body gives the same bytes and the same trail.",
        "docs/architecture.md; ext_proc streams bodies in arbitrary chunks",
        (f"{X}test_cutting.py", "tests/unit/codecs/test_mcp_cutting.py", "tests/unit/engine/test_channels.py"),
    ),
    "smuggling": Requirement(
        "A changed body carries its exact length or none, so that nothing of it becomes another's message.",
        "RFC 9112 section 6; runs against Envoy 1.40",
        (
            f"{X}test_requests.py::test_a_rewritten_call_carries_its_exact_length",
            f"{X}test_uploads.py::test_a_large_rewritten_call_loses_its_length_so_that_nothing_is_smuggled_behind_it",
            f"{E}test_modes.py::test_a_request_of_another_length_smuggles_nothing",
            f"{E}test_modes.py::test_an_answer_of_another_length_smuggles_nothing",
        ),
    ),
    "opaque": Requirement(
        "What cannot be read is denied where a policy enforces, unless listed; what is malformed always is.",
        "docs/architecture.md, What is opaque",
        (f"{X}test_requests.py", f"{E}test_requests.py"),
    ),
    "mcp-denial": Requirement(
        "A denied call is answered with its own id in JSON-RPC's error shape, which official clients report cleanly.",
        "MCP 2025-11-25 and 2026-07-28, JSON-RPC 2.0 section 5.1; docs/adr/0004",
        (f"{E}test_clients.py", "tests/unit/codecs/test_mcp_denials.py"),
    ),
    "mcp-batch": Requirement(
        "Batches exist in 2025-03-26 only, with a verdict per element.",
        "MCP 2025-03-26, transports",
        (
            f"{X}test_requests.py::test_a_batch_in_a_revision_without_batches_is_malformed",
            f"{E}test_requests.py::test_of_a_batch_each_element_has_its_own_verdict",
        ),
    ),
    "mcp-lists": Requirement(
        "Tools that their caller may not call are hidden from tools/list, whose result is private to the caller.",
        "MCP 2026-07-28, caching (cacheScope)",
        ("tests/policies/test_tool_access.py",),
    ),
    "mcp-mirror": Requirement(
        "Whoever rewrites a name in the body rewrites the headers that repeat it, and no header that does not.",
        "MCP 2026-07-28, transports: standard headers",
        (
            f"{X}test_requests.py::test_a_rewritten_name_is_rewritten_in_the_header_that_repeats_it",
            "tests/unit/codecs/test_mcp_headers.py",
        ),
    ),
    "mcp-conformance": Requirement(
        "The official conformance suite scores the same through Envoy and Gatehouse as direct.",
        "MCP conformance suite, revisions 2025-11-25 and 2026-07-28",
        ("tests/conformance/test_conformance.py",),
    ),
    "sse": Requirement(
        "Server-sent events are read to the letter.",
        "WHATWG HTML section 9.2",
        ("tests/unit/framing/test_sse.py",),
    ),
    "explain": Requirement(
        "Every denial carries its trail's id; decisions, metrics and spans tell why, and nothing secret.",
        "docs/architecture.md, The trail",
        (f"{E}test_telemetry.py",),
    ),
}
