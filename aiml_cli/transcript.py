"""Write a conversation of the history for a reader, or as the documented object."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.prices import dollars
from aiml_cli.enclosed import enclosed
from aiml_cli.store.exchange import COMPLETE, INTERRUPTED, STREAMING
from aiml_cli.store.past import Conversation, Message


class Whole(NamedTuple):
    """Hold a conversation with its messages."""

    conversation: Conversation
    messages: Sequence[Message]


def spoken(conversation: Conversation, messages: Sequence[Message], *, verbose: bool) -> str:
    """Write who said what, and how each answer ended; with `verbose` also how it came about."""
    blocks = [f"{conversation.name} · {flat(conversation.title)} · {when(conversation.begun)}"]
    if conversation.system:
        blocks.append(f"── system\n{conversation.system}")
    blocks += ["\n".join(_block(message, verbose=verbose)) for message in messages]
    return "\n\n".join(block.rstrip("\n") for block in blocks) + "\n"


def _block(message: Message, *, verbose: bool) -> Iterator[str]:
    yield f"── {who(message)} · {when(message.at)}"
    if verbose and message.thought:
        yield f"[reasoning]\n{message.thought}\n[end of the reasoning]"
    if message.text:
        yield message.text.rstrip("\n")
    yield from (f"[{each}]" for each in enclosed(message.items))
    for index, text in others(message):
        yield f"[choice {index}]\n{text}"
    if words := ending(message):
        yield f"[{words}]"
    if verbose and (facts := _facts(message)):
        yield f"[{facts}]"


def _facts(message: Message) -> str:
    usage = message.usage or {}
    counts = (
        f"{usage[name]} {name.replace('_', ' ')}" for name in ("input_tokens", "output_tokens") if usage.get(name)
    )
    cost = f"${dollars(message.cost_usd)}" if message.cost_usd is not None else ""
    request = f"request {message.request_id}" if message.request_id else ""
    return " · ".join(filter(None, (*counts, cost, request)))


def who(message: Message) -> str:
    """Name the speaker: "you", or the model."""
    match message.role:
        case "user":
            return "you"
        case "assistant":
            return message.model or "assistant"
        case role:
            return role


def when(then: float) -> str:
    """Write a time as it is here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def ending(message: Message) -> str:
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
            return f"{state}: {flat(str(reason))}" if reason and reason != state else state


def others(message: Message) -> list[tuple[int, str]]:
    """Give the choices of an answer behind the first, with the numbers that people count by."""
    found = message.facts.get("others")
    pairs = found if isinstance(found, list) else []
    return [(int(index) + 1, str(text)) for index, text in pairs]


def flat(text: str) -> str:
    """Make one line of a text."""
    return " ".join(text.split())


def as_object(conversation: Conversation, messages: Sequence[Message]) -> dict[str, Any]:
    """Give the documented object of a conversation: every key is always there."""
    return {
        "id": conversation.name,
        "title": conversation.title,
        "system": conversation.system,
        "begun": conversation.begun,
        "changed": conversation.changed,
        "messages": [message_object(message) for message in messages],
    }


def message_object(message: Message) -> dict[str, Any]:
    """Give the documented object of a message."""
    facts = message._asdict()
    thought, number, conversation = facts.pop("thought"), facts.pop("id"), facts.pop("conversation")
    del number, conversation  # the file's own, which mean nothing outside of it
    empty_to_null = {name: facts[name] or None for name in ("model", "host")}
    return {**facts, **empty_to_null, "reasoning": thought or None}
