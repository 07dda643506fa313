"""Read the output items and the counts of a response object."""

import json
from collections.abc import Iterator
from typing import Any

from aiml_cli.api.lenient_json import a_count, a_list, a_number, a_text, an_amount, an_object, list_in, object_in
from aiml_cli.api.stream_events import (
    Audio,
    Citation,
    CitedFile,
    Image,
    Notice,
    Refusal,
    Source,
    Text,
    Thought,
    Token,
    Usage,
)

Piece = Text | Refusal | Thought | Audio
BASE64 = ";base64,"
FILES = ("file_citation", "container_file_citation", "file_path")


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


def usage(found: dict[str, Any], into: str, out: str) -> Iterator[Usage]:
    """Read the counts, and the price under the gateway's name or OpenRouter's.

    What surrounds the counts is read loosely: an empty array for an object must not spoil a paid answer.
    `into` and `out` are what the endpoint calls the two sides: prompt and completion, or input and output.
    """
    counts = an_object(found.get("usage"))
    spent = object_in(object_in(found.get("meta")).get("usage")).get("usd_spent", counts.get("cost"))
    if not counts and spent is None:
        return
    yield Usage(
        a_count(counts.get(f"{into}_tokens")),
        a_count(counts.get(f"{out}_tokens")),
        a_count(counts.get("total_tokens")),
        a_count(object_in(counts.get(f"{into}_tokens_details")).get("cached_tokens")),
        a_count(object_in(counts.get(f"{out}_tokens_details")).get("reasoning_tokens")),
        an_amount(spent),
        counts,
    )


def outcome(item: dict[str, Any]) -> Iterator[Notice | Image]:
    """Read an item that has ended; unknown kinds mean nothing."""
    match item.get("type"):
        case "web_search_call" | "file_search_call" as kind:
            yield _told(kind.removesuffix("_call").replace("_", " "), _asked(item), item)
        case "code_interpreter_call":
            yield from _ran(item)
        case "image_generation_call":
            yield from pictures([item.get("result")])
            yield _told("image generation", _stripped(item.get("revised_prompt")), item)
        case "mcp_call":
            yield _told(_stripped(item.get("server_label")) or "mcp", _called(item), item)
        case "mcp_list_tools" if item.get("error"):
            yield _told(_stripped(item.get("server_label")) or "mcp", "its tools", item)
        case "mcp_approval_request":
            yield Notice(f"{_stripped(item.get('server_label')) or 'mcp'} asks for approval: {_called(item)}")


def pictures(found: list[Any]) -> Iterator[Image]:
    """Read pictures: data addresses or bare base64. A picture elsewhere is not fetched."""
    for picture in found:
        data = picture if isinstance(picture, str) else ""
        if data.startswith("data:"):
            data = data.partition(BASE64)[2]
        if data and "://" not in data[:16]:
            yield Image(data)


def _told(who: str, what: str, item: dict[str, Any]) -> Notice:
    """Say who did what; how it ended only when something went wrong, or nothing else is known."""
    ending = _failure(item)
    if not what:
        return Notice(f"{who}: {ending or _stripped(item.get('status')) or 'done'}")
    return Notice(f"{who}: {what}: {ending}" if ending else f"{who}: {what}")


def _failure(item: dict[str, Any]) -> str:
    error = item.get("error")
    if isinstance(error, dict):
        error = error.get("message") or json.dumps(error, ensure_ascii=False)
    if error or item.get("status") in ("failed", "incomplete"):
        return f"failed: {error}" if error else a_text(item["status"])
    return ""


def _called(item: dict[str, Any]) -> str:
    name, arguments = _stripped(item.get("name")), _stripped(item.get("arguments"))
    return f"{name}({arguments})" if arguments else name


def _asked(item: dict[str, Any]) -> str:
    """Give what was searched for, or the page that was opened."""
    action = item.get("action")
    facts = {**item, **action} if isinstance(action, dict) else item
    queries = facts.get("queries")
    asked = queries if isinstance(queries, list) else []
    named = [facts.get("query") or facts.get("pattern") or facts.get("url")]
    return ", ".join(text for text in asked or named if isinstance(text, str))


def _ran(item: dict[str, Any]) -> Iterator[Notice | Image]:
    yield _told("code interpreter", _stripped(item.get("code")), item)
    for output in map(an_object, a_list(item.get("outputs"))):
        if output.get("logs"):
            yield Notice(f"code interpreter wrote: {_stripped(output['logs'])}")
        url = output.get("url") or an_object(output.get("image")).get("data")
        images = list(pictures([url]))
        yield from images
        if url and not images:
            yield Notice(f"code interpreter made a picture: {_stripped(url)}")


def _stripped(found: Any) -> str:
    return found.strip() if isinstance(found, str) else ""


class Sources:
    """Give each source once: servers repeat them in the item, in the response, or in every chunk."""

    def __init__(self) -> None:
        self._given: set[Source] = set()

    def annotated(self, annotations: list[Any], choice: int = 0) -> list[Source]:
        """Read annotations; chat nests what responses says flat. Unknown kinds mean nothing."""
        return self._new(_annotated(map(object_in, annotations), choice))

    def listed(self, chunk: dict[str, Any]) -> list[Source]:
        """Read the lists that some chat answers have at their top: addresses, and results with titles."""
        results = [object_in(result) for result in _some_list(chunk.get("search_results"))]
        titles = {
            result["url"]: _text_or_none(result.get("title")) for result in results if _text_or_none(result.get("url"))
        }
        found = _some_list(chunk.get("citations")) or results
        return self._new(_listed(found, titles))

    def _new(self, sources: Iterator[Source]) -> list[Source]:
        new = [source for source in dict.fromkeys(sources) if source not in self._given]
        self._given.update(new)
        return new


def _annotated(annotations: Iterator[dict[str, Any]], choice: int) -> Iterator[Source]:
    for annotation in annotations:
        kind = _text_or_none(annotation.get("type")) or ""
        nested = annotation.get(kind)
        facts = nested if isinstance(nested, dict) else object_in(annotation.get("url_citation")) or annotation
        if kind in FILES and facts.get("file_id"):
            name, container = _text_or_none(facts.get("filename")), _text_or_none(facts.get("container_id"))
            yield CitedFile(kind, a_text(facts["file_id"]), name, container, choice)
        elif facts.get("url"):
            start, end = a_count(facts.get("start_index")), a_count(facts.get("end_index"))
            yield Citation(a_text(facts["url"]), _text_or_none(facts.get("title")), start, end, choice)


def _listed(found: list[Any], titles: dict[str, str | None]) -> Iterator[Citation]:
    for source in found:
        facts = {"url": source} if isinstance(source, str) else object_in(source)
        if facts.get("url"):
            url = a_text(facts["url"])
            yield Citation(url, _text_or_none(facts.get("title")) or titles.get(url))


def _some_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text_or_none(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None
