"""Build the request body of POST /v1/chat/completions, and parse its stream and its JSON answer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from aiml_cli.api.error_response import parse_error
from aiml_cli.api.json_values import as_list, as_plain_number, as_str, require_dict, require_list, require_str
from aiml_cli.api.message_conversion import to_chat_messages
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_images, parse_logprobs, parse_usage
from aiml_cli.api.sse import SseEvent, collect_events, parse_sse_events
from aiml_cli.api.stream_events import (
    AudioDelta,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    ToolCallDelta,
)
from aiml_cli.settings.options import Options

NAME = "chat"
PATH = "/chat/completions"


def build_body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Build the request body."""
    messages = to_chat_messages(conversation)
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    options = replace(
        options,
        # The API accepts include_usage only with a stream, and top_logprobs only with logprobs.
        include_usage=options.include_usage if options.stream else None,
        logprobs=True if options.logprobs is None and options.top_logprobs is not None else options.logprobs,
    )
    if options.tools is not None or options.tool_choice is not None or options.response_format is not None:
        options = _convert_formats(options)
    body = apply_options({"model": options.model, "messages": messages}, NAME, options)
    return apply_overrides(body, options.option_)


def _convert_formats(options: Options) -> Options:
    from aiml_cli.api import tool_formats  # few requests have tools or an answer format

    return replace(
        options,
        tools=tool_formats.convert_tools(options.tools, tool_formats.to_chat_tool),
        tool_choice=tool_formats.to_chat_choice(options.tool_choice),
        response_format=tool_formats.to_chat_format(options.response_format),
    )


def parse_stream(stream: Iterable[list[SseEvent]]) -> Iterator[EventBatch]:
    """Yield the events of a stream, one batch for each network read."""
    return parse_sse_events(stream, _ChunkParser().feed, finish_at_done=True)


def parse_json(answer: Any) -> EventBatch:
    """Return the events of a JSON answer."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not choices and (error := parse_error(answer)):
        return [error]
    if not choices or not isinstance(choices, list):
        return [ErrorEvent("the server's answer is no chat completion: it holds no choices")]
    if all(isinstance(each, dict) and not (each.get("message") or each.get("finish_reason")) for each in choices):
        return [ErrorEvent("the server's answer is no chat completion: its choices hold no message")]

    def fill(batch: EventBatch) -> None:
        _ChunkParser().feed("", {**answer, "choices": [_message_to_delta(choice) for choice in choices]}, batch)
        batch.append(Finished())

    return collect_events(fill)


def _message_to_delta(choice: Any) -> dict[str, Any]:
    """Convert a complete choice to a single delta, which ends the choice even if it has no finish_reason."""
    choice = require_dict(choice)
    return {"finish_reason": "", **choice, "delta": choice.get("message"), "is_complete": True}


class _ChunkParser:
    """A parser of chunks, with what it must know of earlier ones."""

    def __init__(self) -> None:
        self._has_started = False
        self._calls: dict[int, ToolCallAssembler] = {}
        self._sources = SourceCollector()

    def feed(self, name: str, chunk: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a chunk to the batch."""
        choices = chunk.get("choices")
        if not self._has_started and (chunk.get("id") or chunk.get("model")):
            self._has_started = True
            response_id, model = as_str(chunk.get("id")) or None, as_str(chunk.get("model")) or None
            batch.append(ResponseStarted(response_id, model, as_plain_number(chunk.get("created"))))
        for position, choice in enumerate(require_list(choices)):
            self._feed_choice(position, require_dict(choice), batch)
        if "usage" in chunk or "meta" in chunk:
            batch.extend(parse_usage(chunk, "prompt", "completion"))
        if "citations" in chunk or "search_results" in chunk:
            batch.extend(self._sources.add_lists(chunk))
        if "error" in chunk or name == "error" or not choices:
            error = parse_error(chunk) or (parse_error({"error": chunk}) if name == "error" else None)
            batch.extend([error] if error else [])

    def _feed_choice(self, position: int, choice: dict[str, Any], batch: EventBatch) -> None:
        index = value if isinstance(value := choice.get("index"), int) else position
        delta = choice.get("delta")
        if delta is not None or choice.get("message"):
            self._feed_delta(require_dict(delta if delta is not None else choice["message"]), index, batch)
        if choice.get("logprobs"):
            batch.extend(parse_logprobs(require_list(require_dict(choice["logprobs"]).get("content")), index))
        reason = choice.get("finish_reason")
        if reason or (reason == "" and "is_complete" in choice):
            batch.append(Finished(require_str(reason), index))

    def _feed_delta(self, delta: dict[str, Any], index: int, batch: EventBatch) -> None:
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            self._feed_other_fields(delta, index, batch)
        if isinstance(content, str):
            if content:
                batch.append(TextDelta(content, index))
        elif content is not None:
            batch.extend(_parse_parts(require_list(content), index))

    def _feed_other_fields(self, delta: dict[str, Any], index: int, batch: EventBatch) -> None:
        """Add all but the text; reasoning first, because it precedes the text."""
        if reasoning := _find_reasoning(delta):
            batch.append(ReasoningDelta(reasoning, index))
        if delta.get("refusal"):
            batch.append(RefusalDelta(require_str(delta["refusal"]), index))
        if delta.get("tool_calls") or delta.get("function_call"):
            calls = self._calls.setdefault(index, ToolCallAssembler())
            batch.extend(calls.feed(delta, index))
        if delta.get("annotations"):
            batch.extend(self._sources.add_annotations(as_list(delta["annotations"]), index))
        if delta.get("audio"):
            batch.extend(_parse_audio(require_dict(delta["audio"]), index))
        if delta.get("images"):
            batch.extend(_parse_image_parts(require_list(delta["images"]), index))


def _find_reasoning(delta: Mapping[str, Any]) -> str:
    """Return the reasoning under one of its three names; some servers send it under two at once."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), str) and delta[name]:
            return str(delta[name])
    details = [require_dict(detail) for detail in require_list(delta.get("reasoning_details"))]
    return "".join(require_str(detail.get("text") or detail.get("summary")) for detail in details)


def _parse_parts(content: list[Any], index: int) -> Iterator[Event]:
    for part in content:
        if isinstance(part, str):
            yield TextDelta(part, index)
            continue
        part = require_dict(part)  # noqa: PLW2901 - the same part, its type now known
        match part.get("type"):
            case "thinking" | "reasoning":
                texts = _parse_texts(part.get("thinking") or part.get("text"))
                yield from (ReasoningDelta(text, index) for text in texts)
            case "refusal":
                yield RefusalDelta(require_str(part.get("refusal")), index)
            case "image_url":
                yield from _parse_image_parts([part], index)
            case _:
                yield TextDelta(require_str(part.get("text")), index)


def _parse_texts(content: Any) -> Iterator[str]:
    for part in [content] if isinstance(content, str) else require_list(content):
        yield part if isinstance(part, str) else require_str(require_dict(part).get("text"))


def _parse_image_parts(parts: list[Any], index: int) -> Iterator[Event]:
    """Yield the images that OpenRouter's models send as data URLs."""
    urls = [part.get("image_url") for part in map(require_dict, parts)]
    images = parse_images([url.get("url") if isinstance(url, dict) else url for url in urls])
    yield from (image._replace(choice=index) for image in images)


def _parse_audio(audio: dict[str, Any], index: int) -> Iterator[AudioDelta]:
    if audio.get("data") or audio.get("transcript"):
        audio_id, data = require_str(audio.get("id")), require_str(audio.get("data"))
        yield AudioDelta(audio_id, data, require_str(audio.get("transcript")), index)


class ToolCallAssembler:
    """The tool calls of one choice, and the assignment of deltas to them."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, str]] = []  # index and id of each call
        self._names: dict[int, str] = {}

    def feed(self, delta: dict[str, Any], choice: int) -> list[ToolCallDelta]:
        """Return the pieces of calls in a delta; the older `function_call` is a call without an id."""
        legacy = require_dict(delta.get("function_call"))
        pieces = [_parse_piece(require_dict(call)) for call in require_list(delta.get("tool_calls"))]
        if legacy.get("name") or legacy.get("arguments"):
            pieces.append((None, "", require_str(legacy.get("name")), require_str(legacy.get("arguments"))))
        used: set[int] = set()
        return [
            ToolCallDelta(self._assign_slot(index, call_id, name, used), call_id, name, arguments, choice)
            for index, call_id, name, arguments in pieces
        ]

    def _assign_slot(self, index: Any, call_id: str, name: str, used: set[int]) -> int:
        """Return the slot of a piece's call: the latest with its id, else with its index, else the last.

        A delta never has two pieces of one call: without index and id, a piece of a `used` slot is a new call.
        """
        slot = self._find_slot(index, call_id, name)
        if slot is None or (slot in used and index is None and not call_id):
            self._slots.append((index, call_id))
            slot = len(self._slots) - 1
        elif call_id and not self._slots[slot][1]:
            self._slots[slot] = (index, call_id)
        used.add(slot)
        self._names[slot] = self._names.get(slot) or name
        return slot

    def _find_slot(self, index: Any, call_id: str, name: str) -> int | None:
        latest_first = range(len(self._slots) - 1, -1, -1)
        if call_id and (matches := [slot for slot in latest_first if self._slots[slot][1] == call_id]):
            return matches[0]
        for slot in latest_first:
            slot_index, slot_id = self._slots[slot]
            if (index is None or slot_index == index) and not (call_id and slot_id):
                is_new = index is None and name and self._names.get(slot) not in ("", name)
                return None if is_new else slot
        return None


def _parse_piece(call: dict[str, Any]) -> tuple[Any, str, str, str]:
    """Return index, id, name and arguments; some servers send the arguments as an object."""
    function, custom = require_dict(call.get("function")), require_dict(call.get("custom"))
    if custom.get("name"):
        function = {"name": custom["name"], "arguments": custom.get("input")}
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return call.get("index"), require_str(call.get("id")), require_str(function.get("name")), require_str(arguments)
