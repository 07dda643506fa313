"""Read the output items and the counts of a response object."""

from collections.abc import Iterator
from typing import Any

from aiml_cli.api.events import Citation, Notice, Refusal, Text, Thought, Token, Usage
from aiml_cli.api.wire import a_count, a_list, a_number, a_text, an_object


def said(item: dict[str, Any]) -> Iterator[Text | Refusal | Thought]:
    """Read what an item says in words."""
    if item.get("type") == "reasoning":
        parts = a_list(item.get("summary")) or a_list(item.get("content"))
        yield from (Thought(a_text(an_object(part).get("text"))) for part in parts)
    elif item.get("type") == "message":
        content = item.get("content")
        for part in [{"text": content}] if isinstance(content, str) else a_list(content):
            found = an_object(part)
            if found.get("refusal"):
                yield Refusal(a_text(found["refusal"]))
            if found.get("text"):
                yield Text(a_text(found["text"]))


def annotations(item: dict[str, Any]) -> list[Any]:
    """Give the annotations of all parts of a message."""
    content = item.get("content")
    parts = [an_object(part) for part in content] if isinstance(content, list) else []
    return [annotation for part in parts for annotation in a_list(part.get("annotations"))]


def citations(annotations: list[Any]) -> Iterator[Citation]:
    """Read the annotations that name a page."""
    for annotation in map(an_object, annotations):
        if annotation.get("url"):
            start, end = a_count(annotation.get("start_index")), a_count(annotation.get("end_index"))
            yield Citation(a_text(annotation["url"]), annotation.get("title"), start, end)


def item_tokens(item: dict[str, Any]) -> Iterator[Token]:
    """Read the log probabilities of a message."""
    content = item.get("content") if item.get("type") == "message" else None
    for part in content if isinstance(content, list) else []:
        yield from tokens(a_list(an_object(part).get("logprobs")))


def tokens(logprobs: list[Any]) -> Iterator[Token]:
    """Read log probabilities."""
    for token in map(an_object, logprobs):
        top = tuple(an_object(other) for other in a_list(token.get("top_logprobs")))
        yield Token(a_text(token.get("token")), a_number(token.get("logprob")) or 0.0, top)


def notices(item: dict[str, Any]) -> Iterator[Notice]:
    """Tell in a line what the server's own tools did."""
    match item.get("type"):
        case "web_search_call" | "file_search_call" | "code_interpreter_call" | "image_generation_call" as kind:
            yield Notice(f"{kind.removesuffix('_call').replace('_', ' ')}: {item.get('status') or 'done'}")
        case "mcp_call":
            outcome = f"failed: {item['error']}" if item.get("error") else "done"
            yield Notice(f"{item.get('server_label')}: {item.get('name')}: {outcome}")


def usage(response: dict[str, Any]) -> Iterator[Usage]:
    """Read the counts, and the price where it is told."""
    counts = an_object(response.get("usage"))
    spent = an_object(an_object(response.get("meta")).get("usage")).get("usd_spent")
    if not counts and spent is None:
        return
    into, out = an_object(counts.get("input_tokens_details")), an_object(counts.get("output_tokens_details"))
    yield Usage(
        a_count(counts.get("input_tokens")),
        a_count(counts.get("output_tokens")),
        a_count(counts.get("total_tokens")),
        a_count(into.get("cached_tokens")),
        a_count(out.get("reasoning_tokens")),
        a_number(spent),
        counts,
    )
