"""Read the output items and the counts of a response object."""

import json
from collections.abc import Iterator
from typing import Any

from aiml_cli.api.lenient_json import (
    as_amount,
    as_dict,
    as_list,
    require_count,
    require_dict,
    require_list,
    require_number,
    require_str,
)
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    CitedSource,
    GeneratedImage,
    Notice,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)

Piece = TextDelta | RefusalDelta | ReasoningDelta | AudioDelta
BASE64 = ";base64,"
FILES = ("file_citation", "container_file_citation", "file_path")


def parse_content(item: dict[str, Any]) -> Iterator[Piece]:
    """Read what an item says in words, or aloud."""
    if item.get("type") == "reasoning":
        parts = require_list(item.get("summary")) or require_list(item.get("content"))
        yield from (ReasoningDelta(require_str(require_dict(part).get("text"))) for part in parts)
    elif item.get("type") == "message":
        content = item.get("content")
        for part in [{"text": content}] if isinstance(content, str) else require_list(content):
            yield from _part(require_dict(part))


def _part(part: dict[str, Any]) -> Iterator[Piece]:
    if part.get("refusal"):
        yield RefusalDelta(require_str(part["refusal"]))
    if part.get("text"):
        yield TextDelta(require_str(part["text"]))
    if part.get("type") == "output_audio":
        yield AudioDelta(
            require_str(part.get("id")), require_str(part.get("data")), require_str(part.get("transcript"))
        )


def list_annotations(item: dict[str, Any]) -> list[Any]:
    """Give the annotations of all parts of a message."""
    content = item.get("content")
    parts = [require_dict(part) for part in content] if isinstance(content, list) else []
    return [annotation for part in parts for annotation in as_list(part.get("annotations"))]


def parse_item_logprobs(item: dict[str, Any]) -> Iterator[TokenLogprob]:
    """Read the log probabilities of a message."""
    content = item.get("content") if item.get("type") == "message" else None
    for part in content if isinstance(content, list) else []:
        yield from parse_logprobs(require_list(require_dict(part).get("logprobs")))


def parse_logprobs(logprobs: list[Any], choice: int = 0) -> Iterator[TokenLogprob]:
    """Read log probabilities."""
    for token in map(require_dict, logprobs):
        top = tuple(require_dict(other) for other in require_list(token.get("top_logprobs")))
        yield TokenLogprob(require_str(token.get("token")), require_number(token.get("logprob")) or 0.0, top, choice)


def parse_usage(found: dict[str, Any], into: str, out: str) -> Iterator[Usage]:
    """Read the counts, and the price under the gateway's name or OpenRouter's.

    What surrounds the counts is read loosely: an empty array for an object must not spoil a paid answer.
    `into` and `out` are what the endpoint calls the two sides: prompt and completion, or input and output.
    """
    counts = require_dict(found.get("usage"))
    spent = as_dict(as_dict(found.get("meta")).get("usage")).get("usd_spent", counts.get("cost"))
    if not counts and spent is None:
        return
    yield Usage(
        require_count(counts.get(f"{into}_tokens")),
        require_count(counts.get(f"{out}_tokens")),
        require_count(counts.get("total_tokens")),
        require_count(as_dict(counts.get(f"{into}_tokens_details")).get("cached_tokens")),
        require_count(as_dict(counts.get(f"{out}_tokens_details")).get("reasoning_tokens")),
        as_amount(spent),
        counts,
    )


def parse_tool_item(item: dict[str, Any]) -> Iterator[Notice | GeneratedImage]:
    """Read an item that has ended; unknown kinds mean nothing."""
    match item.get("type"):
        case "web_search_call" | "file_search_call" as kind:
            yield _told(kind.removesuffix("_call").replace("_", " "), _asked(item), item)
        case "code_interpreter_call":
            yield from _ran(item)
        case "image_generation_call":
            yield from parse_images([item.get("result")])
            yield _told("image generation", _stripped(item.get("revised_prompt")), item)
        case "mcp_call":
            yield _told(_stripped(item.get("server_label")) or "mcp", _called(item), item)
        case "mcp_list_tools" if item.get("error"):
            yield _told(_stripped(item.get("server_label")) or "mcp", "its tools", item)
        case "mcp_approval_request":
            yield Notice(f"{_stripped(item.get('server_label')) or 'mcp'} asks for approval: {_called(item)}")


def parse_images(found: list[Any]) -> Iterator[GeneratedImage]:
    """Read pictures: data addresses or bare base64. A picture elsewhere is not fetched."""
    for picture in found:
        data = picture if isinstance(picture, str) else ""
        if data.startswith("data:"):
            data = data.partition(BASE64)[2]
        if data and "://" not in data[:16]:
            yield GeneratedImage(data)


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
        return f"failed: {error}" if error else require_str(item["status"])
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


def _ran(item: dict[str, Any]) -> Iterator[Notice | GeneratedImage]:
    yield _told("code interpreter", _stripped(item.get("code")), item)
    for output in map(require_dict, require_list(item.get("outputs"))):
        if output.get("logs"):
            yield Notice(f"code interpreter wrote: {_stripped(output['logs'])}")
        url = output.get("url") or require_dict(output.get("image")).get("data")
        images = list(parse_images([url]))
        yield from images
        if url and not images:
            yield Notice(f"code interpreter made a picture: {_stripped(url)}")


def _stripped(found: Any) -> str:
    return found.strip() if isinstance(found, str) else ""


class SourceCollector:
    """Give each source once: servers repeat them in the item, in the response, or in every chunk."""

    def __init__(self) -> None:
        self._given: set[CitedSource] = set()

    def add_annotations(self, annotations: list[Any], choice: int = 0) -> list[CitedSource]:
        """Read annotations; chat nests what responses says flat. Unknown kinds mean nothing."""
        return self._new(_annotated(map(as_dict, annotations), choice))

    def add_lists(self, chunk: dict[str, Any]) -> list[CitedSource]:
        """Read the lists that some chat answers have at their top: addresses, and results with titles."""
        results = [as_dict(result) for result in _some_list(chunk.get("search_results"))]
        titles = {
            result["url"]: _text_or_none(result.get("title")) for result in results if _text_or_none(result.get("url"))
        }
        found = _some_list(chunk.get("citations")) or results
        return self._new(_listed(found, titles))

    def _new(self, sources: Iterator[CitedSource]) -> list[CitedSource]:
        new = [source for source in dict.fromkeys(sources) if source not in self._given]
        self._given.update(new)
        return new


def _annotated(annotations: Iterator[dict[str, Any]], choice: int) -> Iterator[CitedSource]:
    for annotation in annotations:
        kind = _text_or_none(annotation.get("type")) or ""
        nested = annotation.get(kind)
        facts = nested if isinstance(nested, dict) else as_dict(annotation.get("url_citation")) or annotation
        if kind in FILES and facts.get("file_id"):
            name, container = _text_or_none(facts.get("filename")), _text_or_none(facts.get("container_id"))
            yield CitedFile(kind, require_str(facts["file_id"]), name, container, choice)
        elif facts.get("url"):
            start, end = require_count(facts.get("start_index")), require_count(facts.get("end_index"))
            yield Citation(require_str(facts["url"]), _text_or_none(facts.get("title")), start, end, choice)


def _listed(found: list[Any], titles: dict[str, str | None]) -> Iterator[Citation]:
    for source in found:
        facts = {"url": source} if isinstance(source, str) else as_dict(source)
        if facts.get("url"):
            url = require_str(facts["url"])
            yield Citation(url, _text_or_none(facts.get("title")) or titles.get(url))


def _some_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text_or_none(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None
