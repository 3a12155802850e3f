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
            f"{X}test_fuzzed.py::test_a_denied_request_is_not_answered_again_when_its_time_is_over",
            f"{X}test_fuzzed.py::test_an_answer_that_every_policy_sees_comes_buffered_where_that_mode_is_fixed",
            "tests/fuzz/test_targets.py",
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
        (
            f"{X}test_responses.py",
            f"{X}test_encodings.py",
            f"{X}test_fuzzed.py::test_nothing_of_an_answer_follows_the_denial_in_its_place",
            f"{X}test_fuzzed.py::test_no_answer_hides_behind_a_byte_order_mark_that_the_client_finds_at_the_start",
            "tests/fuzz/test_targets.py",
            f"{E}test_streams.py",
            f"{E}test_recorded.py",
        ),
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
            f"{X}test_fuzzed.py::test_a_request_past_the_limit_that_nothing_enforces_on_is_not_kept",
            f"{X}test_fuzzed.py::test_an_answer_that_nobody_may_edit_is_not_held_and_not_kept",
            f"{X}test_fuzzed.py::test_an_answer_past_the_limit_that_errors_of_ours_should_join_is_refused_and_not_kept",
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
            f"{X}test_fuzzed.py::test_an_exchange_that_was_aborted_wants_nothing_more_and_says_nothing_more",
            f"{E}test_faults.py",
            f"{E}test_stack.py",
        ),
    ),
    "engine-8": Requirement(
        "Trailers, empty bodies, GET, local replies, compressed bodies and cancelled streams are ordinary cases.",
        "docs/architecture.md, rule 8",
        (
            f"{X}test_lifecycle.py",
            f"{X}test_fixed_modes.py",
            f"{X}test_fuzzed.py::test_a_status_that_is_no_number_is_none",
            f"{X}test_fuzzed.py::test_an_answer_of_headers_alone_may_name_any_coding",
            f"{X}test_fuzzed.py::test_a_body_that_no_codec_reads_is_its_own_bytes_where_nobody_changed_it",
        ),
    ),
    "engine-9": Requirement(
        "A bundle swap is atomic: an exchange ends under the bundle it began with; a bad bundle replaces nothing.",
        "docs/architecture.md, rule 9",
        (f"{E}test_process.py",),
    ),
    "cutting": Requirement(
        "Chunk boundaries mean nothing: any cutting of any body gives the same bytes and the same trail.",
        "docs/architecture.md; ext_proc streams bodies in arbitrary chunks",
        (
            f"{X}test_cutting.py",
            f"{X}test_fuzzed.py::test_a_request_past_the_limit_is_no_batch_however_it_is_cut",
            f"{X}test_recorded.py",
            "tests/unit/codecs/test_mcp_cutting.py",
            "tests/unit/engine/test_channels.py",
        ),
    ),
    "observers": Requirement(
        "An answer that is only observed needs no checkpoint, and leaves all as if it had been decided: bytes, trail,"
        " metadata, budgets, and what the policies saw.",
        "docs/adr/0014",
        (f"{X}test_observed.py", "tests/unit/engine/test_observers.py"),
    ),
    "texts": Requirement(
        "Policies see each text of a request or an answer decoded, in the direction they want; an edit changes it alone"
        " and leaves JSON valid, whatever the cutting and the order; what is denied goes no further.",
        "docs/architecture.md, Channels of text; docs/adr/0006; RFC 8259 section 7; RFC 6901",
        (
            f"{X}test_texts.py",
            f"{X}test_request_texts.py",
            f"{X}test_mcp_texts.py",
            f"{E}test_texts.py",
            "tests/unit/engine/test_track.py",
            "tests/unit/framing/test_json_source.py",
        ),
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
    "transparency": Requirement(
        "What is neither denied nor changed is the same at either end as without Gatehouse: methods, statuses, "
        "headers, bodies, trailers, 100 Continue, answers before the upload ends; over both versions of HTTP.",
        "RFC 9110, RFC 9112, RFC 9113; docs/architecture.md, rule 8",
        (f"{E}test_transparency.py", f"{E}test_http2.py", f"{E}test_uploads.py"),
    ),
    "end-of-request": Requirement(
        "A GET or DELETE is what its headers say however it ends; one with a byte of body is denied where a policy "
        "enforces, and no request goes on undecided because trailers alone end it.",
        "RFC 9113 section 8.1; RFC 9112 section 7.1; runs against Envoy 1.40",
        (f"{X}test_bodiless.py", f"{E}test_http2.py", "tests/unit/engine/test_empty_body.py"),
    ),
    "upgrades": Requirement(
        "An upgrade is decided at its headers: bytes go both ways where the route lets it pass, and none where a "
        "policy enforces and the route does not list it. Nobody waits for the end of what has none.",
        "RFC 9110 section 7.8; RFC 8441; docs/architecture.md, What is opaque",
        (f"{E}test_upgrades.py", f"{X}test_bodiless.py"),
    ),
    "interruptions": Requirement(
        "What the upstream breaks off never ends cleanly; silence is no end; when either side has gone nothing is left "
        "in Envoy, at the upstream or in Gatehouse.",
        "RFC 9112 section 8; RFC 9113 section 8.1; docs/architecture.md, rule 8",
        (f"{E}test_interruptions.py", f"{E}test_streams.py", f"{E}test_uploads.py"),
    ),
    "envoy-ends": Requirement(
        "Envoy 1.40 takes a clean end of the RPC for 'continue without me', an error for a failure, and ends the RPC "
        "itself where nothing more is to be told.",
        "runs against Envoy 1.40; why engine-7 is as it is",
        (
            f"{E}test_facts.py::test_an_rpc_that_ends_with_ok_lets_the_rest_through_unread_although_failures_are_not_allowed",
            f"{E}test_facts.py::test_an_rpc_that_ends_with_an_error_before_the_answers_headers_left_gives_500",
            f"{E}test_facts.py::test_without_response_bodies_envoy_ends_the_rpc_itself_after_the_answers_headers",
        ),
    ),
    "envoy-headers": Requirement(
        "Envoy 1.40 drops, appends and overwrites headers by rules of its own: changes beside a body count surely in "
        "BUFFERED only; `raw_value` is read and `append_action` is not.",
        "runs against Envoy 1.40; why engine-2 and wire/encode.py are as they are",
        (
            f"{E}test_facts.py::test_header_changes_in_a_body_reply_count_in_buffered_and_else_only_where_the_body_came_at_once",
            f"{E}test_facts.py::test_every_append_action_overwrites",
            f"{E}test_facts.py::test_only_the_deprecated_append_appends",
            f"{E}test_facts.py::test_a_value_that_is_not_raw_arrives_empty",
        ),
    ),
    "envoy-overrides": Requirement(
        "From NONE, Envoy 1.40 takes an override to STREAMED, BUFFERED or full duplex in a headers reply, and one to "
        "full duplex alone before it; what is chosen late cannot hold headers, what is chosen early is not lowered.",
        "runs against Envoy 1.40; docs/adr/0005; why the planner is as it is",
        (
            f"{E}test_facts.py::test_from_none_a_headers_reply_may_override_the_requests_body_mode",
            f"{E}test_facts.py::test_from_none_a_headers_reply_may_override_the_answers_body_mode",
            f"{E}test_facts_duplex.py",
        ),
    ),
    "envoy-bodies": Requirement(
        "Envoy 1.40 checks lengths in BUFFERED alone and writes past them in full duplex; past its buffer it refuses "
        "or hangs; an answer in the upstream's place is clean until something has left.",
        "runs against Envoy 1.40; why 'smuggling' and the limits are as they are",
        (f"{E}test_facts_bodies.py",),
    ),
    "opaque": Requirement(
        "What cannot be read is denied where a policy enforces, unless listed; what is malformed always is.",
        "docs/architecture.md, What is opaque",
        (f"{X}test_requests.py", f"{E}test_requests.py"),
    ),
    "unread": Requirement(
        "What `allow_opaque` lists passes unread, its answer too: official clients see what they would see without us.",
        "docs/architecture.md, What is opaque; docs/recipes.md",
        (f"{E}test_recorded.py",),
    ),
    "openai": Requirement(
        "OpenAI's client sees what it would see without us, a policy's changes excepted, and ends where one stops it: "
        "chats, responses, completions, embeddings.",
        "OpenAI, Responses API and its streaming events, completions, embeddings; the official client",
        (
            f"{E}test_openai_responses.py",
            f"{E}test_openai_others.py",
            "tests/unit/codecs/test_openai_responses_streams.py",
            "tests/unit/codecs/test_openai_chat_imitators.py",
        ),
    ),
    "repeats": Requirement(
        "A text that an answer says more than once is decided and changed alike wherever it stands.",
        "docs/architecture.md, Channels of text; OpenAI, Responses API (streaming events)",
        ("tests/unit/codecs/test_openai_responses_repeats.py",),
    ),
    "anthropic": Requirement(
        "Anthropic's client sees what it would without us, but for a policy's changes, and ends where one stops it.",
        "Anthropic, Messages API and streaming; the official client",
        (f"{E}test_anthropic.py", f"{X}test_llm_texts.py"),
    ),
    "gemini": Requirement(
        "The path names Gemini's model: another is another path. Answers in events and in an array stay what they are.",
        "Google, Gemini API: generateContent, streamGenerateContent; google.rpc.Status",
        (f"{E}test_gemini.py", f"{E}test_google.py", f"{X}test_llm_texts.py"),
    ),
    "usage-reported": Requirement(
        "What a provider counted is on record as it wrote it, of JSON and of streams, however they are cut, whatever "
        "stands between their events; of a stream that ends anywhere, what came is.",
        "OpenAI, chat completions, responses, embeddings; Anthropic, messages; Google, usageMetadata; WHATWG HTML 9.2",
        ("tests/policies/test_usage_recorded.py", "tests/policies/test_usage_disturbed.py"),
    ),
    "usage-estimated": Requirement(
        "What is counted here is near what a provider would count, and nobody has it for much less, be it by "
        "repetitions or by random letters; what is no text does not count as text, however large it is.",
        "OpenAI, how to count tokens with tiktoken; images, vision and documents of OpenAI, Anthropic and Google",
        (
            "tests/unit/tokens/test_estimating.py",
            "tests/unit/codecs/test_llm_prompts.py",
            "tests/policies/test_usage_pictures.py",
            "tests/policies/test_usage_recorded.py::test_without_what_the_provider_wrote_the_estimate_is_close",
        ),
    ),
    "usage-asked": Requirement(
        "A stream tells usage only where the request asks: what a gateway asks for itself, its client does not see.",
        "OpenAI, chat completions: `stream_options.include_usage`",
        (f"{E}test_usage.py", "tests/unit/codecs/test_openai_usage.py"),
    ),
    "settled": Requirement(
        "What is known only at the end is told to Envoy with the last reply, and is on record where there is none.",
        "docs/architecture.md, the way of an exchange; ProcessingResponse.dynamic_metadata",
        (f"{X}test_settle.py",),
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
        "What its caller could not use is hidden from every page of every list, which is private to the caller, as is "
        "what was read under a condition.",
        "MCP 2026-07-28, caching (cacheScope), pagination",
        (
            "tests/policies/test_tool_access.py",
            f"{E}test_tools.py::test_every_list_shows_over_all_its_pages_what_its_caller_could_use",
        ),
    ),
    "mcp-annotations": Requirement(
        "Annotations are untrusted: what a tool says of itself may deny a call, and never lets one through.",
        "MCP 2026-07-28, schema (ToolAnnotations)",
        (
            "tests/policies/test_tool_access.py::"
            "test_no_annotation_lets_anything_through_that_the_rule_alone_would_not",
            f"{E}test_tools.py::test_arguments_and_kinds_of_callers_decide_together",
        ),
    ),
    "hosted-tools": Requirement(
        "Tools that a model's provider runs itself fall under the rules, wherever in a chat request they stand and "
        "however a server's URL is written; what no rule allows reaches no provider.",
        "OpenAI, chat completions and MCP tools; OpenRouter, Groq, Azure: see codecs/openai_chat_hosted_tools.py",
        (
            "tests/policies/test_hosted_tools.py",
            "tests/unit/codecs/test_openai_chat_hosted_tools.py",
            f"{E}test_hosted_tools.py",
        ),
    ),
    "proposed-calls": Requirement(
        "Calls that a model proposes fall under the rules about tools/call, in every format, whole and streamed, and "
        "their arguments under the schema that the request offers the function with: what is denied, or taken out, no "
        "client puts together, and the answer ends as one without calls does.",
        "OpenAI, chat completions and Responses (function calling, streaming); Anthropic, tool use (stop_reason, "
        "streaming); Google, function calling",
        (
            "tests/policies/test_proposed_calls.py",
            "tests/policies/test_proposed_arguments.py",
            "tests/unit/codecs/test_llm_offers.py",
            "tests/unit/codecs/test_llm_calls.py",
            "tests/unit/engine/test_gathering.py",
            f"{E}test_proposed_calls.py",
        ),
    ),
    "mcp-resources": Requirement(
        "Resources, prompts and completions of their arguments fall under the same rules, however a URI is written.",
        "RFC 3986 section 6; RFC 6570; MCP 2026-07-28, resources, prompts, completion",
        (
            "tests/policies/test_resource_uris.py",
            f"{E}test_tools.py::test_resources_are_read_by_their_uri_however_it_is_written",
            f"{E}test_tools.py::test_prompts_and_completions_fall_under_the_same_rules",
        ),
    ),
    "mcp-input-errors": Requirement(
        "Arguments that do not fit the tool's schema get a result with isError, from which a model can correct itself.",
        "MCP 2025-11-25 and 2026-07-28, tools: error handling",
        (
            f"{E}test_tools.py::test_a_model_corrects_itself_by_what_the_denied_call_says",
            f"{E}test_tools.py::test_before_a_list_was_seen_no_call_passes_and_after_it_calls_do",
            f"{E}test_tools.py::test_the_example_bundle_does_what_it_says_to_the_demos_server",
            "tests/policies/test_tool_arguments.py",
        ),
    ),
    "mcp-output": Requirement(
        "A result conforms to its tool's outputSchema, and its text does not contradict its structured content.",
        "MCP 2025-06-18 to 2026-07-28, tools: structured content, output schema",
        (
            f"{E}test_tools.py::test_results_that_are_not_as_promised_are_withheld",
            "tests/policies/test_tool_arguments.py",
        ),
    ),
    "json-schema": Requirement(
        "Schemas mean what JSON Schema says; nothing is fetched for them, and depth, size and time are bounded.",
        "JSON Schema 2020-12 and draft-07; MCP 2026-07-28, basic: JSON Schema usage",
        (
            "tests/unit/schemas/test_schema.py",
            f"{E}test_tools.py::test_hostile_schemas_hold_nothing_up",
        ),
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
    "mcp-sessions": Requirement(
        "A session, a requestState or a task is unknown to any principal but the one that got it: 404 for a session, "
        "-32602 for the others; nothing of such a request reaches the server.",
        "MCP 2025-11-25, transports: session management; 2026-07-28, multi round-trip requests: server requirements; "
        "tasks extension: auth binding",
        (f"{E}test_sessions.py", "tests/policies/test_session_binding.py"),
    ),
    "stored-objects": Requirement(
        "What a model's provider keeps under an id (a response, an item, a conversation, a thread, a container, "
        "speech) is unknown to any principal but the one that it was handed to, in the provider's own words; it is "
        "bound before the answer or the event that names it leaves; nothing of such a request reaches the provider.",
        "OpenAI, Responses API (conversation state), Conversations API, chat completions (audio); Anthropic, Messages "
        "API (container, threads); Google, Gemini API (cachedContent)",
        (
            f"{E}test_stored_objects.py",
            "tests/policies/test_stored_objects.py",
            "tests/policies/test_stored_objects_formats.py",
            "tests/unit/codecs/test_openai_responses_stored.py",
            "tests/unit/codecs/test_openai_conversations.py",
            "tests/unit/codecs/test_openai_chat_stored.py",
            "tests/unit/codecs/test_anthropic_stored.py",
        ),
    ),
    "a2a-messages": Requirement(
        "Requests of A2A 0.3 and 1.0 and their answers are read and pass, whole and streamed; a stream's last answer "
        "is known, and how the work ended; texts are shown and edited in messages, artifacts and data.",
        "A2A 1.0, sections 3.1 (operations), 5.3 (method mapping), 9 (JSON-RPC binding); A2A 0.3, section 7",
        (
            f"{E}test_a2a.py::test_a_message_is_answered_with_its_texts_edited_on_both_ways",
            f"{E}test_a2a.py::test_a_task_streams_its_events_in_order_with_its_artifacts_edited",
            f"{E}test_a2a.py::test_a_task_is_told_of_watched_and_canceled",
            f"{E}test_a2a.py::test_a_task_that_waits_for_its_caller_goes_on_when_it_is_told_more",
            f"{E}test_a2a.py::test_push_notification_configurations_are_kept_listed_and_deleted",
            f"{E}test_a2a.py::test_tasks_are_listed_in_pages",
            f"{E}test_a2a.py::test_the_extended_card_is_for_those_who_are_known",
            f"{E}test_a2a.py::test_a_card_passes_byte_for_byte_and_so_does_its_absence_of_news",
            f"{E}test_a2a.py::test_work_that_fails_or_is_rejected_is_no_success",
            f"{E}test_a2a.py::test_the_agents_own_errors_pass_as_they_are",
            f"{X}test_a2a.py::test_texts_are_edited_event_by_event",
            f"{X}test_a2a.py::test_what_is_only_observed_leaves_byte_for_byte_and_is_told_of",
            "tests/unit/codecs/test_a2a_answers.py",
            "tests/unit/codecs/test_a2a_cutting.py",
            "tests/unit/codecs/test_a2a_texts.py",
        ),
    ),
    "a2a-denials": Requirement(
        "What is denied is an error of A2A's with the request's id, in the version's own shape, once and last on a "
        "stream; a card's is an HTTP error.",
        "A2A 1.0, sections 5.4 (error codes), 9.5 and 11.6 (error handling); JSON-RPC 2.0, section 5.1; docs/adr/0004",
        (
            f"{E}test_a2a.py::test_a_denied_message_never_reaches_the_agent_and_its_client_is_told",
            f"{E}test_a2a.py::test_a_denied_event_ends_the_stream_with_an_error_and_nothing_follows",
            f"{X}test_a2a.py::test_a_denied_event_ends_the_stream_with_one_error_and_nothing_follows",
            f"{X}test_a2a.py::test_a_denied_last_event_is_answered_all_the_same",
            f"{X}test_a2a.py::test_a_denied_whole_answer_is_one_error",
            f"{X}test_a2a.py::test_a_denied_card_is_an_http_error_and_any_other_passes",
            "tests/unit/codecs/test_a2a_denials.py",
        ),
    ),
    "a2a-readings": Requirement(
        "What two readers of A2A would read in two ways is denied: members but for case or underscores, two tasks, two "
        "URLs, two contents, two shapes; so is what nobody reads (REST, gRPC), and what could be MCP's as well.",
        "A2A 1.0, sections 3.6 (versioning), 5.5 (JSON field naming); ProtoJSON; A2A 0.3, sections 7.3 to 7.9",
        (
            f"{E}test_a2a.py::test_what_two_readers_would_read_in_two_ways_is_refused_with_its_id",
            f"{E}test_a2a.py::test_the_rest_binding_is_read_by_nobody_and_so_denied",
            f"{E}test_a2a.py::test_where_formats_share_a_route_a2as_methods_tell_it",
            f"{X}test_a2a.py::test_what_cannot_be_read_ends_a_stream_too",
            f"{X}test_a2a.py::test_answers_come_in_the_clear_where_a_policy_for_any_of_the_formats_may_edit_them",
            "tests/unit/codecs/test_a2a_agreement.py",
            "tests/unit/codecs/test_a2a_requests.py",
            "tests/unit/codecs/test_auto_choosing.py",
        ),
    ),
    "a2a-tasks": Requirement(
        "A task or a context of an agent is unknown to any principal but its own, -32001 in either version: who gets, "
        "cancels, follows, has notified of, writes into, refers to or lists it; nothing of that reaches the agent.",
        "A2A 1.0, section 3.1 (operations) and 13.1 (data access and authorization scoping); A2A 0.3, section 7",
        (
            f"{E}test_agents.py::test_bob_cannot_get_cancel_or_follow_alices_task_nor_write_into_it",
            f"{E}test_agents.py::test_alice_cancels_and_follows_a_task_of_hers_in_either_version",
            f"{E}test_agents.py::test_a_context_of_alices_own_making_is_hers",
            f"{E}test_agents.py::test_a_list_of_tasks_holds_the_callers_own",
            f"{E}test_agents.py::test_a_skill_is_asked_for_by_who_may",
            "tests/policies/test_agent_tasks.py",
            "tests/policies/test_agent_rules.py",
        ),
    ),
    "a2a-push": Requirement(
        "An agent is told to notify listed hosts over https only, however a URL is written and wherever it stands.",
        "A2A 1.0, section 13.2 (push notification security); RFC 3986; URL Standard, host parsing",
        (
            f"{E}test_agents.py::test_an_agent_is_not_told_to_notify_what_is_not_listed",
            f"{E}test_agents.py::test_without_listed_hosts_push_notifications_are_not_supported",
            "tests/policies/test_push_urls.py",
        ),
    ),
    "a2a-cards": Requirement(
        "An agent's card leaves byte for byte; where it has to be signed, by a key of the bundle, or not at all.",
        "A2A 1.0, section 8.4 (agent card signing); RFC 7515; RFC 8785",
        (
            f"{E}test_agents.py::test_a_signed_card_arrives_byte_for_byte_and_holds_for_the_officials_own_verifier",
            f"{E}test_agents.py::test_an_extended_card_is_verified_on_its_way_too",
            f"{E}test_agents.py::test_a_signed_card_that_its_server_translates_for_0_3_holds_for_nobody",
            f"{E}test_agents.py::test_a_card_that_nobody_vouches_for_is_withheld",
            "tests/policies/test_agent_cards.py",
            "tests/policies/test_card_mirrors.py",
        ),
    ),
    "mcp-confirm": Requirement(
        "Nothing reaches a tool that needs a yes before it was said by who may, to this call, as often as it allows; "
        "no replay, forgery, expiry, other caller, tool, server, arguments or race gets past it, on any wire.",
        "MCP 2026-07-28, multi round-trip requests, elicitation; 2025-11-25, elicitation: URL mode; RFC 8785; "
        "docs/adr/0011",
        (
            f"{E}test_confirm.py",
            "tests/policies/test_confirm.py",
            "tests/policies/test_confirm_page.py",
            "tests/policies/test_confirm_attacks.py",
            "tests/policies/test_confirm_lists.py",
            "tests/policies/test_confirm_keys.py",
            "tests/policies/test_confirm_scorer.py",
            "tests/policies/test_confirm_words.py",
        ),
    ),
    "mcp-server-requests": Requirement(
        "What a server asks of its caller passes by rule, whatever wire it comes on; of what is denied nothing reaches "
        "a person or a model, and no answer that nobody asked for reaches a server.",
        "MCP 2025-11-25, sampling, elicitation, roots; 2026-07-28, multi round-trip requests, elicitation: security; "
        "docs/policies.md, server-requests",
        (
            f"{E}test_server_requests.py",
            "tests/policies/test_server_requests.py",
            "tests/policies/test_url_domains.py",
            "tests/policies/test_form_secrets.py",
            "tests/unit/codecs/test_mcp_inputs.py",
            "tests/unit/codecs/test_jsonrpc_claims.py",
        ),
    ),
    "mcp-headers": Requirement(
        "Headers that are missing, stand twice, or contradict the body are refused with 400 and -32020.",
        "MCP 2026-07-28, transports: server validation, custom headers",
        (
            f"{E}test_header_integrity.py",
            "tests/policies/test_header_integrity.py",
            "tests/policies/test_mcp_headers.py",
        ),
    ),
    "mcp-by-headers": Requirement(
        "Where headers suffice the decision falls before the body; they never decide otherwise than the body would.",
        "MCP 2026-07-28, transports: standard headers; docs/adr/0010",
        (f"{X}test_by_headers.py", f"{E}test_by_headers.py"),
    ),
    "mcp-authorization": Requirement(
        "A server is a protected resource: metadata, 401 and 403 challenges that name all scopes, no audience but its "
        "own, no token in the query, and no client's token for the upstream.",
        "MCP 2026-07-28, authorization; RFC 9728; RFC 6750, section 3; RFC 8707",
        (f"{E}test_oauth.py", "tests/policies/test_oauth_resource.py"),
    ),
    "loops": Requirement(
        "What goes round in circles ends in a result that the model reads; no cap is passed by calls at the same time.",
        "docs/policies.md, loop-guard; MCP 2025-11-25, tools: errors",
        (f"{E}test_loops.py", "tests/policies/test_loop_guard.py"),
    ),
    "stores": Requirement(
        "All who share a store have one content: operations are atomic, and fail in time; what is kept expires; every "
        "kind of store does alike.",
        "docs/operations.md, Stores; ext_proc/stores/store.py",
        (
            f"{X}test_state.py",
            "tests/unit/stores/test_store.py",
            "tests/unit/stores/test_model.py",
            "tests/unit/stores/test_embedded.py",
            "tests/unit/stores/test_redis.py",
            "tests/unit/server/test_run_with_stores.py",
        ),
    ),
    "hosts": Requirement(
        "Processes that share a store agree on sessions, states, caps and schemas, at the same time too, whatever "
        "their clocks say; one that dies leaves the state right; calls are denied only while the store is gone.",
        "docs/operations.md, Stores; docs/policies.md, session-binding, loop-guard, tool-arguments",
        (f"{E}test_hosts.py",),
    ),
    "tool-pinning": Requirement(
        "What a server says of its tools and of itself is what was approved, or it is hidden and not called: changed, "
        "new, renamed, flipped, poisoned or shadowing definitions, for all callers and hosts, until a person approves "
        "what they saw.",
        "MCP 2025-11-25 and 2026-07-28, tools: security considerations; RFC 8785; docs/policies.md, tool-pinning",
        (
            f"{E}test_pinning.py",
            f"{E}test_poisoned_tools.py",
            "tests/policies/test_tool_pinning.py",
            "tests/policies/test_tool_judgement.py",
            "tests/unit/pins/test_canonical.py",
            "tests/unit/pins/test_records.py",
            "tests/unit/server/test_tools.py",
        ),
    ),
    "mcp-attacks": Requirement(
        "What a client tries by hand to be taken for another, for another request, or for nothing to be looked at, "
        "reaches nobody, and is told in the caller's protocol.",
        "MCP 2026-07-28, transports, authorization, caching, tools: security considerations",
        (f"{E}test_attacks.py",),
    ),
    "bad-input": Requirement(
        "Fuzzed JSON-RPC, hostile schemas, lists of 10,000 tools, descriptions of 1 MiB, a store that is locked, full, "
        "slow or gone: a clear error by `on_error`, bounded memory, and nothing passes that is not allowed.",
        "docs/architecture.md, rules 4 and 6; docs/policies.md",
        (f"{E}test_bad_input.py", f"{X}test_hostile.py"),
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
    "identity-refusal": Requirement(
        "A credential that does not hold gets 401 and invalid_token; nothing reaches a policy or the upstream.",
        "RFC 6750 section 3.1; docs/adr/0008",
        (f"{X}test_identity.py", f"{E}test_identity.py"),
    ),
    "identity-ladder": Requirement(
        "A human needs positive evidence; of a chain of actors the outermost counts; what both use is an agent's.",
        "RFC 8693 section 4.1; docs/architecture.md, Who calls",
        ("tests/unit/test_identity.py", "tests/unit/credentials/test_chain.py", "tests/unit/bundle/test_roles.py"),
    ),
    "identity-tokens": Requirement(
        "Algorithms, keys, issuer, audience and type are pinned; a token is read strictly, and vouches for nothing.",
        "RFC 8725 section 3; RFC 7515 sections 2 and 4.1; RFC 7519 section 7.2",
        ("tests/unit/credentials/test_token.py", "tests/unit/credentials/test_jwt.py"),
    ),
    "identity-keys": Requirement(
        "Keys are rotated while it runs: one fetch for all who wait, bounded in size, time and number.",
        "RFC 7517 section 5; docs/operations.md, Keys of issuers",
        ("tests/unit/server/test_keys.py", "tests/unit/server/test_fetch.py", "tests/unit/credentials/test_keys.py"),
    ),
    "pages": Requirement(
        "A page is shown to who is verified, a form counts from its own page alone, nothing in it runs or is framed, "
        "and the credential of a call is known when it comes to the page.",
        "docs/adr/0012; Fetch, append a request Origin header; CSP level 3; RFC 6750 section 3",
        (f"{E}test_pages.py", "tests/unit/server/test_pages.py"),
    ),
    "ledger": Requirement(
        "Each exchange with a model has one usage record: opened before it goes on, closed once, by another process "
        "where its own is gone; none of a process that lives is touched.",
        "docs/operations.md, The usage ledger",
        (
            f"{E}test_ledger.py",
            "tests/unit/ledger/test_model.py",
            "tests/unit/ledger/test_lease.py",
            "tests/unit/ledger/test_file.py",
            "tests/policies/test_usage_ledger.py",
        ),
    ),
    "identity-workloads": Requirement(
        "A workload is known by what Envoy verified of its certificate, and not by a client's copy of it.",
        "SPIFFE ID section 2; X.509-SVID section 2; Envoy: x-forwarded-client-cert",
        (f"{E}test_workloads.py", "tests/unit/credentials/test_xfcc.py", "tests/unit/credentials/test_peer.py"),
    ),
}
