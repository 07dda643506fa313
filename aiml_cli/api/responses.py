"""Speak the dialect of POST /v1/responses: its body, its stream, its JSON answer."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from aiml_cli.api import response_items, tool_formats
from aiml_cli.api.error_response import parse_error
from aiml_cli.api.lenient_json import MalformedError, require_dict, require_list, require_number, require_str
from aiml_cli.api.message_conversion import to_input_items
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides
from aiml_cli.api.response_items import SourceCollector, parse_tool_item, parse_usage
from aiml_cli.api.sse import SseEvent, SurrogateJoiner, malformed_event, parse_sse_events
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
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}


def build_body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Make the request's body."""
    asked = replace(
        options,
        tools=_tools(options),
        tool_choice=tool_formats.to_responses_choice(options.tool_choice),
        response_format=tool_formats.to_responses_format(options.response_format),
    )
    return apply_overrides(
        apply_options({"model": options.model, "input": to_input_items(conversation)}, NAME, asked), options.option_
    )


def _tools(options: Options) -> list[dict[str, Any]] | None:
    """List the functions, then the tools that the server runs."""
    functions, run_there = (
        tool_formats.convert_tools(options.tools, tool_formats.to_responses_tool),
        tool_formats.build_hosted_tools(options),
    )
    return None if functions is None and not run_there else [*(functions or ()), *run_there]


def parse_stream(stream: Iterable[list[SseEvent]]) -> Iterator[EventBatch]:
    """Turn a stream into events, a batch for each network read."""
    return parse_sse_events(stream, _Events().take, done_is_whole=False)


def parse_json(found: Any) -> EventBatch:
    """Turn a JSON answer into events; some that were made in the background hold the events of a stream."""
    streamed = _streamed(found)
    if not isinstance(found, dict) or not (streamed or _is_response(found)):
        return [parse_error(found) or ErrorEvent("the server's answer is no response: it holds no output")]
    batch: EventBatch = []
    events = _Events()
    try:
        for event in streamed:
            events.take("", event, batch)
        if _is_response(found) and not any(isinstance(event, Finished | ErrorEvent) for event in batch):
            events.end(found, batch)
    except MalformedError as wrong:
        batch.append(malformed_event(wrong))
    halves = SurrogateJoiner()
    return [*halves.join(batch), *halves.flush()]


def _streamed(found: Any) -> list[dict[str, Any]]:
    """Give the events that stand in the place of the output."""
    events = found.get("stream") if isinstance(found, dict) and not found.get("output") else None
    return [require_dict(event) for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def _is_response(found: dict[str, Any]) -> bool:
    return "output" in found or (found.get("object") == "response" and bool(found.get("status")))


class _Events:
    """Keep what one event must know of those before.

    A whole item or response is read only for what no delta said: the two may differ, and then what
    was already shown stands.
    """

    def __init__(self) -> None:
        self._begun = False
        self._heard: set[tuple[Any, type]] = set()
        self._latest: tuple[Any, Any, type] | None = None
        self._part = 0
        self._calls: dict[str, int] = {}
        self._call_ids: dict[int, str] = {}
        self._argued: set[int] = set()
        self._sources = SourceCollector()
        self._told: list[Event] = []

    def take(self, name: str, event: dict[str, Any], batch: EventBatch) -> None:
        """Add what an event means to the batch; unknown events mean nothing. The type is in the JSON."""
        kind = event.get("type") or name
        match kind:
            case "response.output_text.delta":
                self._piece(TextDelta(require_str(event.get("delta"))), event, batch)
                if event.get("logprobs"):
                    batch.extend(response_items.parse_logprobs(require_list(event["logprobs"])))
            case "response.refusal.delta":
                self._piece(RefusalDelta(require_str(event.get("delta"))), event, batch)
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                self._piece(ReasoningDelta(require_str(event.get("delta")), part=self._part), event, batch)
            case "response.reasoning_summary_part.added":
                self._part += 1
            case "response.output_text.annotation.added":
                batch.extend(self._sources.add_annotations([event.get("annotation")]))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._arguments(event, batch)
            case "response.audio.delta" | "response.output_audio.delta":
                self._piece(AudioDelta(data=require_str(event.get("delta"))), event, batch)
            case "response.audio.transcript.delta" | "response.output_audio_transcript.delta":
                self._piece(AudioDelta(transcript=require_str(event.get("delta"))), event, batch)
            case _:
                self._whole(kind, event, batch)

    def _whole(self, kind: Any, event: dict[str, Any], batch: EventBatch) -> None:
        match kind:
            case "response.output_item.added":
                self._added(require_dict(event.get("item")), event, batch)
            case "response.output_item.done":
                self._finished(require_dict(event.get("item")), event, batch)
            case "response.created" | "response.in_progress" | "response.queued":
                self._begin(require_dict(event.get("response")), batch)
            case "response.completed" | "response.incomplete" | "response.failed":
                found = require_dict(event.get("response"))
                self.end({**found, "status": found.get("status") or kind.rpartition(".")[2]}, batch)
            case _ if kind in (None, "", "error") or "error" in event:
                fault = parse_error(event) or (parse_error({"error": event}) if kind else None)
                if not fault and not kind:
                    return
                batch.append(fault or ErrorEvent("the server reported an error without words"))

    def end(self, response: dict[str, Any], batch: EventBatch) -> None:
        """Add what a whole response has more than its events, and how it ended."""
        self._begin(response, batch)
        self._rest_of(response, batch)
        if output := [item for item in require_list(response.get("output")) if isinstance(item, dict)]:
            batch.append(OutputItems(tuple(output), whole=True))
        batch.extend(parse_usage(response, "input", "output"))
        status = require_str(response.get("status")) or None
        if status == "failed" or (response.get("error") and not status):
            batch.append(parse_error(response) or ErrorEvent("the server reports that the response failed"))
            return
        reason = require_dict(response.get("incomplete_details")).get("reason")
        batch += [Finished(require_str(reason or status) or None, 0, status), Finished(status=status)]

    def _begin(self, response: dict[str, Any], batch: EventBatch) -> None:
        if not self._begun and response.get("id"):
            self._begun = True
            created = require_number(response.get("created_at"))
            batch.append(ResponseStarted(require_str(response["id"]), response.get("model") or None, created))

    def _rest_of(self, response: dict[str, Any], batch: EventBatch) -> None:
        before = {kind for _, kind in self._heard}
        for position, item in enumerate(map(require_dict, require_list(response.get("output")))):
            place = {"output_index": position}
            for piece in response_items.parse_content(item):
                if type(piece) not in before:
                    self._whole_piece(piece, place, batch)
            batch.extend(() if TextDelta in before else response_items.parse_item_logprobs(item))
            self._call_of(item, place, batch)
            batch.extend(self._sources.add_annotations(response_items.list_annotations(item)))
            batch.extend(event for event in parse_tool_item(item) if event not in self._told)

    def _piece(self, piece: response_items.Piece, event: dict[str, Any], batch: EventBatch) -> None:
        if not (piece.data or piece.transcript if isinstance(piece, AudioDelta) else piece.text):
            return
        batch.append(piece)
        speaker = (event.get("item_id"), event.get("output_index"), type(piece))
        if speaker != self._latest:
            self._latest = speaker
            self._heard.update((name, type(piece)) for name in _names(event))

    def _whole_piece(self, piece: response_items.Piece, event: dict[str, Any], batch: EventBatch) -> None:
        self._part += 1
        self._piece(piece._replace(part=self._part) if isinstance(piece, ReasoningDelta) else piece, event, batch)

    def _has_said(self, kind: type, event: dict[str, Any]) -> bool:
        """Say whether deltas told what an item says; its id may change, and then its place tells."""
        return any((name, kind) in self._heard for name in _names(event))

    def _added(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        self._part += item.get("type") == "reasoning"
        self._call_of(item, event, batch)

    def _finished(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        place = {"item_id": item.get("id"), **event}
        new = [piece for piece in response_items.parse_content(item) if not self._has_said(type(piece), place)]
        for piece in new:
            self._whole_piece(piece, place, batch)
        self._call_of(item, event, batch)
        batch.extend(self._sources.add_annotations(response_items.list_annotations(item)))
        told = list(parse_tool_item(item))
        self._told += told
        batch += told
        if item.get("type"):
            batch.append(OutputItems((item,)))

    def _call_of(self, item: dict[str, Any], event: dict[str, Any], batch: EventBatch) -> None:
        """Open a tool call, or give the arguments that did not come in pieces."""
        property_ = CALLS.get(require_str(item.get("type")))
        if property_ is None:
            return
        slot, known = self._slot(item, event)
        arguments = "" if slot in self._argued else require_str(item.get(property_))
        if arguments:
            self._argued.add(slot)
        if not known:
            call_id = require_str(item.get("call_id") or item.get("id"))
            batch.append(ToolCallDelta(slot, call_id, require_str(item.get("name")), arguments))
        elif arguments:
            batch.append(ToolCallDelta(slot, arguments=arguments))

    def _arguments(self, event: dict[str, Any], batch: EventBatch) -> None:
        """Add to the call that the event names, or to the latest when it names none that is known."""
        names = _call_names({"id": event.get("item_id")}, event)
        latest = max(self._calls.values(), default=0)
        slot = next((self._calls[name] for name in names if name in self._calls), latest)
        self._argued.add(slot)
        batch.append(ToolCallDelta(slot, arguments=require_str(event.get("delta"))))

    def _slot(self, item: dict[str, Any], event: dict[str, Any]) -> tuple[int, bool]:
        """Find a call by its call id, by its item's id, or by its place among the output; say if it was known.

        A place says nothing against a call id that is new: some servers give every item the same place.
        """
        names, call_id = _call_names(item, event), require_str(item.get("call_id"))
        slot = next((self._calls[name] for name in names if name in self._calls), None)
        if slot is not None and call_id and self._call_ids[slot] not in ("", call_id):
            slot = None
        known = slot is not None
        slot = len(self._call_ids) if slot is None else slot
        self._calls.update((name, slot) for name in names)
        self._call_ids[slot] = call_id or self._call_ids.get(slot, "")
        return slot, known


def _call_names(item: dict[str, Any], event: dict[str, Any]) -> list[str]:
    """List what a call may be known by, the surest first."""
    index = event.get("output_index")
    names = [f"{name} {require_str(item[name])}" for name in ("call_id", "id") if item.get(name)]
    return names + ([f"place {index}"] if isinstance(index, int) and index >= 0 else [])


def _names(event: dict[str, Any]) -> list[Any]:
    """List what an event calls its item: an id, a place, or nothing at all."""
    index = event.get("output_index")
    found = [require_str(event.get("item_id")) or None, index if isinstance(index, int) and index >= 0 else None]
    return [name for name in found if name is not None] or [None]
