"""Build the request body of POST /v1/responses, and parse its stream and its JSON answer."""

from collections.abc import Iterable, Iterator
from typing import Any

from aiml_cli.api import response_items, tool_formats
from aiml_cli.api.finish_reasons import choose_worse
from aiml_cli.api.json_values import (
    MalformedError,
    as_dict,
    as_list,
    as_number,
    as_str,
    require_dict,
    require_list,
    require_str,
)
from aiml_cli.api.message_conversion import to_input_items
from aiml_cli.api.messages import Conversation
from aiml_cli.api.output_merger import MAX_ITEMS, Addition, OutputMerger, Position, WholePart, parse_part, parse_parts
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_tool_item, parse_usage
from aiml_cli.api.sse import SseEvent, collect_events, find_error, parse_sse_events
from aiml_cli.api.stream_events import (
    AudioDelta,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    OutputItems,
    PartialText,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
)
from aiml_cli.api.tool_calls import CallMerger, to_arguments
from aiml_cli.settings.options import Options, change_options

NAME = "responses"
PATH = "/responses"
# The events that end a response, and the status that they mean.
TERMINAL_EVENTS = {
    **{name: name for name in ("completed", "incomplete", "failed", "cancelled", "expired")},
    "done": "completed",
    "canceled": "cancelled",
}
# The events with a complete part.
PART_EVENTS = frozenset(
    f"{name}.done"
    for name in (
        "output_text",
        "refusal",
        "content_part",
        "reasoning",
        "reasoning_text",
        "reasoning_part",
        "reasoning_summary",
        "reasoning_summary_text",
        "reasoning_summary_part",
    )
)


def build_body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Build the request body."""
    options = change_options(
        options,
        tools=_build_tools(options),
        tool_choice=tool_formats.to_responses_choice(options.tool_choice),
        response_format=tool_formats.to_responses_format(options.response_format),
    )
    body = apply_options({"model": options.model, "input": to_input_items(conversation)}, NAME, options)
    return apply_overrides(body, options.option_)


def _build_tools(options: Options) -> list[dict[str, Any]] | None:
    functions = tool_formats.convert_tools(options.tools, tool_formats.to_responses_tool)
    hosted = tool_formats.build_hosted_tools(options)
    return None if functions is None and not hosted else [*(functions or ()), *hosted]


def parse_stream(stream: Iterable[list[SseEvent]]) -> Iterator[EventBatch]:
    """Yield the events of a stream, one batch for each network read, up to the event that ends the response."""
    return parse_sse_events(stream, _EventParser().feed, finish_at_done=False)


def parse_json(answer: Any) -> EventBatch:
    """Return the events of a JSON answer; some background responses contain the events of a stream."""
    streamed = _list_streamed_events(answer)
    last = as_dict(as_dict(answer).get("response"))
    if not streamed and not _is_response(as_dict(answer)) and _is_response(last):
        answer = last  # it is the last event of a stream
    if not isinstance(answer, dict) or not (streamed or _is_response(answer)):
        return [find_error(answer) or ErrorEvent("the server's answer is not a response: it has no output")]

    def fill(batch: EventBatch) -> None:
        parser = _EventParser()
        for event in streamed:
            parser.feed("", event, batch)
        if _is_response(answer) and not any(isinstance(event, Finished | ErrorEvent) for event in batch):
            parser.finish(answer, batch)

    return collect_events(fill)


def _list_streamed_events(answer: Any) -> list[dict[str, Any]]:
    events = answer.get("stream") if isinstance(answer, dict) and not answer.get("output") else None
    return [event for event in as_list(events) if isinstance(event, dict)]


def _is_response(answer: dict[str, Any]) -> bool:
    return "output" in answer or (answer.get("object") == "response" and bool(answer.get("status")))


class _EventParser:
    """A parser of events that keeps the state of the stream."""

    def __init__(self) -> None:
        self._started = ResponseStarted()
        self._merger = OutputMerger()
        self._calls = CallMerger()
        self._sources = SourceCollector()
        self._tool_events: set[Event] = set()
        self._has_audio = False
        # The ids in the latest text delta, the position that they refer to, and the text there.
        self._text_names: tuple[Any, ...] = ()
        self._text_position: tuple[Any, ...] = ()
        self._text = PartialText()

    def feed(self, name: str, event: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a server-sent event to the batch; its type is in the JSON. Unknown types are ignored."""
        event_type = as_str(event.get("type")) or name
        if event_type == "response.output_text.delta":
            self._add_text(event, batch)
            return
        match event_type:
            case "response.refusal.delta":
                batch += self._merger.add(RefusalDelta, require_str(event.get("delta")), _message_at(event))
            case "response.reasoning_text.delta" | "response.reasoning.delta":
                batch += self._merger.add(ReasoningDelta, as_str(event.get("delta")), _reasoning_at(event, "content"))
            case "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta":
                batch += self._merger.add(ReasoningDelta, as_str(event.get("delta")), _reasoning_at(event, "summary"))
            case "response.output_text.annotation.added":
                batch += self._sources.add_annotations([event.get("annotation")])
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                batch += self._calls.add(event, require_str(event.get("delta")))
            case "response.audio.delta" | "response.output_audio.delta":
                self._add_audio(AudioDelta(data=as_str(event.get("delta"))), batch)
            case "response.audio.transcript.delta" | "response.output_audio_transcript.delta":
                self._add_audio(AudioDelta(transcript=as_str(event.get("delta"))), batch)
            case _:
                is_error = name.casefold() == "error" and not event_type.startswith("response.")
                self._feed_whole("error" if is_error else event_type, event, batch)

    def _feed_whole(self, event_type: str, event: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a part, an item or a response that begins or is complete, or of an error."""
        name = event_type.removeprefix("response.")
        match name:
            case "content_part.added" | "reasoning_summary_part.added":
                position, parts = _parse_part_event(name, event)
                self._merger.begin_part(position, parts)
            case "output_item.added":
                self._begin_item(_read_item(as_dict(event.get("item"))), event, batch)
            case "output_item.done":
                self._finish_item(_read_item(as_dict(event.get("item"))), event, batch)
            case "function_call_arguments.done" | "custom_tool_call_input.done":
                whole = event.get("arguments") if "arguments" in event else event.get("input")
                batch += self._calls.complete(event, to_arguments(whole))
            case "created" | "in_progress" | "queued":
                self._start(as_dict(event.get("response")), batch)
            case _ if name in TERMINAL_EVENTS:
                response = require_dict(event.get("response"))
                status = choose_worse(as_str(response.get("status")), TERMINAL_EVENTS[name])
                self.finish({**response, "status": status}, batch)
            case _ if name in PART_EVENTS:
                position, parts = _parse_part_event(name, event)
                for part in parts:
                    self._show(self._merger.complete_part(position, part, name), batch)
            case _:
                _add_error(event_type, event, batch)

    def finish(self, response: dict[str, Any], batch: EventBatch) -> None:
        """Add everything in a complete response that no earlier event contained, and how it ended."""
        self._start(response, batch)
        self._complete_output(response, batch)
        if output := [item for item in as_list(response.get("output")) if isinstance(item, dict)]:
            batch.append(OutputItems(tuple(output), is_final=True))
        batch.extend(parse_usage(response))
        status = as_str(response.get("status")) or None
        error = find_error({"error": response["error"]}) if response.get("error") else None
        if error or status == "failed":
            batch.append(error or ErrorEvent("the server reports that the response failed"))
            return
        reason = as_str(as_dict(response.get("incomplete_details")).get("reason"))
        batch += [Finished(reason or status, 0, status), Finished(status=status)]

    def _start(self, response: dict[str, Any], batch: EventBatch) -> None:
        """Report the id, the model and the time as soon as they are known; some servers send them last."""
        old = self._started
        if None not in old:
            return
        created = old.created or as_number(response.get("created_at")) or None
        new = ResponseStarted(
            old.id or as_str(response.get("id")) or None, old.model or as_str(response.get("model")) or None, created
        )
        if new != old:
            self._started = new
            batch.append(new)

    def _add_text(self, event: dict[str, Any], batch: EventBatch) -> None:
        logprobs, text = event.get("logprobs"), require_str(event.get("delta"))
        names = event.get("item_id"), event.get("output_index"), event.get("content_index")
        if text and names == self._text_names and self._merger.latest is self._text_position and not logprobs:
            self._text.add(text)  # the fast path
            batch.append(TextDelta(text))
            return
        batch += self._merger.add(TextDelta, text, _message_at(event), has_logprobs=bool(logprobs))
        self._text_names, self._text_position, self._text = names, self._merger.latest, self._merger.latest_text
        if logprobs:
            batch += response_items.parse_logprobs(logprobs)

    def _add_audio(self, delta: AudioDelta, batch: EventBatch) -> None:
        if delta.data or delta.transcript:
            self._has_audio = True
            batch.append(delta)

    def _begin_item(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        kind = as_str(item.get("type"))
        if kind in ("message", "reasoning"):
            self._merger.begin_item(_item_at(kind, item, event), list(parse_parts(item)))
        batch += self._calls.begin(item, event)

    def _finish_item(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        kind = as_str(item.get("type"))
        if kind in ("message", "reasoning"):
            self._show(self._merger.complete_item(_item_at(kind, item, event), list(parse_parts(item))), batch)
        self._add_other_content(item, event, batch)
        tool_events = list(parse_tool_item(item))
        self._tool_events.update(tool_events)
        batch += tool_events
        if item.get("type"):
            batch.append(OutputItems((item,)))

    def _complete_output(self, response: dict[str, Any], batch: EventBatch) -> None:
        items = [_read_item(require_dict(item)) for item in require_list(response.get("output"))]
        if not items and as_str(response.get("output_text")):
            items = [{"type": "message", "content": response["output_text"]}]
        if len(items) > MAX_ITEMS:
            raise MalformedError(f"more than {MAX_ITEMS} output items")
        positions = [{"output_index": number} for number in range(len(items))]
        texts = [
            (_item_at(kind, item, position), list(parse_parts(item)))
            for item, position in zip(items, positions, strict=True)
            if (kind := as_str(item.get("type"))) in ("message", "reasoning")
        ]
        self._show(self._merger.complete_response(texts), batch)
        self._show(self._merger.finish(), batch)
        for item, position in zip(items, positions, strict=True):
            self._add_other_content(item, position, batch, is_final=True)
            batch.extend(event for event in parse_tool_item(item) if event not in self._tool_events)

    def _add_other_content(
        self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch, *, is_final: bool = False
    ) -> None:
        """Add the tool call, audio and sources of a complete item; `is_final` if it is part of the complete output."""
        batch += self._calls.complete_item(item, event, is_final=is_final)
        if not self._has_audio:
            batch += response_items.parse_audio(item)
        batch += self._sources.add_annotations(response_items.list_annotations(item))

    def _show(self, additions: Iterable[Addition], batch: EventBatch) -> None:
        for addition in additions:
            if addition.delta.text:
                batch.append(addition.delta)
            batch += response_items.parse_logprobs(addition.logprobs)


def _add_error(event_type: str, event: dict[str, Any], batch: EventBatch) -> None:
    """Add the error that an event reports if it has no type, an error type, an HTTP status or an `error` field.

    The type may be that of the error itself. Any other event is skipped, even if it has a message.
    """
    is_error = event_type.casefold() in ("error", "response.error")
    if not is_error and event_type.startswith("response.") and not event.get("error"):
        return
    error = find_error(event) or (find_error({"error": event}) if is_error else None)
    is_typed = event_type.casefold().endswith(("error", "exception")) or event.get("object") == "error"
    if error and not (event_type == "" or is_typed or error.status or event.get("error")):
        return
    if error or is_error:
        batch.append(error or ErrorEvent("the server reported an error without a message"))


def _read_item(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item with its type: some servers leave out the type of a message, or send a part instead of an item."""
    kind = as_str(item.get("type"))
    if kind in ("output_text", "text", "refusal"):
        return {**item, "type": "message", "content": [item]}
    return item if kind or not item.get("content") else {**item, "type": "message"}


def _message_at(event: dict[str, Any]) -> Position:
    number = event.get("content_index")
    part = ("content", number) if type(number) is int else None
    return Position("message", as_str(event.get("item_id")), _get_index(event), part)


def _reasoning_at(event: dict[str, Any], name: str) -> Position:
    number = event.get(f"{name}_index")
    part = (name, number) if type(number) is int else None
    return Position("reasoning", as_str(event.get("item_id")), _get_index(event), part)


def _item_at(kind: str, item: dict[str, Any], event: dict[str, Any]) -> Position:
    return Position(kind, as_str(item.get("id")) or as_str(event.get("item_id")), _get_index(event))


def _get_index(event: dict[str, Any]) -> int | None:
    index = event.get("output_index")
    return index if type(index) is int and index >= 0 else None


def _parse_part_event(name: str, event: dict[str, Any]) -> tuple[Position, list[WholePart]]:
    """Return the position and the text of an event about a part that begins or is complete."""
    part = {**as_dict(event.get("part"))}
    for key in ("text", "refusal", "logprobs"):
        if event.get(key):
            part[key] = event[key]
    if name.startswith("reasoning") or as_str(part.get("type")).startswith(("reasoning", "summary")):
        part["type"] = "reasoning"
        position = _reasoning_at(event, "summary" if "summary" in name else "content")
    else:
        position = _message_at(event)
    return position, [whole._replace(part=position.part or whole.part) for whole in parse_part(part, 0)]
