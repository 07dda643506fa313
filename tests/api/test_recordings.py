"""Recorded answers of real gateways are shown completely, however their bytes are cut."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import SHARED

from aiml_cli.api.answer import error_from_completion
from aiml_cli.api.completion_builder import Completion, CompletionBuilder
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.parse_response import parse_response
from aiml_cli.errors import AimlError

FOLDER = SHARED / "recordings"
RECORDINGS = sorted(FOLDER.glob("*.json"))
CHUNK_SIZES = [1, 2, 3, 4, 5, 6, 7, 0]


def play_recording(recording: dict[str, Any], size: int) -> tuple[Completion, AimlError | None]:
    """Play a recording in pieces of `size` bytes; 0 means in one piece."""
    body = base64.b64decode(recording["body_base64"]) if "body_base64" in recording else recording["body"].encode()
    step = size or max(1, len(body))
    chunks = (body[start : start + step] for start in range(0, len(body), step))
    headers = {"content-type": recording.get("content_type") or ""}
    builder = CompletionBuilder()
    try:
        for batch in parse_response(get_endpoint(recording["endpoint"]), recording["status"], headers, chunks):
            builder.add(batch)
    except AimlError as error:
        return builder.build(), error
    completion = builder.build()
    return completion, error_from_completion(completion, allow_cut=False, background=True)


@pytest.mark.promise("legal-streams")
@pytest.mark.skipif(not RECORDINGS, reason="the recordings are no part of the repository")
@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem[:60])
def test_a_recorded_answer_is_shown_completely(path: Path, size: int) -> None:
    recording = json.loads(path.read_text())
    expected = recording["expect"]
    completion, error = play_recording(recording, size)
    assert_ending(expected, completion, error)
    assert_choices(expected, completion)
    assert_usage(expected, completion)
    # A page that is cited twice is one source.
    assert list(dict.fromkeys(citation.url for citation in completion.citations)) == expected["citations"]


def assert_ending(expected: dict[str, Any], completion: Completion, error: AimlError | None) -> None:
    match expected["outcome"]:
        case "ok":
            assert error is None or completion.first.refusal
        case "error":
            assert error is not None
            assert expected["error"] in error.message
        case "any":
            assert (error is None) == (completion.status in ("queued", "in_progress"))


def assert_choices(expected: dict[str, Any], completion: Completion) -> None:
    for wanted, choice in zip(expected["choices"], completion.choices, strict=False):
        texts = expected["texts_of_choice_0"] if choice.index == 0 else [wanted["text"]]
        assert choice.text in texts
        assert choice.refusal == wanted["refusal"]
        assert choice.reasoning == wanted["reasoning"]
        assert (choice.audio.transcript if choice.audio else "") == wanted["audio_transcript"]
        calls = [{"name": call.name, "arguments": call.arguments} for call in choice.tool_calls]
        assert calls == wanted["tool_calls"]
        assert_finish_reason(wanted["finish"], choice.finish_reason)
    assert len(completion.choices) == max(1, len(expected["choices"]))


def assert_finish_reason(wanted: str | None, found: str | None) -> None:
    """Compare finish reasons; that of a response is its status, or why it is incomplete."""
    if wanted == "length":
        assert found in ("length", "max_output_tokens")
    elif wanted is not None:
        assert found == wanted
    else:
        assert found in (None, "completed", "queued", "in_progress")


def assert_usage(expected: dict[str, Any], completion: Completion) -> None:
    counts = completion.usage and [
        completion.usage.input_tokens,
        completion.usage.output_tokens,
        completion.usage.total_tokens,
    ]
    assert counts == expected["usage_in_out_total"]
