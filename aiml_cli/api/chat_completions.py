"""Speak the dialect of POST /v1/chat/completions: its body, its stream, its JSON answer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from aiml_cli.api import tool_formats
from aiml_cli.api.error_response import fault_in
from aiml_cli.api.lenient_json import MalformedError, a_list, a_number, a_text, an_object, list_in
from aiml_cli.api.message_conversion import chat_messages
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import add, fill
from aiml_cli.api.response_items import Sources, pictures, tokens, usage
from aiml_cli.api.sse import Halves, Sse, listen, malformed
from aiml_cli.api.stream_events import Audio, Batch, Begun, Done, Event, Fault, Refusal, Text, Thought, ToolCall
from aiml_cli.settings.options import Options

NAME = "chat"
PATH = "/chat/completions"


def body(conversation: Conversation, options: Options) -> dict[str, Any]:
    """Make the request's body."""
    messages = chat_messages(conversation)
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    asked = replace(
        options,
        # Usage of a stream must be asked for, and only of a stream; alternatives come only with logprobs.
        include_usage=options.include_usage if options.stream else None,
        logprobs=True if options.logprobs is None and options.top_logprobs is not None else options.logprobs,
        tools=tool_formats.convert_tools(options.tools, tool_formats.nested_tool),
        tool_choice=tool_formats.nested_choice(options.tool_choice),
        response_format=tool_formats.nested_format(options.response_format),
    )
    return add(fill({"model": options.model, "messages": messages}, NAME, asked), options.option_)


def hear(stream: Iterable[list[Sse]]) -> Iterator[Batch]:
    """Turn a stream into events, a batch for each network read."""
    return listen(stream, _Chunks().take, done_is_whole=True)


def read(found: Any) -> Batch:
    """Turn a JSON answer into events."""
    choices = found.get("choices") if isinstance(found, dict) else None
    if not choices and (fault := fault_in(found)):
        return [fault]
    if not choices or not isinstance(choices, list):
        return [Fault("the server's answer is no chat completion: it holds no choices")]
    if all(
        isinstance(choice, dict) and not (choice.get("message") or choice.get("finish_reason")) for choice in choices
    ):
        return [Fault("the server's answer is no chat completion: its choices hold no message")]
    batch: Batch = []
    try:
        _Chunks().take("", {**found, "choices": [_as_delta(choice) for choice in choices]}, batch)
        batch.append(Done())
    except MalformedError as wrong:
        batch.append(malformed(wrong))
    halves = Halves()
    return [*halves.join(batch), *halves.alone()]


def _as_delta(choice: Any) -> dict[str, Any]:
    """See a whole choice as one delta; a JSON answer ends each choice, whether it says why or not."""
    choice = an_object(choice)
    return {"finish_reason": "", **choice, "delta": choice.get("message"), "whole": True}


class _Chunks:
    """Keep what one chunk must know of those before."""

    def __init__(self) -> None:
        self._begun = False
        self._calls: dict[int, Calls] = {}
        self._sources = Sources()

    def take(self, name: str, chunk: dict[str, Any], batch: Batch) -> None:
        """Add what a chunk means to the batch."""
        choices = chunk.get("choices")
        if not self._begun and (chunk.get("id") or chunk.get("model")):
            self._begun = True
            batch.append(Begun(_name(chunk.get("id")), _name(chunk.get("model")), a_number(chunk.get("created"))))
        for position, choice in enumerate(a_list(choices)):
            self._choice(position, an_object(choice), batch)
        if "usage" in chunk or "meta" in chunk:
            batch.extend(usage(chunk, "prompt", "completion"))
        if "citations" in chunk or "search_results" in chunk:
            batch.extend(self._sources.listed(chunk))
        if "error" in chunk or name == "error" or not choices:
            fault = fault_in(chunk) or (fault_in({"error": chunk}) if name == "error" else None)
            batch.extend([fault] if fault else [])

    def _choice(self, position: int, choice: dict[str, Any], batch: Batch) -> None:
        index = choice.get("index", position)
        index = index if isinstance(index, int) else position
        delta = choice.get("delta")
        if delta is not None or choice.get("message"):
            self._delta(an_object(delta if delta is not None else choice["message"]), index, batch)
        if choice.get("logprobs"):
            batch.extend(tokens(a_list(an_object(choice["logprobs"]).get("content")), index))
        reason = choice.get("finish_reason")
        if reason or (reason == "" and "whole" in choice):
            batch.append(Done(a_text(reason), index))

    def _delta(self, delta: dict[str, Any], index: int, batch: Batch) -> None:
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            self._rest_of(delta, index, batch)
        if isinstance(content, str):
            if content:
                batch.append(Text(content, index))
        elif content is not None:
            batch.extend(_parts(a_list(content), index))

    def _rest_of(self, delta: dict[str, Any], index: int, batch: Batch) -> None:
        """Read all but the text; reasoning first, because it was thought first."""
        if thought := _thought(delta):
            batch.append(Thought(thought, index))
        if delta.get("refusal"):
            batch.append(Refusal(a_text(delta["refusal"]), index))
        if delta.get("tool_calls") or delta.get("function_call"):
            calls = self._calls.setdefault(index, Calls())
            batch.extend(calls.take(delta, index))
        if delta.get("annotations"):
            batch.extend(self._sources.annotated(list_in(delta["annotations"]), index))
        if delta.get("audio"):
            batch.extend(_audio(an_object(delta["audio"]), index))
        if delta.get("images"):
            batch.extend(_pictures(a_list(delta["images"]), index))


def _thought(delta: Mapping[str, Any]) -> str:
    """Read the reasoning under the three names it has; sent under two at once, it is shown once."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), str) and delta[name]:
            return str(delta[name])
    details = [an_object(detail) for detail in a_list(delta.get("reasoning_details"))]
    return "".join(a_text(detail.get("text") or detail.get("summary")) for detail in details)


def _name(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None


def _parts(content: list[Any], index: int) -> Iterator[Event]:
    """Read content that came as a list of parts, or of parts and strings."""
    for part in content:
        if isinstance(part, str):
            yield Text(part, index)
            continue
        part = an_object(part)  # noqa: PLW2901 - the same part, its type now known
        match part.get("type"):
            case "thinking" | "reasoning":
                yield from (Thought(text, index) for text in _texts(part.get("thinking") or part.get("text")))
            case "refusal":
                yield Refusal(a_text(part.get("refusal")), index)
            case "image_url":
                yield from _pictures([part], index)
            case _:
                yield Text(a_text(part.get("text")), index)


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
        return
    for part in a_list(found):
        yield part if isinstance(part, str) else a_text(an_object(part).get("text"))


def _pictures(parts: list[Any], index: int) -> Iterator[Event]:
    """Read the pictures that OpenRouter's models send as data addresses."""
    addresses = [part.get("image_url") for part in map(an_object, parts)]
    found = pictures([address.get("url") if isinstance(address, dict) else address for address in addresses])
    yield from (picture._replace(choice=index) for picture in found)


def _audio(audio: dict[str, Any], index: int) -> Iterator[Audio]:
    if audio.get("data") or audio.get("transcript"):
        yield Audio(a_text(audio.get("id")), a_text(audio.get("data")), a_text(audio.get("transcript")), index)


class Calls:
    """Keep the calls of one choice."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, str]] = []
        self._named: dict[int, str] = {}

    def take(self, delta: dict[str, Any], choice: int) -> list[ToolCall]:
        """Read the pieces of a delta; the older `function_call` is a call without an id."""
        old = an_object(delta.get("function_call"))
        pieces = [_piece(an_object(call)) for call in a_list(delta.get("tool_calls"))]
        if old.get("name") or old.get("arguments"):
            pieces.append((None, "", a_text(old.get("name")), a_text(old.get("arguments"))))
        taken: set[int] = set()
        return [
            ToolCall(self._slot(index, call_id, name, taken), call_id, name, arguments, choice)
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
    function, custom = an_object(call.get("function")), an_object(call.get("custom"))
    if custom.get("name"):
        function = {"name": custom["name"], "arguments": custom.get("input")}
    arguments = function.get("arguments")
    return call.get("index"), a_text(call.get("id")), a_text(function.get("name")), _as_text(arguments)


def _as_text(arguments: Any) -> str:
    """Give arguments as the text they should have come as; some servers send the object itself."""
    if isinstance(arguments, dict | list):
        return json.dumps(arguments, ensure_ascii=False)
    return a_text(arguments)
