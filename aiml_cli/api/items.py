"""Read the output items and the counts of a response object."""

from collections.abc import Iterator
from typing import Any

from aiml_cli.api.events import Audio, Refusal, Text, Thought, Token
from aiml_cli.api.loose import list_in
from aiml_cli.api.wire import a_list, a_number, a_text, an_object

Piece = Text | Refusal | Thought | Audio


def said(item: dict[str, Any]) -> Iterator[Piece]:
    """Read what an item says in words, or aloud."""
    if item.get("type") == "reasoning":
        parts = a_list(item.get("summary")) or a_list(item.get("content"))
        yield from (Thought(a_text(an_object(part).get("text"))) for part in parts)
    elif item.get("type") == "message":
        content = item.get("content")
        for part in [{"text": content}] if isinstance(content, str) else a_list(content):
            yield from _part(an_object(part))


def _part(part: dict[str, Any]) -> Iterator[Piece]:
    if part.get("refusal"):
        yield Refusal(a_text(part["refusal"]))
    if part.get("text"):
        yield Text(a_text(part["text"]))
    if part.get("type") == "output_audio":
        yield Audio(a_text(part.get("id")), a_text(part.get("data")), a_text(part.get("transcript")))


def annotations(item: dict[str, Any]) -> list[Any]:
    """Give the annotations of all parts of a message."""
    content = item.get("content")
    parts = [an_object(part) for part in content] if isinstance(content, list) else []
    return [annotation for part in parts for annotation in list_in(part.get("annotations"))]


def item_tokens(item: dict[str, Any]) -> Iterator[Token]:
    """Read the log probabilities of a message."""
    content = item.get("content") if item.get("type") == "message" else None
    for part in content if isinstance(content, list) else []:
        yield from tokens(a_list(an_object(part).get("logprobs")))


def tokens(logprobs: list[Any], choice: int = 0) -> Iterator[Token]:
    """Read log probabilities."""
    for token in map(an_object, logprobs):
        top = tuple(an_object(other) for other in a_list(token.get("top_logprobs")))
        yield Token(a_text(token.get("token")), a_number(token.get("logprob")) or 0.0, top, choice)
