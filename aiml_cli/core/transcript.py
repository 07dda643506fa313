"""Format conversations as Markdown, JSON, JSON lines, or text for the terminal."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.json_values import as_list
from aiml_cli.output.format_money import format_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.store.history.reader import PART_OF_SUMMARY, SUMMARY, StoredMessage, get_summary_until
from aiml_cli.store.history.writer import COMPLETE, INTERRUPTED, STREAMING

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_UNNAMED_TYPES = {"text", "input_text", "output_text", "message", "reasoning", "function_call_output", None}
KB = 1000
SUMMARY_NOTE = "sent in place of the turns before the last one"


class Transcript(NamedTuple):
    """A conversation and its messages."""

    conversation: StoredConversation
    messages: Sequence[StoredMessage]


class Exporter:
    """Writes conversations one at a time: as Markdown, as a JSON array, or as a line of JSON for each message."""

    def __init__(self, export_format: str, write: Callable[[bytes], object]) -> None:
        self._format, self._write = export_format, write
        self.count = 0

    def write(self, transcript: Transcript) -> None:
        """Write the next conversation."""
        if self._format == "jsonl":
            for line in _message_lines(*transcript):
                self._write(line)
        elif self._format == "json":
            item = json_line(conversation_to_dict(*transcript), indent=2).rstrip(b"\n")
            self._write((b",\n  " if self.count else b"[\n  ") + item.replace(b"\n", b"\n  "))
        else:
            text = to_markdown(*transcript)
            self._write(("\n" * bool(self.count) + text).encode("utf-8", "replace"))
        self.count += 1

    def close(self) -> None:
        """Write the end of the array."""
        if self._format == "json":
            self._write(b"\n]\n" if self.count else b"[]\n")


def transcripts_json(transcripts: Iterable[Transcript]) -> bytes:
    """Return conversations as the documented JSON array."""
    return _export("json", transcripts)


def transcripts_jsonl(transcripts: Iterable[Transcript]) -> bytes:
    """Return one line of JSON for each message, with the id and title of its conversation."""
    return _export("jsonl", transcripts)


def transcripts_markdown(transcripts: Iterable[Transcript]) -> bytes:
    """Return conversations as Markdown, encoded as UTF-8."""
    return _export("md", transcripts)


def _export(export_format: str, transcripts: Iterable[Transcript]) -> bytes:
    parts: list[bytes] = []
    exporter = Exporter(export_format, parts.append)
    for transcript in transcripts:
        exporter.write(transcript)
    exporter.close()
    return b"".join(parts)


def _message_lines(conversation: StoredConversation, messages: Iterable[StoredMessage]) -> Iterator[bytes]:
    """Yield a line of JSON for each message, with the id and title of its conversation."""
    for message in messages:
        yield json_line({"id": conversation.name, "title": conversation.title, **message_to_dict(message)})


def to_markdown(conversation: StoredConversation, messages: Sequence[StoredMessage]) -> str:
    """Return a conversation as Markdown, with a heading for each message."""
    models = dict.fromkeys(message.model for message in messages if message.role == "assistant" and message.model)
    facts = [", ".join(models), format_time(conversation.begun), f"conversation {conversation.name}"]
    blocks = [f"# {one_line(conversation.title)}", " · ".join(filter(None, facts))]
    if conversation.system:
        blocks += ["## System", close_code_block(conversation.system)]
    for message in messages:
        blocks += _markdown_blocks(message)
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _markdown_blocks(message: StoredMessage) -> Iterator[str]:
    speaker = speaker_name(message)
    yield f"## {'You' if speaker == 'you' else speaker}"
    if message.text:
        yield fence_text(message.text) if message.role == "tool" else close_code_block(message.text)
    if attachments := list(describe_attachments(message.items)):
        yield fence_text("\n".join(attachments))
    for index, text in other_choices(message):
        yield f"### Choice {index}"
        yield close_code_block(text)
    if ending := describe_ending(message):
        yield f"> {ending}"


def close_code_block(text: str) -> str:
    """Close a code block that the text leaves open, so that what follows is outside of it."""
    fence = ""
    for match in filter(None, map(_FENCE.match, text.splitlines())):
        marks, rest = match.groups()
        if not fence:
            fence = "" if marks[0] == "`" and "`" in rest else marks
        elif marks.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text.rstrip()}\n{fence}" if fence else text


def fence_text(text: str) -> str:
    """Return a text as a code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def describe_attachments(items: Iterable[Any]) -> Iterator[str]:
    """Yield a line for everything but text in the items of either endpoint; the data itself is left out."""
    for item in items:
        if isinstance(item, dict):
            yield from filter(None, map(_describe_part, as_list(item.get("content"))))
            yield from filter(None, map(_describe_call, (*as_list(item.get("tool_calls")), item)))


def _describe_part(part: Any) -> str:
    match part:
        case {"image_url": {"url": str(url)}} | {"type": "input_image", "image_url": str(url)}:
            return f"image {_describe_image(url)}"
        case {"type": "file", "file": dict(facts)}:
            return _describe_file(facts)
        case {"type": "input_file"}:
            return _describe_file(part)
        case {"input_audio": {"data": str(data), "format": audio_format}}:
            return f"audio {audio_format}, {_format_size(data)}"
        case {"type": "refusal", "refusal": str(text)}:
            return f"refusal: {text}"
        case dict():
            return _describe_type(part)
        case _:
            return ""


def _describe_file(facts: dict[str, Any]) -> str:
    name = facts.get("filename") or facts.get("file_id") or facts.get("file_url") or "without a name"
    data = facts.get("file_data")
    return f"file {name}, {_format_size(data)}" if isinstance(data, str) else f"file {name}"


def _describe_call(item: Any) -> str:
    match item:
        case {"function": {"name": name, "arguments": arguments}} | {
            "type": "function_call",
            "name": name,
            "arguments": arguments,
        }:
            return f"call {name} {arguments}"
        case dict():
            return _describe_type(item)
        case _:
            return ""


def _describe_type(item: dict[str, Any]) -> str:
    """Return the API's own name of the type, such as "web search call", or "" for text."""
    name = item.get("type")
    return name.replace("_", " ") if isinstance(name, str) and name not in _UNNAMED_TYPES else ""


def _describe_image(url: str) -> str:
    """Return the URL of an image, or the type and size of embedded data."""
    return f"{url[5:].partition(';')[0] or 'data'}, {_format_size(url)}" if url.startswith("data:") else url


def _format_size(data: str) -> str:
    """Return the size of base64 text, with or without the head of a data URL, when decoded."""
    count = (len(data) - data.find(",") - 1) * 3 // 4 - data[-2:].count("=")
    return f"{count} B" if count < KB else f"{count / KB:.0f} kB" if count < KB * KB else f"{count / KB / KB:.1f} MB"


def format_conversation(conversation: StoredConversation, messages: Sequence[StoredMessage], *, verbose: bool) -> str:
    """Return a conversation as text; `verbose` adds reasoning, tokens and cost."""
    blocks = [f"{conversation.name} · {one_line(conversation.title)} · {format_time(conversation.begun)}"]
    if conversation.system:
        blocks.append(f"── system\n{conversation.system}")
    blocks += ["\n".join(_text_blocks(message, verbose=verbose)) for message in messages]
    return "\n\n".join(block.rstrip("\n") for block in blocks) + "\n"


def _text_blocks(message: StoredMessage, *, verbose: bool) -> Iterator[str]:
    yield f"── {speaker_name(message)} · {format_time(message.at)}"
    if verbose and message.thought:
        yield f"[reasoning]\n{message.thought}\n[end of the reasoning]"
    if message.text:
        yield message.text.rstrip("\n")
    yield from (f"[{attachment}]" for attachment in describe_attachments(message.items))
    for index, text in other_choices(message):
        yield f"[choice {index}]\n{text}"
    if ending := describe_ending(message):
        yield f"[{ending}]"
    if verbose and (facts := _format_facts(message)):
        yield f"[{facts}]"


def _format_facts(message: StoredMessage) -> str:
    usage, names = message.usage or {}, ("input_tokens", "output_tokens")
    counts = (f"{usage[name]} {name.replace('_', ' ')}" for name in names if usage.get(name))
    cost = f"${format_dollars(message.cost_usd)}" if message.cost_usd is not None else ""
    request = f"request {message.request_id}" if message.request_id else ""
    return " · ".join(filter(None, (*counts, cost, request)))


def speaker_name(message: StoredMessage) -> str:
    """Return "you", the model, the role of another message, or the kind of a summary message."""
    if get_summary_until(message.facts) is not None:
        return f"summary by {message.model or 'the model'}" if message.role == "assistant" else "request for a summary"
    if message.role == "assistant":
        return message.model or "assistant"
    return "you" if message.role == "user" else message.role


def format_time(seconds: float) -> str:
    """Return a time (Unix seconds) in the local time zone; "" for a damaged one."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError, TypeError, ValueError):
        return ""


def describe_ending(message: StoredMessage) -> str:
    """Return how an answer ended and why, or that it was undone; "" for a complete answer, unless it is a summary."""
    if message.facts.get("undone"):
        return "undone"
    if message.role == "assistant" and message.state == COMPLETE and get_summary_until(message.facts) is not None:
        return "a part of the summary below" if PART_OF_SUMMARY in message.facts[SUMMARY] else SUMMARY_NOTE
    error = message.facts.get("error")
    reason = (isinstance(error, dict) and error.get("message")) or message.facts.get("finish_reason")
    if message.state == COMPLETE:
        return ""
    if message.state == STREAMING:
        return "another process is writing this answer"
    if message.state == INTERRUPTED and not reason:
        return "interrupted: the program was killed"
    return f"{message.state}: {one_line(str(reason))}" if reason and reason != message.state else message.state


def other_choices(message: StoredMessage) -> list[tuple[int, str]]:
    """Return the number and text of each choice after the first; the first has number 1."""
    pairs = [pair for pair in as_list(message.facts.get("others")) if isinstance(pair, list) and len(pair) > 1]
    return [(index + 1, str(text)) for index, text, *_ in pairs if isinstance(index, int)]


def one_line(text: str) -> str:
    """Replace all whitespace with single spaces."""
    return " ".join(text.split())


def conversation_to_dict(conversation: StoredConversation, messages: Sequence[StoredMessage]) -> dict[str, Any]:
    """Return the documented object of a conversation; every key is always present."""
    return {
        "id": conversation.name,
        "title": conversation.title,
        "system": conversation.system,
        "begun": conversation.begun,
        "changed": conversation.changed,
        "messages": [message_to_dict(message) for message in messages],
    }


def message_to_dict(message: StoredMessage) -> dict[str, Any]:
    """Return the documented object of a message."""
    facts = message._asdict()
    del facts["id"], facts["conversation"]  # they mean nothing outside of the database
    if get_summary_until(message.facts) is not None:
        facts["facts"] = {**message.facts, SUMMARY: {"turns": message.facts[SUMMARY].get("turns")}}
    thought = facts.pop("thought")
    return {**facts, "model": message.model or None, "host": message.host or None, "reasoning": thought or None}
