"""An answer is shown once and completely, whichever deltas, `.done` events, items and final objects a server sends."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.completion_builder import Completion, CompletionBuilder
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.sse import split_events

Item = dict[str, Any]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda text: "w" + text + "w"
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["at", "n", "{}"]), st.text(max_size=4) | st.integers(0, 9), max_size=2
).map(json.dumps)
# What a server may send of a part: pieces of all of it, pieces of its beginning, nothing before a whole.
PARTS_SENT = ("all", "some", "none")


def parse(endpoint: str, events: list[Any]) -> Completion:
    builder = CompletionBuilder()
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    for batch in get_endpoint(endpoint).parse_stream(split_events([data])):
        builder.add(batch)
    return builder.build()


def split(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


# ---- responses


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """Make the output of a response."""
    kinds = draw(
        st.lists(st.sampled_from(["message", "message", "reasoning", "function_call"]), min_size=1, max_size=4)
    )
    return [make_item(draw, kind, number) for number, kind in enumerate(kinds)]


def make_item(draw: st.DrawFn, kind: str, number: int) -> Item:
    item: Item = {"type": kind, "id": f"item_{number}"}
    if kind == "function_call":
        return {**item, "call_id": f"call_{number}", "name": "look", "arguments": draw(ARGUMENTS)}
    # No two parts are equal: the second of two equal parts without a name would be taken for a repetition.
    texts = [
        f"{number}.{position} {text}" for position, text in enumerate(draw(st.lists(TEXTS, min_size=1, max_size=2)))
    ]
    if kind == "reasoning":
        return {**item, "summary": [{"type": "summary_text", "text": text} for text in texts]}
    parts = [
        {"type": "refusal", "refusal": text} if draw(st.integers(0, 5)) == 0 else {"type": "output_text", "text": text}
        for text in texts
    ]
    return {**item, "content": parts}


class Server:
    """A server with random habits: what it repeats about an item, and which ids it leaves out."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        flags = st.booleans()
        self.has_ids, self.has_parts, self.adds_items, self.adds_parts = (draw(flags) for _ in range(4))
        self.indexes = draw(st.sampled_from(["right", "none", "zero"]))
        self.ends_parts = draw(st.sampled_from(["no", "text", "part", "both"]))
        self.ends_items, self.has_output, self.previews, self.renames = (draw(flags) for _ in range(4))

    def place(self, item: Item, number: int) -> Item:
        ids = {"item_id": item["id"]} if self.has_ids else {}
        index = {"right": {"output_index": number}, "none": {}, "zero": {"output_index": 0}}[self.indexes]
        return {**ids, **index}

    def stream(self, output: list[Item]) -> Iterator[Item]:
        for number, item in enumerate(output):
            yield from self.stream_item(item, number, is_last=number == len(output) - 1)
        final = {"output": [self.rename(item, "final") for item in output] if self.has_output else []}
        yield {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", **final}}

    def stream_item(self, item: Item, number: int, *, is_last: bool) -> Iterator[Item]:
        place = self.place(item, number)
        index = {name: value for name, value in place.items() if name == "output_index"}
        if self.adds_items or item["type"] == "function_call":
            empty = {"arguments": ""} if item["type"] == "function_call" else {}
            empty = {} if self.previews else empty
            empty |= {name: [] for name in ("content", "summary") if name in item and not self.previews}
            yield {"type": "response.output_item.added", **index, "item": {**item, **empty}}
        is_told_later = self.ends_items or (is_last and self.has_output)
        if item["type"] == "function_call":
            yield from self.stream_call(item, place, is_told_later=is_told_later)
        for position, part in enumerate(item.get("content") or item.get("summary") or ()):
            yield from self.stream_part(part, position, place, is_told_later=is_told_later)
        if self.ends_items:
            yield {"type": "response.output_item.done", **index, "item": self.rename(item, "done")}

    def rename(self, item: Item, level: str) -> Item:
        """Return the item with another id, as some servers send one for each event; the call id stays."""
        return {**item, "id": f"{item['id']}_{level}"} if self.renames else item

    def stream_call(self, item: Item, place: Item, *, is_told_later: bool) -> Iterator[Item]:
        name = "response.function_call_arguments"
        ends = self.draw(st.booleans())
        kind = self.draw(st.sampled_from(PARTS_SENT)) if ends or is_told_later else "all"
        pieces = split(self.draw, item["arguments"]) if kind != "none" else []
        for piece in pieces if kind == "all" else pieces[:-1]:
            yield {"type": f"{name}.delta", **place, "delta": piece}
        if ends:
            yield {"type": f"{name}.done", **place, "arguments": item["arguments"]}

    def stream_part(self, part: Item, position: int, place: Item, *, is_told_later: bool) -> Iterator[Item]:
        kind = part["type"]
        name = "reasoning_summary_text" if kind == "summary_text" else kind
        text = part.get("text") or part["refusal"]
        place = {**place, **self.place_part(kind, position)}
        part_name = "reasoning_summary_part" if kind == "summary_text" else "content_part"
        if self.adds_parts:
            yield {"type": f"response.{part_name}.added", **place, "part": {**part, "text": "", "refusal": ""}}
        ends = self.ends_parts != "no"
        how = self.draw(st.sampled_from(PARTS_SENT)) if ends or is_told_later else "all"
        if not ends and position == 0 and how != "all" and is_told_later:
            how = "all"  # the end of a part comes before the next part
        pieces = split(self.draw, text) if how != "none" else []
        for piece in pieces if how == "all" else pieces[:-1]:
            yield {"type": f"response.{name}.delta", **place, "delta": piece}
        if self.ends_parts in ("text", "both"):
            yield {"type": f"response.{name}.done", **place, "refusal" if kind == "refusal" else "text": text}
        if self.ends_parts in ("part", "both"):
            yield {"type": f"response.{part_name}.done", **place, "part": part}

    def place_part(self, kind: str, position: int) -> Item:
        return {"summary_index" if kind == "summary_text" else "content_index": position} if self.has_parts else {}


@st.composite
def responses(draw: st.DrawFn) -> tuple[list[Item], list[Item]]:
    output = draw(items())
    return output, list(Server(draw).stream(output))


@pytest.mark.promise("shown-once")
@settings(max_examples=80)
@given(responses())
def test_a_parsed_response_has_the_text_it_was_made_from_exactly_once(
    output_and_events: tuple[list[Item], list[Item]],
) -> None:
    output, events = output_and_events
    answer = parse("responses", events)
    parts = [part for item in output for part in item.get("content", ())]
    assert answer.first.text == "".join(part.get("text", "") for part in parts)
    assert answer.first.refusal == "".join(part.get("refusal", "") for part in parts)
    assert answer.first.reasoning == "".join(part["text"] for item in output for part in item.get("summary", ()))
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in output if item["type"] == "function_call"]
    assert [tuple(call) for call in answer.first.tool_calls] == calls


# ---- chat


class ChatServer:
    """A chat server with random habits."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        flags = st.booleans()
        self.counts_up, self.repeats_role, self.sends_message, self.sends_parts = (draw(flags) for _ in range(4))
        self.repeats_calls, self.starts_empty, self.repeats_names = (draw(flags) for _ in range(3))
        self.call_index = draw(st.sampled_from(["right", "none", "zero"]))
        self.call_id = draw(st.sampled_from(["first", "always", "empty", "null", "none"]))
        self.count = 0

    def chunk(self, delta: Item | None, **more: Any) -> Item:
        role = {"role": "assistant"} if self.repeats_role and delta is not None else {}
        index = self.count if self.counts_up else 0
        self.count += 1
        return {"choices": [{"index": index, "delta": None if delta is None else {**role, **delta}, **more}]}

    def stream(self, message: Item) -> Iterator[Item]:
        for name in ("reasoning_content", "refusal", "content"):
            text = message.get(name) or ""
            how = self.draw(st.sampled_from(PARTS_SENT)) if self.sends_message else "all"
            pieces = split(self.draw, text) if how != "none" else []
            for piece in pieces if how == "all" else pieces[:-1]:
                is_list = name == "content" and self.sends_parts
                yield self.chunk({name: [{"type": "text", "text": piece}] if is_list else piece})
        for number, call in enumerate(message["tool_calls"]):
            yield from self.stream_call(call, number)
        final = {"message": {**message, "tool_calls": message["tool_calls"]}} if self.sends_message else {}
        yield self.chunk(None if self.sends_message else {}, finish_reason="stop", **final)

    def stream_call(self, call: Item, number: int) -> Iterator[Item]:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        pieces = split(self.draw, arguments)
        if self.starts_empty and arguments not in ("{}", ""):
            pieces = ["{}", *pieces] if pieces[0] else pieces
        for position, piece in enumerate(pieces):
            is_first = position == 0 or self.repeats_names
            yield self.chunk(
                {"tool_calls": [self.piece(call, number, {"name": name} if is_first else {}, piece, position)]}
            )
        if self.repeats_calls:
            yield self.chunk({"tool_calls": [self.piece(call, number, {"name": name}, arguments, 0)]})

    def piece(self, call: Item, number: int, name: Item, arguments: str, position: int) -> Item:
        index = {"right": {"index": number}, "none": {}, "zero": {"index": 0}}[self.call_index]
        has_id = self.call_id == "always" or (self.call_id == "first" and position == 0)
        ids = {"id": call["id"]} if has_id else {"empty": {"id": ""}, "null": {"id": None}}.get(self.call_id, {})
        return {**index, **ids, "function": {**name, "arguments": arguments}}


@st.composite
def chats(draw: st.DrawFn) -> tuple[Item, list[Item]]:
    texts = {name: draw(st.just("") | TEXTS) for name in ("content", "refusal", "reasoning_content")}
    calls = [
        {
            "id": f"call_{number}",
            "function": {"name": "look", "arguments": json.dumps({"n": number, "at": draw(TEXTS)})},
        }
        for number in range(draw(st.integers(0, 3)))
    ]
    message = {**texts, "tool_calls": calls}
    return message, list(ChatServer(draw).stream(message))


@pytest.mark.promise("shown-once")
@settings(max_examples=80)
@given(chats())
def test_a_parsed_chat_answer_has_the_text_it_was_made_from_exactly_once(
    output_and_events: tuple[Item, list[Item]],
) -> None:
    message, events = output_and_events
    answer = parse("chat", [*events, "[DONE]"])
    assert len(answer.choices) == 1
    first = answer.first
    assert (first.text, first.refusal, first.reasoning) == (
        message["content"],
        message["refusal"],
        message["reasoning_content"],
    )
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
    assert [(call.name, call.arguments) for call in first.tool_calls] == calls
