"""Finish reasons are understood in any case and with any separators."""

import re

import pytest

from aiml_cli.api.finish_reasons import Ending, choose_worse, classify_reason

REASONS_BY_ENDING = {
    Ending.COMPLETE: (
        "stop end_turn eos eos_token tool_calls function_call tool_use stop_sequence completed complete done success "
        "OTHER FINISH_REASON_UNSPECIFIED content_block_stop no_error something_new"
    ),
    Ending.LENGTH: "length max_tokens max_output_tokens model_length token_limit truncated error_limit out_of_tokens",
    Ending.CONTEXT: "model_context_window_exceeded context_length_exceeded context_window",
    Ending.FILTER: (
        "content_filter safety sensitive recitation prohibited_content spii blocklist image_safety model_armor "
        "error_toxic moderation guardrail_intervened content_policy_violation"
    ),
    Ending.REFUSAL: "refusal refused declined",
    Ending.ABORTED: (
        "abort aborted cancelled canceled malformed_function_call unexpected_tool_call too_many_tool_calls timeout "
        "failed interrupted language missing_thought_signature terminated evicted shutdown bad_request quota_exceeded"
    ),
    Ending.ERROR: "error network_error insufficient_system_resource server_error internal_error overloaded model_error out_of_memory",
    Ending.UNFINISHED: "incomplete in_progress queued pending pause_turn",
}
REASONS = [(word, ending) for ending, words in REASONS_BY_ENDING.items() for word in words.split()]


def to_camel_case(word: str) -> str:
    return re.sub(r"_(.)", lambda found: found[1].upper(), word)


@pytest.mark.parametrize(("word", "ending"), REASONS)
def test_a_finish_reason_is_understood_in_every_spelling(word: str, ending: Ending) -> None:
    camel = to_camel_case(word)
    spellings = [word, word.upper(), word.title(), word.replace("_", "-"), word.replace("_", " "), camel, f" {word} "]
    assert {classify_reason(spelling) for spelling in [*spellings, camel[:1].upper() + camel[1:]]} == {ending}


@pytest.mark.parametrize("reason", [None, "", " ", "x" * 1_000_000, "_" * 1_000_000, "aB" * 500_000])
def test_an_unknown_finish_reason_means_complete(reason: str | None) -> None:
    assert classify_reason(reason) is Ending.COMPLETE


@pytest.mark.parametrize(
    ("first", "second", "worse"),
    [
        ("stop", "length", "length"),
        ("length", "stop", "length"),
        ("error", "stop", "error"),
        ("content_filter", "length", "content_filter"),
        ("stop", "tool_calls", "tool_calls"),
        (None, "stop", "stop"),
        ("length", None, "length"),
        (None, None, None),
        (None, "", ""),
    ],
)
def test_the_worse_of_two_reasons_counts(first: str | None, second: str | None, worse: str | None) -> None:
    assert choose_worse(first, second) == worse
