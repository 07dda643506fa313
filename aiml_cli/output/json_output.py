"""Write the answer as one JSON object, or each event as a JSON line."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from aiml_cli.api import stream_events as events
from aiml_cli.api.answer import Answer, RanCall, ToolRound
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.errors import AimlError
from aiml_cli.system.sanitize import escape_json

Write = Callable[[bytes], None]
MAX_PIECE_CHARS = 1024 * 1024


class JsonRenderer:
    """Renderer that writes one object at the end of the answer."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def show(self, batch: events.EventBatch) -> None:
        """Do nothing until the end."""

    def close(self, answer: Answer) -> None:
        """Write the object, whether or not the answer is complete."""
        for piece in _encode_answer(answer_to_dict(answer), indent=2):
            self._write(piece)


class JsonLinesRenderer:
    """Renderer that writes each event as a line, and the complete object as the last line."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def show(self, batch: events.EventBatch) -> None:
        """Write the events of one network read."""
        if lines := [json_line(fields) for event in batch if (fields := event_to_dict(event))]:
            self._write(b"".join(lines))

    def show_results(self, tool_round: ToolRound) -> None:
        """Write a line for each result of a tool."""
        lines = [json_line({"type": "tool_result", **_ran_call_to_dict(call)}) for call in tool_round.calls]
        self._write(b"".join(lines))

    def close(self, answer: Answer) -> None:
        """Write the last line."""
        for piece in _encode_answer({"type": "done", **answer_to_dict(answer)}):
            self._write(piece)


def json_line(value: Any, indent: int | None = None) -> bytes:
    """Return any value as a line of JSON in UTF-8; characters that could control a terminal are escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except (ValueError, RecursionError):
        text = "".join(_encode_odd_value(value, indent))
    return (escape_json(text) + "\n").encode("utf-8", "replace")


def _encode_answer(value: dict[str, Any], indent: int | None = None) -> Iterator[bytes]:
    """Yield a line of JSON; a long answer is yielded in pieces, so that it is not copied several times."""
    choices = value["choices"]
    texts = [choice[name] or "" for choice in choices for name in ("text", "reasoning", "refusal")]
    calls = [call["arguments"] for choice in choices for call in choice["tool_calls"]]
    if max(map(len, [*texts, *calls])) <= MAX_PIECE_CHARS:
        yield json_line(value, indent)
        return
    for piece in chain(_encode_odd_value(value, indent), ["\n"]):
        yield escape_json(piece).encode("utf-8", "replace")


def _encode_odd_value(value: Any, indent: int | None) -> Iterator[str]:
    """Yield JSON in pieces, without recursion; NaN, infinity and integers of thousands of digits become null."""
    todo: list[tuple[Any, int]] = [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, _Token):
            yield item
        elif isinstance(item, dict | list | tuple) and item:
            todo += reversed([(part, depth + 1) for part in _split_container(item, indent, depth)])
        else:
            yield from _encode_text(item) if isinstance(item, str) else [_encode_scalar(item)]


def _encode_text(text: str) -> Iterator[str]:
    """Yield a string as JSON, in pieces of at most one MiB."""
    yield '"'
    for start in range(0, len(text), MAX_PIECE_CHARS):
        yield _encode_scalar(text[start : start + MAX_PIECE_CHARS])[1:-1]
    yield '"'


class _Token(str):
    """A piece of JSON that is complete, such as a bracket or a property name."""

    __slots__ = ()


def _split_container(value: Any, indent: int | None, depth: int) -> Iterator[Any]:
    """Yield the tokens and the inner values of an object or array, formatted as json.dumps does."""
    first, comma, last = "", ", ", ""
    if indent is not None:
        first = "\n" + " " * (indent * depth)
        comma, last = f",{first}", "\n" + " " * (indent * (depth - 1))
    is_object = isinstance(value, dict)
    before = ("{" if is_object else "[") + first
    for key in value:
        yield _Token(f"{before}{_encode_scalar(str(key))}: " if is_object else before)
        yield value[key] if is_object else key
        before = comma
    yield _Token(last + ("}" if is_object else "]"))


def _encode_scalar(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return "null"


def event_to_dict(event: events.Event) -> dict[str, Any] | None:
    """Return the object of an event's JSON line, or None if only the last line has its content."""
    match event:
        case events.Usage():
            return {"type": "usage", **_usage_to_dict(event)}
        case events.Notice(text):
            return {"type": "notice", "text": text}
        case events.Citation(choice=choice):
            return {"type": "citation", "choice": choice, **_citation_to_dict(event)}
        case events.CitedFile(choice=choice):
            return {"type": "file", "choice": choice, **_file_to_dict(event)}
        case events.ResponseStarted() | events.OutputItems() | events.ErrorEvent() | events.Finished():
            return None
        case _:
            return _content_to_dict(event)


def _content_to_dict(event: events.Content) -> dict[str, Any] | None:
    match event:
        case events.TextDelta(text, choice):
            return {"type": "text", "choice": choice, "text": text}
        case events.ReasoningDelta(text, choice):
            return {"type": "thought", "choice": choice, "text": text}
        case events.RefusalDelta(text, choice):
            return {"type": "refusal", "choice": choice, "text": text}
        case events.ToolCallDelta(slot, call_id, name, arguments, choice, is_whole):
            call = {"index": slot, "id": call_id, "name": name, "arguments": arguments}
            return {"type": "tool_call", "choice": choice, **call, **({"replaces": True} if is_whole else {})}
        case events.TokenLogprob(choice=choice):
            return {"type": "token", "choice": choice, **_token_to_dict(event)}
        case events.AudioDelta(transcript=transcript, choice=choice) if transcript:
            return {"type": "transcript", "choice": choice, "text": transcript}
        case events.AudioDelta() | events.GeneratedImage():
            return None


def answer_to_dict(answer: Answer) -> dict[str, Any]:
    """Return the object that docs/answer.schema.json describes; every key is always present."""
    completion = answer.completion
    started, first = completion.started, completion.first
    saved_files = [
        {"kind": file.kind, "path": file.path, "id": None, "name": None, "container_id": None} for file in answer.saved
    ]
    return {
        "endpoint": answer.endpoint,
        "id": started.id,
        "model": started.model,
        "created": started.created,
        "complete": answer.error is None and completion.is_complete,
        "finish_reason": first.finish_reason,
        "text": first.output_text,
        "data": answer.data,
        "reasoning": first.reasoning or None,
        "refusal": first.refusal or None,
        "tool_calls": [*map(_ran_call_to_dict, _list_ran_calls(answer)), *_tool_calls_to_list(first)],
        "rounds": [_round_to_dict(each) for each in answer.rounds],
        "choices": [_choice_to_dict(choice) for choice in completion.choices],
        "citations": [_citation_to_dict(citation) for citation in completion.citations],
        "files": [*saved_files, *map(_file_to_dict, completion.files)],
        "usage": _usage_to_dict(completion.usage) if completion.usage else None,
        "cost_usd": answer.cost_usd,
        "cost_source": answer.cost_source,
        "cached": answer.is_cached,
        "timing": _timing_to_dict(answer),
        "request_id": answer.request_id,
        "previous_response_id": answer.previous_response_id,
        "status": answer.status,
        "attempts": answer.attempts,
        "error": _error_to_dict(answer.error, completion),
    }


def _round_to_dict(tool_round: ToolRound) -> dict[str, Any]:
    first, usage = tool_round.completion.first, tool_round.completion.usage
    return {
        "text": first.output_text,
        "reasoning": first.reasoning or None,
        "tool_calls": [_ran_call_to_dict(call) for call in tool_round.calls],
        "usage": _usage_to_dict(usage) if usage else None,
    }


def _list_ran_calls(answer: Answer) -> list[RanCall]:
    return [call for tool_round in answer.rounds for call in tool_round.calls]


def _ran_call_to_dict(call: RanCall) -> dict[str, Any]:
    called = {"id": call.id, "name": call.name, "arguments": call.arguments}
    return {**called, "result": call.result, "is_error": call.is_error, "allowed_by": call.allowed_by or None}


def _choice_to_dict(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.output_text,
        "reasoning": choice.reasoning or None,
        "refusal": choice.refusal or None,
        "tool_calls": _tool_calls_to_list(choice),
        "finish_reason": choice.finish_reason,
        "logprobs": [_token_to_dict(token) for token in choice.logprobs] or None,
    }


def _tool_calls_to_list(choice: Choice) -> list[dict[str, Any]]:
    not_run = {"result": None, "is_error": None, "allowed_by": None}
    return [{"id": call.id, "name": call.name, "arguments": call.arguments, **not_run} for call in choice.tool_calls]


def _citation_to_dict(citation: events.Citation) -> dict[str, Any]:
    return {"url": citation.url, "title": citation.title, "start": citation.start, "end": citation.end}


def _file_to_dict(file: events.CitedFile) -> dict[str, Any]:
    return {"kind": file.kind, "path": None, "id": file.id, "name": file.name, "container_id": file.container_id}


def _token_to_dict(token: events.TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": list(token.top)}


def _usage_to_dict(usage: events.Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "details": dict(usage.details),
    }


def _timing_to_dict(answer: Answer) -> dict[str, float | None]:
    values = {
        "first_token_s": answer.timing.first_token_s,
        "total_s": answer.timing.total_s,
        "tokens_per_second": answer.tokens_per_second,
    }
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _error_to_dict(error: AimlError | None, completion: Completion) -> dict[str, Any] | None:
    if error is None:
        return None
    reported = completion.reported_error
    return {
        "message": error.message,
        "type": error.details.get("type") or (reported and reported.type) or error.name,
        "code": error.details.get("code"),
        "status": error.details.get("status"),
        "hint": error.hint or None,
        "exit_code": error.exit_code,
    }
