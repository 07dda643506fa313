"""Write the answer as one JSON object, or each event as a JSON line."""

import json
from collections.abc import Callable
from math import isfinite
from typing import Any

from aiml_cli.api.answer import Answer, SavedFile
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    GeneratedImage,
    Notice,
    OutputItems,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from aiml_cli.errors import AimlError
from aiml_cli.system.sanitize import escape_json

Write = Callable[[bytes], None]


class JsonRenderer:
    """Write one object when the answer has ended."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def show(self, batch: EventBatch) -> None:
        """Wait for the end."""

    def close(self, answer: Answer) -> None:
        """Write the object, whatever the answer became."""
        self._write(json_line(answer_to_dict(answer), indent=2))


class JsonLinesRenderer:
    """Write each event in a line of its own, the last with the whole object."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def show(self, batch: EventBatch) -> None:
        """Write what a network read brought."""
        lines = [json_line(found) for event in batch if (found := event_to_dict(event))]
        if lines:
            self._write(b"".join(lines))

    def close(self, answer: Answer) -> None:
        """Write the last line."""
        self._write(json_line({"type": "done", **answer_to_dict(answer)}))


class NullRenderer:
    """Leave everything to the server's own bytes, which go out as they come."""

    def show(self, batch: EventBatch) -> None:
        """Show nothing."""

    def close(self, answer: Answer) -> None:
        """Add nothing."""


def json_line(found: Any, indent: int | None = None) -> bytes:
    """Write a JSON value, readable in every language; what could drive a terminal is escaped, as JSON can."""
    try:
        text = json.dumps(found, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(found), ensure_ascii=False, indent=indent)
    return (escape_json(text) + "\n").encode("utf-8", "replace")


def _finite(found: Any) -> Any:
    """Replace numbers that JSON does not know; Python reads 1e400 as infinity."""
    match found:
        case float() if not isfinite(found):
            return None
        case dict():
            return {name: _finite(value) for name, value in found.items()}
        case list():
            return [_finite(value) for value in found]
        case _:
            return found


def event_to_dict(event: Event) -> dict[str, Any] | None:
    """Give an event as a line of JSON lines; None for those that only the last line tells."""
    match event:
        case TextDelta(text, choice):
            return {"type": "text", "choice": choice, "text": text}
        case ReasoningDelta(text, choice):
            return {"type": "thought", "choice": choice, "text": text}
        case RefusalDelta(text, choice):
            return {"type": "refusal", "choice": choice, "text": text}
        case ToolCallDelta(slot, call_id, name, arguments, choice):
            facts = {"index": slot, "id": call_id, "name": name, "arguments": arguments}
            return {"type": "tool_call", "choice": choice, **facts}
        case Usage():
            return {"type": "usage", **_usage(event)}
        case Notice(text):
            return {"type": "notice", "text": text}
        case _:
            return _rarer(event)


Rarer = (
    Citation
    | CitedFile
    | TokenLogprob
    | AudioDelta
    | GeneratedImage
    | ResponseStarted
    | OutputItems
    | ErrorEvent
    | Finished
)


def _rarer(event: Rarer) -> dict[str, Any] | None:
    match event:
        case Citation(choice=choice):
            return {"type": "citation", "choice": choice, **_citation(event)}
        case CitedFile(choice=choice):
            return {"type": "file", "choice": choice, **_cited(event)}
        case TokenLogprob(choice=choice):
            return {"type": "token", "choice": choice, **_token(event)}
        case AudioDelta(transcript=transcript, choice=choice) if transcript:
            return {"type": "transcript", "choice": choice, "text": transcript}
        case AudioDelta() | GeneratedImage() | ResponseStarted() | OutputItems() | ErrorEvent() | Finished():
            return None


def answer_to_dict(answer: Answer) -> dict[str, Any]:
    """Give the documented object: every key is always there."""
    completion = answer.completion
    begun, first = completion.started, completion.first
    return {
        "endpoint": answer.endpoint,
        "id": begun.id,
        "model": begun.model,
        "created": begun.created,
        "complete": answer.error is None and completion.is_complete,
        "finish_reason": first.finish_reason,
        "text": first.output_text,
        "reasoning": first.reasoning or None,
        "refusal": first.refusal or None,
        "tool_calls": _calls(first),
        "choices": [_choice(choice) for choice in completion.choices],
        "citations": [_citation(citation) for citation in completion.citations],
        "files": [*map(_saved, answer.saved), *map(_cited, completion.files)],
        "usage": _usage(completion.usage) if completion.usage else None,
        "cost_usd": answer.cost_usd,
        "cost_source": answer.cost_source,
        "timing": _timing(answer),
        "request_id": answer.request_id,
        "previous_response_id": answer.previous_response_id,
        "status": answer.status,
        "attempts": answer.attempts,
        "error": _error(answer.error, completion),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.output_text,
        "reasoning": choice.reasoning or None,
        "refusal": choice.refusal or None,
        "tool_calls": _calls(choice),
        "finish_reason": choice.finish_reason,
        "logprobs": [_token(token) for token in choice.logprobs] or None,
    }


def _calls(choice: Choice) -> list[dict[str, Any]]:
    return [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in choice.tool_calls]


def _citation(citation: Citation) -> dict[str, Any]:
    return {"url": citation.url, "title": citation.title, "start": citation.start, "end": citation.end}


def _saved(file: SavedFile) -> dict[str, Any]:
    return {"kind": file.kind, "path": file.path, "id": None, "name": None, "container_id": None}


def _cited(file: CitedFile) -> dict[str, Any]:
    return {"kind": file.kind, "path": None, "id": file.id, "name": file.name, "container_id": file.container_id}


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": list(token.top)}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "details": dict(usage.details),
    }


def _timing(answer: Answer) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "first_token_s": rounded(answer.timing.first_token_s),
        "total_s": rounded(answer.timing.total_s),
        "tokens_per_second": rounded(answer.tokens_per_second),
    }


def _error(error: AimlError | None, completion: Completion) -> dict[str, Any] | None:
    if error is None:
        return None
    fault = completion.reported_error
    return {
        "message": error.message,
        "type": error.details.get("type") or (fault and fault.type) or error.name,
        "code": error.details.get("code"),
        "status": error.details.get("status"),
        "hint": error.hint or None,
        "exit_code": error.exit_code,
    }
