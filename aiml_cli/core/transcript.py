"""Answer `aiml history export`: conversations as Markdown, JSON or JSON lines."""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.store.history.reader import StoredConversation, StoredMessage
from aiml_cli.store.history.writer import COMPLETE, INTERRUPTED, STREAMING

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_SILENT = {"text", "input_text", "output_text", "message", "reasoning", "function_call_output", None}
KB = 1000


class Transcript(NamedTuple):
    """Hold a conversation with its messages."""

    conversation: StoredConversation
    messages: Sequence[StoredMessage]


def transcripts_json(found: Sequence[Transcript]) -> bytes:
    """Write conversations as documented JSON."""
    return json_line([conversation_to_dict(*each) for each in found], indent=2)


def transcripts_jsonl(found: Sequence[Transcript]) -> bytes:
    """Write a message a line, with the name of its conversation."""
    return b"".join(
        json_line({"id": conversation.name, "title": conversation.title, **message_to_dict(message)})
        for conversation, messages in found
        for message in messages
    )


def transcripts_markdown(found: Sequence[Transcript]) -> bytes:
    """Write conversations as Markdown."""
    return "\n".join(to_markdown(*each) for each in found).encode("utf-8", "replace")


def to_markdown(conversation: StoredConversation, messages: Sequence[StoredMessage]) -> str:
    """Write a conversation as Markdown, a heading for each speaker."""
    models = dict.fromkeys(message.model for message in messages if message.role == "assistant" and message.model)
    facts = [", ".join(models), format_time(conversation.begun), f"conversation {conversation.name}"]
    blocks = [f"# {one_line(conversation.title)}", " · ".join(filter(None, facts))]
    if conversation.system:
        blocks += ["## System", close_code_block(conversation.system)]
    for message in messages:
        blocks += _blocks(message)
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _blocks(message: StoredMessage) -> Iterator[str]:
    speaker = speaker_name(message)
    yield f"## {'You' if speaker == 'you' else speaker}"
    if message.text:
        yield fence_text(message.text) if message.role == "tool" else close_code_block(message.text)
    if inside := list(describe_attachments(message.items)):
        yield fence_text("\n".join(inside))
    for index, text in other_choices(message):
        yield f"### Choice {index}"
        yield close_code_block(text)
    if words := describe_ending(message):
        yield f"> {words}"


def close_code_block(text: str) -> str:
    """Close the code block that a text leaves open, so that what follows is no code."""
    fence = ""
    for each in text.splitlines():
        found = _FENCE.match(each)
        if not found:
            continue
        marks, rest = found.groups()
        if not fence:
            fence = "" if marks[0] == "`" and "`" in rest else marks
        elif marks.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text.rstrip()}\n{fence}" if fence else text


def fence_text(text: str) -> str:
    """Write a text as a code block that none of its own fences ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def describe_attachments(items: Iterable[Any]) -> Iterator[str]:
    """Name what the items of either endpoint hold besides text, each in a line; never the bytes themselves."""
    for item in items:
        if not isinstance(item, dict):
            continue
        yield from filter(None, map(_part, _list(item.get("content"))))
        yield from filter(None, map(_call, _list(item.get("tool_calls"))))
        yield from filter(None, [_call(item)])


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _part(part: Any) -> str:
    match part:
        case {"image_url": {"url": str(url)}} | {"type": "input_image", "image_url": str(url)}:
            return f"image {_source(url)}"
        case {"type": "file", "file": dict(facts)}:
            return _file(facts)
        case {"type": "input_file"}:
            return _file(part)
        case {"input_audio": {"data": str(data), "format": form}}:
            return f"sound {form}, {_size(data)}"
        case {"type": "refusal", "refusal": str(words)}:
            return f"refusal: {words}"
        case dict():
            return _other(part)
        case _:
            return ""


def _file(facts: dict[str, Any]) -> str:
    name = facts.get("filename") or facts.get("file_id") or facts.get("file_url") or "without a name"
    data = facts.get("file_data")
    return f"file {name}, {_size(data)}" if isinstance(data, str) else f"file {name}"


def _call(item: Any) -> str:
    match item:
        case {"function": {"name": name, "arguments": arguments}}:
            return f"call {name} {arguments}"
        case {"type": "function_call", "name": name, "arguments": arguments}:
            return f"call {name} {arguments}"
        case dict():
            return _other(item)
        case _:
            return ""


def _other(item: dict[str, Any]) -> str:
    """Give the API's own word for what has no words of ours: `web_search_call`."""
    kind = item.get("type")
    return "" if kind in _SILENT or not isinstance(kind, str) else kind.replace("_", " ")


def _source(url: str) -> str:
    """Name an image: its address, or type and size of one that is sent along."""
    if not url.startswith("data:"):
        return url
    return f"{url[5:].partition(';')[0] or 'data'}, {_size(url)}"


def _size(data: str) -> str:
    """Say how many bytes base64 text, with or without what stands before it, is."""
    count = (len(data) - data.find(",") - 1) * 3 // 4 - data[-2:].count("=")
    return f"{count} B" if count < KB else f"{count / KB:.0f} kB" if count < KB * KB else f"{count / KB / KB:.1f} MB"


def format_conversation(conversation: StoredConversation, messages: Sequence[StoredMessage], *, verbose: bool) -> str:
    """Write who said what, and how each answer ended; with `verbose` also how it came about."""
    blocks = [f"{conversation.name} · {one_line(conversation.title)} · {format_time(conversation.begun)}"]
    if conversation.system:
        blocks.append(f"── system\n{conversation.system}")
    blocks += ["\n".join(_block(message, verbose=verbose)) for message in messages]
    return "\n\n".join(block.rstrip("\n") for block in blocks) + "\n"


def _block(message: StoredMessage, *, verbose: bool) -> Iterator[str]:
    yield f"── {speaker_name(message)} · {format_time(message.at)}"
    if verbose and message.thought:
        yield f"[reasoning]\n{message.thought}\n[end of the reasoning]"
    if message.text:
        yield message.text.rstrip("\n")
    yield from (f"[{each}]" for each in describe_attachments(message.items))
    for index, text in other_choices(message):
        yield f"[choice {index}]\n{text}"
    if words := describe_ending(message):
        yield f"[{words}]"
    if verbose and (facts := _facts(message)):
        yield f"[{facts}]"


def _facts(message: StoredMessage) -> str:
    usage = message.usage or {}
    counts = (
        f"{usage[name]} {name.replace('_', ' ')}" for name in ("input_tokens", "output_tokens") if usage.get(name)
    )
    cost = f"${format_dollars(message.cost_usd)}" if message.cost_usd is not None else ""
    request = f"request {message.request_id}" if message.request_id else ""
    return " · ".join(filter(None, (*counts, cost, request)))


def speaker_name(message: StoredMessage) -> str:
    """Name the speaker: "you", or the model."""
    match message.role:
        case "user":
            return "you"
        case "assistant":
            return message.model or "assistant"
        case role:
            return role


def format_time(then: float) -> str:
    """Write a time as it is here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def describe_ending(message: StoredMessage) -> str:
    """Say how an answer ended and why, or that it was taken back; "" for one that is whole."""
    if message.facts.get("undone"):
        return "undone"
    error = message.facts.get("error")
    reason = (isinstance(error, dict) and error.get("message")) or message.facts.get("finish_reason")
    match message.state:
        case str() as state if state == COMPLETE:
            return ""
        case str() as state if state == STREAMING:
            return "another process is writing this answer"
        case str() as state if state == INTERRUPTED and not reason:
            return "interrupted: the program was killed"
        case state:
            return f"{state}: {one_line(str(reason))}" if reason and reason != state else state


def other_choices(message: StoredMessage) -> list[tuple[int, str]]:
    """Give the choices of an answer behind the first, with the numbers that people count by."""
    found = message.facts.get("others")
    pairs = found if isinstance(found, list) else []
    return [(int(index) + 1, str(text)) for index, text in pairs]


def one_line(text: str) -> str:
    """Make one line of a text."""
    return " ".join(text.split())


def conversation_to_dict(conversation: StoredConversation, messages: Sequence[StoredMessage]) -> dict[str, Any]:
    """Give the documented object of a conversation: every key is always there."""
    return {
        "id": conversation.name,
        "title": conversation.title,
        "system": conversation.system,
        "begun": conversation.begun,
        "changed": conversation.changed,
        "messages": [message_to_dict(message) for message in messages],
    }


def message_to_dict(message: StoredMessage) -> dict[str, Any]:
    """Give the documented object of a message."""
    facts = message._asdict()
    thought, number, conversation = facts.pop("thought"), facts.pop("id"), facts.pop("conversation")
    del number, conversation  # the file's own, which mean nothing outside of it
    empty_to_null = {name: facts[name] or None for name in ("model", "host")}
    return {**facts, **empty_to_null, "reasoning": thought or None}
