"""Parse what answers contain besides text: output items, token counts, log probabilities, images and sources."""

import json
from collections.abc import Iterator
from typing import Any

from aiml_cli.api.json_values import (
    as_amount,
    as_dict,
    as_int,
    as_list,
    as_number,
    as_str,
)
from aiml_cli.api.stream_events import (
    AudioDelta,
    Citation,
    CitedFile,
    CitedSource,
    GeneratedImage,
    Notice,
    TokenLogprob,
    Usage,
)

FILE_TYPES = ("file_citation", "container_file_citation", "file_path")


def parse_audio(item: dict[str, Any]) -> Iterator[AudioDelta]:
    """Yield the audio of a message."""
    for part in map(as_dict, as_list(item.get("content"))):
        if part.get("type") == "output_audio":
            yield AudioDelta(as_str(part.get("id")), as_str(part.get("data")), as_str(part.get("transcript")))


def list_annotations(item: dict[str, Any]) -> list[Any]:
    """Return the annotations of all parts of a message."""
    parts = [as_dict(part) for part in as_list(item.get("content"))]
    return [annotation for part in parts for annotation in as_list(part.get("annotations"))]


def parse_logprobs(logprobs: Any, choice: int = 0) -> Iterator[TokenLogprob]:
    """Yield the log probabilities of tokens: a list, or an object whose `content` is one. Other types yield nothing."""
    for token in map(as_dict, as_list(logprobs) or as_list(as_dict(logprobs).get("content"))):
        if isinstance(token.get("token"), str):
            top = tuple(map(as_dict, as_list(token.get("top_logprobs"))))
            yield TokenLogprob(token["token"], as_number(token.get("logprob")) or 0.0, top, choice)


def parse_usage(response: dict[str, Any]) -> Iterator[Usage]:
    """Yield the token counts, and the cost under the gateway's name or OpenRouter's.

    Counts have the prefixes prompt and completion on chat, input and output on responses; some servers use those of
    the other endpoint. Invalid counts are left out: a wrong type must not make a paid answer fail.
    """
    usage = as_dict(response.get("usage"))
    cost = as_dict(as_dict(response.get("meta")).get("usage")).get("usd_spent", usage.get("cost"))
    if not usage and cost is None:
        return
    yield Usage(
        _find_count(usage, ("prompt_tokens", "input_tokens")),
        _find_count(usage, ("completion_tokens", "output_tokens")),
        as_int(usage.get("total_tokens")),
        _find_count(usage, ("prompt_tokens", "input_tokens"), "cached_tokens"),
        _find_count(usage, ("completion_tokens", "output_tokens"), "reasoning_tokens"),
        as_amount(cost),
        usage,
    )


def _find_count(usage: dict[str, Any], names: tuple[str, str], detail: str = "") -> int | None:
    """Return the first count found under one of the names, or a detail of that count."""
    values = [as_dict(usage.get(f"{name}_details")).get(detail) if detail else usage.get(name) for name in names]
    return next((count for value in values if (count := as_int(value)) is not None), None)


def parse_tool_item(item: dict[str, Any]) -> Iterator[Notice | GeneratedImage]:
    """Yield notices and images of a completed item of a hosted tool; unknown types yield nothing."""
    match item.get("type"):
        case "web_search_call" | "file_search_call" as item_type:
            yield _build_notice(item_type.removesuffix("_call").replace("_", " "), _describe_search(item), item)
        case "code_interpreter_call":
            yield from _parse_interpreter_call(item)
        case "image_generation_call":
            yield from parse_images([item.get("result")])
            yield _build_notice("image generation", as_str(item.get("revised_prompt")).strip(), item)
        case "mcp_call":
            yield _build_notice(_get_mcp_label(item), _format_call(item), item)
        case "mcp_list_tools" if item.get("error"):
            yield _build_notice(_get_mcp_label(item), "its tools", item)
        case "mcp_approval_request":
            yield Notice(f"{_get_mcp_label(item)} asks for approval: {_format_call(item)}")


def parse_images(images: list[Any]) -> Iterator[GeneratedImage]:
    """Yield images from data URLs and bare base64. Other URLs are not fetched."""
    for data in map(as_str, images):
        base64 = data.partition(";base64,")[2] if data.startswith("data:") else data
        if base64 and "://" not in base64[:16]:
            yield GeneratedImage(base64)


def _build_notice(tool: str, action: str, item: dict[str, Any]) -> Notice:
    """Return a notice with the tool and its action, and with the status if it failed or the action is unknown."""
    failure = _describe_failure(item)
    if not action:
        return Notice(f"{tool}: {failure or as_str(item.get('status')).strip() or 'done'}")
    return Notice(f"{tool}: {action}: {failure}" if failure else f"{tool}: {action}")


def _describe_failure(item: dict[str, Any]) -> str:
    error = item.get("error")
    if isinstance(error, dict):
        error = error.get("message") or json.dumps(error, ensure_ascii=False)
    if error or item.get("status") in ("failed", "incomplete"):
        return f"failed: {error}" if error else as_str(item["status"])
    return ""


def _get_mcp_label(item: dict[str, Any]) -> str:
    return as_str(item.get("server_label")).strip() or "mcp"


def _format_call(item: dict[str, Any]) -> str:
    name, arguments = as_str(item.get("name")).strip(), as_str(item.get("arguments")).strip()
    return f"{name}({arguments})" if arguments else name


def _describe_search(item: dict[str, Any]) -> str:
    """Return the queries, or the page that was opened."""
    search = {**item, **as_dict(item.get("action"))}
    single = [search.get("query") or search.get("pattern") or search.get("url")]
    return ", ".join(text for text in as_list(search.get("queries")) or single if isinstance(text, str))


def _parse_interpreter_call(item: dict[str, Any]) -> Iterator[Notice | GeneratedImage]:
    yield _build_notice("code interpreter", as_str(item.get("code")).strip(), item)
    for output in map(as_dict, as_list(item.get("outputs"))):
        if output.get("logs"):
            yield Notice(f"code interpreter wrote: {as_str(output['logs']).strip()}")
        url = output.get("url") or as_dict(output.get("image")).get("data")
        images = list(parse_images([url]))
        yield from images
        if url and not images:
            yield Notice(f"code interpreter created an image: {as_str(url).strip()}")


class SourceCollector:
    """The sources of an answer, each once: servers repeat them in the item, the response, or every chunk."""

    def __init__(self) -> None:
        self._seen: set[CitedSource] = set()

    def add_annotations(self, annotations: list[Any], choice: int = 0) -> list[CitedSource]:
        """Return the new sources of annotations, nested (chat) or flat (responses). Unknown types are ignored."""
        return self._add(_parse_annotations(map(as_dict, annotations), choice))

    def add_lists(self, chunk: dict[str, Any]) -> list[CitedSource]:
        """Return the new sources in the top-level lists of some chat answers: URLs, and results with titles."""
        results = [as_dict(result) for result in as_list(chunk.get("search_results"))]
        titles = {url: as_str(result.get("title")) for result in results if (url := as_str(result.get("url")))}
        return self._add(_parse_source_list(as_list(chunk.get("citations")) or results, titles))

    def _add(self, sources: Iterator[CitedSource]) -> list[CitedSource]:
        new = [source for source in dict.fromkeys(sources) if source not in self._seen]
        self._seen.update(new)
        return new


def _parse_annotations(annotations: Iterator[dict[str, Any]], choice: int) -> Iterator[CitedSource]:
    for annotation in annotations:
        kind = as_str(annotation.get("type"))
        nested = annotation.get(kind)
        source = nested if isinstance(nested, dict) else as_dict(annotation.get("url_citation")) or annotation
        if kind in FILE_TYPES and source.get("file_id"):
            name, container_id = as_str(source.get("filename")) or None, as_str(source.get("container_id")) or None
            yield CitedFile(kind, str(source["file_id"]), name, container_id, choice)
        elif as_str(source.get("url")):
            start, end = as_int(source.get("start_index")), as_int(source.get("end_index"))
            yield Citation(source["url"], as_str(source.get("title")) or None, start, end, choice)


def _parse_source_list(sources: list[Any], titles: dict[str, str]) -> Iterator[Citation]:
    for source in sources:
        fields = {"url": source} if isinstance(source, str) else as_dict(source)
        if url := as_str(fields.get("url")):
            yield Citation(url, as_str(fields.get("title")) or titles.get(url) or None)
