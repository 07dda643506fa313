"""Read what the server's own tools did: what they were asked, what they said, the pictures they made."""

import json
from collections.abc import Iterator
from typing import Any

from aiml_cli.api.events import Image, Notice
from aiml_cli.api.wire import a_list, a_text, an_object

BASE64 = ";base64,"


def outcome(item: dict[str, Any]) -> Iterator[Notice | Image]:
    """Read an item that has ended; unknown kinds mean nothing."""
    match item.get("type"):
        case "web_search_call" | "file_search_call" as kind:
            yield _told(kind.removesuffix("_call").replace("_", " "), _asked(item), item)
        case "code_interpreter_call":
            yield from _ran(item)
        case "image_generation_call":
            yield from pictures([item.get("result")])
            yield _told("image generation", _words(item.get("revised_prompt")), item)
        case "mcp_call":
            yield _told(_words(item.get("server_label")) or "mcp", _called(item), item)
        case "mcp_list_tools" if item.get("error"):
            yield _told(_words(item.get("server_label")) or "mcp", "its tools", item)
        case "mcp_approval_request":
            yield Notice(f"{_words(item.get('server_label')) or 'mcp'} asks for approval: {_called(item)}")


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
        return Notice(f"{who}: {ending or _words(item.get('status')) or 'done'}")
    return Notice(f"{who}: {what}: {ending}" if ending else f"{who}: {what}")


def _failure(item: dict[str, Any]) -> str:
    error = item.get("error")
    if isinstance(error, dict):
        error = error.get("message") or json.dumps(error, ensure_ascii=False)
    if error or item.get("status") in ("failed", "incomplete"):
        return f"failed: {error}" if error else a_text(item["status"])
    return ""


def _called(item: dict[str, Any]) -> str:
    name, arguments = _words(item.get("name")), _words(item.get("arguments"))
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
    yield _told("code interpreter", _words(item.get("code")), item)
    for output in map(an_object, a_list(item.get("outputs"))):
        if output.get("logs"):
            yield Notice(f"code interpreter wrote: {_words(output['logs'])}")
        url = output.get("url") or an_object(output.get("image")).get("data")
        images = list(pictures([url]))
        yield from images
        if url and not images:
            yield Notice(f"code interpreter made a picture: {_words(url)}")


def _words(found: Any) -> str:
    return found.strip() if isinstance(found, str) else ""
