"""Build the request body of POST /v1/responses, and parse its stream and its JSON answer."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from aiml_cli.api import response_items, tool_formats
from aiml_cli.api.error_response import parse_error
from aiml_cli.api.json_values import as_list, as_plain_number, require_dict, require_list, require_str
from aiml_cli.api.message_conversion import to_input_items
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_tool_item, parse_usage
from aiml_cli.api.sse import SseEvent, collect_events, parse_sse_events
from aiml_cli.api.stream_events import (
    AudioDelta,
    ErrorEvent,
    Event,
    EventBatch,
    Finished,
    OutputItems,
    ReasoningDelta,
    RefusalDelta,
    ResponseStarted,
    TextDelta,
    ToolCallDelta,
)
from aiml_cli.settings.options import Options

NAME = "responses"
PATH = "/responses"
# The types of tool calls, and the property that has their arguments.
CALL_ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}


def build_body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Build the request body."""
    options = replace(
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
    """Yield the events of a stream, one batch for each network read."""
    return parse_sse_events(stream, _EventParser().feed, finish_at_done=False)


def parse_json(answer: Any) -> EventBatch:
    """Return the events of a JSON answer; some background responses contain the events of a stream."""
    streamed = _list_streamed_events(answer)
    if not isinstance(answer, dict) or not (streamed or _is_response(answer)):
        return [parse_error(answer) or ErrorEvent("the server's answer is no response: it holds no output")]

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
    """A parser of events, with what it must know of earlier ones.

    It reads a complete item or response only for what no delta had: the two may differ, and what was already
    shown cannot change.
    """

    def __init__(self) -> None:
        self._has_started = False
        self._seen: set[tuple[Any, type]] = set()  # names of items, with the classes of their deltas
        self._latest: tuple[Any, Any, type] | None = None
        self._part = 0
        self._slots: dict[str, int] = {}
        self._call_ids: dict[int, str] = {}
        self._slots_with_arguments: set[int] = set()
        self._sources = SourceCollector()
        self._tool_events: list[Event] = []

    def feed(self, name: str, event: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a server-sent event to the batch; its type is in the JSON. Unknown types are ignored."""
        event_type = event.get("type") or name
        match event_type:
            case "response.output_text.delta":
                self._add_delta(TextDelta(require_str(event.get("delta"))), event, batch)
                if event.get("logprobs"):
                    batch.extend(response_items.parse_logprobs(require_list(event["logprobs"])))
            case "response.refusal.delta":
                self._add_delta(RefusalDelta(require_str(event.get("delta"))), event, batch)
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                self._add_delta(ReasoningDelta(require_str(event.get("delta")), part=self._part), event, batch)
            case "response.reasoning_summary_part.added":
                self._part += 1
            case "response.output_text.annotation.added":
                batch.extend(self._sources.add_annotations([event.get("annotation")]))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._add_arguments(event, batch)
            case "response.audio.delta" | "response.output_audio.delta":
                self._add_delta(AudioDelta(data=require_str(event.get("delta"))), event, batch)
            case "response.audio.transcript.delta" | "response.output_audio_transcript.delta":
                self._add_delta(AudioDelta(transcript=require_str(event.get("delta"))), event, batch)
            case _:
                self._feed_complete(event_type, event, batch)

    def _feed_complete(self, event_type: Any, event: dict[str, Any], batch: EventBatch) -> None:
        """Add the events of a complete item or response, or of an error."""
        match event_type:
            case "response.output_item.added":
                item = require_dict(event.get("item"))
                self._part += item.get("type") == "reasoning"
                self._add_call(item, event, batch)
            case "response.output_item.done":
                self._finish_item(require_dict(event.get("item")), event, batch)
            case "response.created" | "response.in_progress" | "response.queued":
                self._start(require_dict(event.get("response")), batch)
            case "response.completed" | "response.incomplete" | "response.failed":
                response = require_dict(event.get("response"))
                self.finish({**response, "status": response.get("status") or event_type.rpartition(".")[2]}, batch)
            case _ if event_type in (None, "", "error") or "error" in event:
                error = parse_error(event) or (parse_error({"error": event}) if event_type else None)
                if error or event_type:
                    batch.append(error or ErrorEvent("the server reported an error without words"))

    def finish(self, response: dict[str, Any], batch: EventBatch) -> None:
        """Add what a complete response has and no earlier event had, and how it ended."""
        self._start(response, batch)
        self._add_missing_items(response, batch)
        if output := [item for item in require_list(response.get("output")) if isinstance(item, dict)]:
            batch.append(OutputItems(tuple(output), is_final=True))
        batch.extend(parse_usage(response, "input", "output"))
        status = require_str(response.get("status")) or None
        if status == "failed" or (response.get("error") and not status):
            batch.append(parse_error(response) or ErrorEvent("the server reports that the response failed"))
            return
        reason = require_dict(response.get("incomplete_details")).get("reason")
        batch += [Finished(require_str(reason or status) or None, 0, status), Finished(status=status)]

    def _start(self, response: dict[str, Any], batch: EventBatch) -> None:
        if not self._has_started and response.get("id"):
            self._has_started = True
            created = as_plain_number(response.get("created_at"))
            batch.append(ResponseStarted(require_str(response["id"]), response.get("model") or None, created))

    def _add_missing_items(self, response: dict[str, Any], batch: EventBatch) -> None:
        seen_classes = {delta_class for _, delta_class in self._seen}
        for index, item in enumerate(map(require_dict, require_list(response.get("output")))):
            position = {"output_index": index}
            for delta in response_items.parse_content(item):
                if type(delta) not in seen_classes:
                    self._add_part(delta, position, batch)
            batch.extend(() if TextDelta in seen_classes else response_items.parse_item_logprobs(item))
            self._add_call(item, position, batch)
            batch.extend(self._sources.add_annotations(response_items.list_annotations(item)))
            batch.extend(event for event in parse_tool_item(item) if event not in self._tool_events)

    def _add_delta(self, delta: response_items.ContentDelta, event: dict[str, Any], batch: EventBatch) -> None:
        if not (delta.data or delta.transcript if isinstance(delta, AudioDelta) else delta.text):
            return
        batch.append(delta)
        latest = (event.get("item_id"), event.get("output_index"), type(delta))
        if latest != self._latest:
            self._latest = latest
            self._seen.update((name, type(delta)) for name in _list_item_names(event))

    def _add_part(self, delta: response_items.ContentDelta, event: dict[str, Any], batch: EventBatch) -> None:
        self._part += 1
        self._add_delta(delta._replace(part=self._part) if isinstance(delta, ReasoningDelta) else delta, event, batch)

    def _is_seen(self, delta: response_items.ContentDelta, event: dict[str, Any]) -> bool:
        """True if the event's item, by its id or its index, had deltas of this class."""
        return any((name, type(delta)) in self._seen for name in _list_item_names(event))

    def _finish_item(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        position = {"item_id": item.get("id"), **event}
        # A list, because adding the first delta marks its class as seen.
        for delta in [each for each in response_items.parse_content(item) if not self._is_seen(each, position)]:
            self._add_part(delta, position, batch)
        self._add_call(item, event, batch)
        batch.extend(self._sources.add_annotations(response_items.list_annotations(item)))
        tool_events = list(parse_tool_item(item))
        self._tool_events += tool_events
        batch += tool_events
        if item.get("type"):
            batch.append(OutputItems((item,)))

    def _add_call(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        """Start a tool call, or add the arguments that no delta had."""
        property_ = CALL_ARGUMENTS.get(require_str(item.get("type")))
        if property_ is None:
            return
        slot, is_known = self._assign_slot(item, event)
        arguments = "" if slot in self._slots_with_arguments else require_str(item.get(property_))
        if arguments:
            self._slots_with_arguments.add(slot)
        if not is_known:
            call_id = require_str(item.get("call_id") or item.get("id"))
            batch.append(ToolCallDelta(slot, call_id, require_str(item.get("name")), arguments))
        elif arguments:
            batch.append(ToolCallDelta(slot, arguments=arguments))

    def _add_arguments(self, event: dict[str, Any], batch: EventBatch) -> None:
        """Add arguments to the call that the event names, or to the latest if it names no known call."""
        names = _list_call_names({"id": event.get("item_id")}, event)
        latest = max(self._slots.values(), default=0)
        slot = next((self._slots[name] for name in names if name in self._slots), latest)
        self._slots_with_arguments.add(slot)
        batch.append(ToolCallDelta(slot, arguments=require_str(event.get("delta"))))

    def _assign_slot(self, item: dict[str, Any], event: dict[str, Any]) -> tuple[int, bool]:
        """Return the slot of a call, by its call id, item id or output index, and whether it was known.

        A new call id is a new call, even at a known index: some servers send the same index for every item.
        """
        names, call_id = _list_call_names(item, event), require_str(item.get("call_id"))
        slot = next((self._slots[name] for name in names if name in self._slots), None)
        if slot is not None and call_id and self._call_ids[slot] not in ("", call_id):
            slot = None
        is_known = slot is not None
        slot = len(self._call_ids) if slot is None else slot
        self._slots.update((name, slot) for name in names)
        self._call_ids[slot] = call_id or self._call_ids.get(slot, "")
        return slot, is_known


def _list_call_names(item: dict[str, Any], event: dict[str, Any]) -> list[str]:
    """List the names that a call may be known by, the most reliable first."""
    index = event.get("output_index")
    names = [f"{name} {require_str(item[name])}" for name in ("call_id", "id") if item.get(name)]
    return names + ([f"index {index}"] if isinstance(index, int) and index >= 0 else [])


def _list_item_names(event: dict[str, Any]) -> list[Any]:
    """List the names of an event's item: its id and its index; None if it has neither."""
    index = event.get("output_index")
    names = [require_str(event.get("item_id")) or None, index if isinstance(index, int) and index >= 0 else None]
    return [name for name in names if name is not None] or [None]
