"""Speak the dialect of POST /v1/chat/completions: its body, its stream, its JSON answer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from aiml_cli.api import tool_formats
from aiml_cli.api.error_response import parse_error
from aiml_cli.api.lenient_json import MalformedError, as_list, require_dict, require_list, require_number, require_str
from aiml_cli.api.message_conversion import to_chat_messages
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_images, parse_logprobs, parse_usage
from aiml_cli.api.sse import SseEvent, SurrogateJoiner, malformed_event, parse_sse_events
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
    """Make the request's body."""
    messages = to_chat_messages(conversation)
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    asked = replace(
        options,
        # Usage of a stream must be asked for, and only of a stream; alternatives come only with logprobs.
        include_usage=options.include_usage if options.stream else None,
        logprobs=True if options.logprobs is None and options.top_logprobs is not None else options.logprobs,
        tools=tool_formats.convert_tools(options.tools, tool_formats.to_chat_tool),
        tool_choice=tool_formats.to_chat_choice(options.tool_choice),
        response_format=tool_formats.to_chat_format(options.response_format),
    )
    return apply_overrides(apply_options({"model": options.model, "messages": messages}, NAME, asked), options.option_)


def parse_stream(stream: Iterable[list[SseEvent]]) -> Iterator[EventBatch]:
    """Turn a stream into events, a batch for each network read."""
    return parse_sse_events(stream, _Chunks().take, done_is_whole=True)


def parse_json(found: Any) -> EventBatch:
    """Turn a JSON answer into events."""
    choices = found.get("choices") if isinstance(found, dict) else None
    if not choices and (fault := parse_error(found)):
        return [fault]
    if not choices or not isinstance(choices, list):
        return [ErrorEvent("the server's answer is no chat completion: it holds no choices")]
    if all(
        isinstance(choice, dict) and not (choice.get("message") or choice.get("finish_reason")) for choice in choices
    ):
        return [ErrorEvent("the server's answer is no chat completion: its choices hold no message")]
    batch: EventBatch = []
    try:
        _Chunks().take("", {**found, "choices": [_as_delta(choice) for choice in choices]}, batch)
        batch.append(Finished())
    except MalformedError as wrong:
        batch.append(malformed_event(wrong))
    halves = SurrogateJoiner()
    return [*halves.join(batch), *halves.flush()]


def _as_delta(choice: Any) -> dict[str, Any]:
    """See a whole choice as one delta; a JSON answer ends each choice, whether it says why or not."""
    choice = require_dict(choice)
    return {"finish_reason": "", **choice, "delta": choice.get("message"), "whole": True}


class _Chunks:
    """Keep what one chunk must know of those before."""

    def __init__(self) -> None:
        self._begun = False
        self._calls: dict[int, ToolCallAssembler] = {}
        self._sources = SourceCollector()

    def take(self, name: str, chunk: dict[str, Any], batch: EventBatch) -> None:
        """Add what a chunk means to the batch."""
        choices = chunk.get("choices")
        if not self._begun and (chunk.get("id") or chunk.get("model")):
            self._begun = True
            batch.append(
                ResponseStarted(_name(chunk.get("id")), _name(chunk.get("model")), require_number(chunk.get("created")))
            )
        for position, choice in enumerate(require_list(choices)):
            self._choice(position, require_dict(choice), batch)
        if "usage" in chunk or "meta" in chunk:
            batch.extend(parse_usage(chunk, "prompt", "completion"))
        if "citations" in chunk or "search_results" in chunk:
            batch.extend(self._sources.add_lists(chunk))
        if "error" in chunk or name == "error" or not choices:
            fault = parse_error(chunk) or (parse_error({"error": chunk}) if name == "error" else None)
            batch.extend([fault] if fault else [])

    def _choice(self, position: int, choice: dict[str, Any], batch: EventBatch) -> None:
        index = choice.get("index", position)
        index = index if isinstance(index, int) else position
        delta = choice.get("delta")
        if delta is not None or choice.get("message"):
            self._delta(require_dict(delta if delta is not None else choice["message"]), index, batch)
        if choice.get("logprobs"):
            batch.extend(parse_logprobs(require_list(require_dict(choice["logprobs"]).get("content")), index))
        reason = choice.get("finish_reason")
        if reason or (reason == "" and "whole" in choice):
            batch.append(Finished(require_str(reason), index))

    def _delta(self, delta: dict[str, Any], index: int, batch: EventBatch) -> None:
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            self._rest_of(delta, index, batch)
        if isinstance(content, str):
            if content:
                batch.append(TextDelta(content, index))
        elif content is not None:
            batch.extend(_parts(require_list(content), index))

    def _rest_of(self, delta: dict[str, Any], index: int, batch: EventBatch) -> None:
        """Read all but the text; reasoning first, because it was thought first."""
        if thought := _thought(delta):
            batch.append(ReasoningDelta(thought, index))
        if delta.get("refusal"):
            batch.append(RefusalDelta(require_str(delta["refusal"]), index))
        if delta.get("tool_calls") or delta.get("function_call"):
            calls = self._calls.setdefault(index, ToolCallAssembler())
            batch.extend(calls.feed(delta, index))
        if delta.get("annotations"):
            batch.extend(self._sources.add_annotations(as_list(delta["annotations"]), index))
        if delta.get("audio"):
            batch.extend(_audio(require_dict(delta["audio"]), index))
        if delta.get("images"):
            batch.extend(_pictures(require_list(delta["images"]), index))


def _thought(delta: Mapping[str, Any]) -> str:
    """Read the reasoning under the three names it has; sent under two at once, it is shown once."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), str) and delta[name]:
            return str(delta[name])
    details = [require_dict(detail) for detail in require_list(delta.get("reasoning_details"))]
    return "".join(require_str(detail.get("text") or detail.get("summary")) for detail in details)


def _name(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None


def _parts(content: list[Any], index: int) -> Iterator[Event]:
    """Read content that came as a list of parts, or of parts and strings."""
    for part in content:
        if isinstance(part, str):
            yield TextDelta(part, index)
            continue
        part = require_dict(part)  # noqa: PLW2901 - the same part, its type now known
        match part.get("type"):
            case "thinking" | "reasoning":
                yield from (ReasoningDelta(text, index) for text in _texts(part.get("thinking") or part.get("text")))
            case "refusal":
                yield RefusalDelta(require_str(part.get("refusal")), index)
            case "image_url":
                yield from _pictures([part], index)
            case _:
                yield TextDelta(require_str(part.get("text")), index)


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
        return
    for part in require_list(found):
        yield part if isinstance(part, str) else require_str(require_dict(part).get("text"))


def _pictures(parts: list[Any], index: int) -> Iterator[Event]:
    """Read the pictures that OpenRouter's models send as data addresses."""
    addresses = [part.get("image_url") for part in map(require_dict, parts)]
    found = parse_images([address.get("url") if isinstance(address, dict) else address for address in addresses])
    yield from (picture._replace(choice=index) for picture in found)


def _audio(audio: dict[str, Any], index: int) -> Iterator[AudioDelta]:
    if audio.get("data") or audio.get("transcript"):
        yield AudioDelta(
            require_str(audio.get("id")), require_str(audio.get("data")), require_str(audio.get("transcript")), index
        )


class ToolCallAssembler:
    """Keep the calls of one choice."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, str]] = []
        self._named: dict[int, str] = {}

    def feed(self, delta: dict[str, Any], choice: int) -> list[ToolCallDelta]:
        """Read the pieces of a delta; the older `function_call` is a call without an id."""
        old = require_dict(delta.get("function_call"))
        pieces = [_piece(require_dict(call)) for call in require_list(delta.get("tool_calls"))]
        if old.get("name") or old.get("arguments"):
            pieces.append((None, "", require_str(old.get("name")), require_str(old.get("arguments"))))
        taken: set[int] = set()
        return [
            ToolCallDelta(self._slot(index, call_id, name, taken), call_id, name, arguments, choice)
            for index, call_id, name, arguments in pieces
        ]

    def _slot(self, index: Any, call_id: str, name: str, taken: set[int]) -> int:
        """Find the call that a piece belongs to: the latest with its id, else with its index, else the last.

        One delta has no two pieces of a call: what is `taken` and comes without a number is the next call.
        """
        slot = self._known(index, call_id, name)
        if slot is None or (slot in taken and index is None and not call_id):
            self._slots.append((index, call_id))
            slot = len(self._slots) - 1
        elif call_id and not self._slots[slot][1]:
            self._slots[slot] = (index, call_id)
        taken.add(slot)
        self._named[slot] = self._named.get(slot) or name
        return slot

    def _known(self, index: Any, call_id: str, name: str) -> int | None:
        latest = range(len(self._slots) - 1, -1, -1)
        if call_id and any(self._slots[slot][1] == call_id for slot in latest):
            return next(slot for slot in latest if self._slots[slot][1] == call_id)
        for slot in latest:
            other_index, other_id = self._slots[slot]
            if (index is None or other_index == index) and not (call_id and other_id):
                is_new = index is None and name and self._named.get(slot) not in ("", name)
                return None if is_new else slot
        return None


def _piece(call: dict[str, Any]) -> tuple[Any, str, str, str]:
    function, custom = require_dict(call.get("function")), require_dict(call.get("custom"))
    if custom.get("name"):
        function = {"name": custom["name"], "arguments": custom.get("input")}
    arguments = function.get("arguments")
    return call.get("index"), require_str(call.get("id")), require_str(function.get("name")), _as_text(arguments)


def _as_text(arguments: Any) -> str:
    """Give arguments as the text they should have come as; some servers send the object itself."""
    if isinstance(arguments, dict | list):
        return json.dumps(arguments, ensure_ascii=False)
    return require_str(arguments)
