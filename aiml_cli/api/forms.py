"""Give the messages and input items of a user's file the form of the endpoint that is asked; pure."""

from collections.abc import Mapping
from typing import Any

Json = Any
Item = Mapping[str, Json]
TEXTS = ("text", "input_text", "output_text")


def add_as_message(messages: list[dict[str, Json]], item: Item) -> None:
    """Add an item to the messages of a chat request; a call goes to the assistant's message that it belongs to.

    What has no plain counterpart is added as it is.
    """
    match item:
        case {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}:
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            last = messages[-1] if messages else {}
            if last.get("role") != "assistant":
                last = {"role": "assistant", "content": None}
                messages.append(last)
            last["tool_calls"] = [*(last.get("tool_calls") or []), call]
        case {"type": "function_call_output", "call_id": call_id, "output": output}:
            messages.append({"role": "tool", "tool_call_id": call_id, "content": _text(output)})
        case {"role": _, "content": content}:
            left_out = ("type", "id", "status") if item.get("type") == "message" else ()
            kept = {name: value for name, value in item.items() if name not in left_out}
            messages.append({**kept, "content": _each(content, _as_chat_part)})
        case _:
            messages.append(dict(item))


def as_items(item: Item) -> list[dict[str, Json]]:
    """Give the input items that a message of chat means: its calls become items of their own."""
    match item:
        case {"role": "tool", "tool_call_id": call_id, "content": content}:
            return [{"type": "function_call_output", "call_id": call_id, "output": _text(content)}]
        case {"role": "assistant", "tool_calls": list() as calls}:
            said = item.get("content")
            message = [{"role": "assistant", "content": _said(said)}] if said else []
            return [*message, *map(_as_call_item, calls)]
        case {"role": "assistant", "content": list() as content} if item.get("type") != "message":
            return [{**item, "content": _said(content)}]
        case {"role": _, "content": content}:
            return [{**item, "content": _each(content, _as_input_part)}]
        case _:
            return [dict(item)]


def _as_call_item(call: Json) -> dict[str, Json]:
    match call:
        case {"id": call_id, "function": {"name": name, "arguments": arguments}}:
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        case _:
            return dict(call) if isinstance(call, dict) else {"type": "function_call", "arguments": call}


def _text(content: Json) -> Json:
    """Join parts of text: the result of a tool is one text on both endpoints."""
    is_text = isinstance(content, list) and all(part.get("type") in TEXTS and "text" in part for part in content)
    return "".join(part["text"] for part in content) if is_text else content


def _said(content: Json) -> Json:
    """Give what the assistant said as text, for its parts demand more than chat knows of them."""
    text = _text(content)
    return text if isinstance(text, str) else _each(content, _as_output_part)


def _each(content: Json, change: Any) -> Json:
    return [change(part) for part in content] if isinstance(content, list) else content


def _as_chat_part(part: Item) -> dict[str, Json]:
    match part:
        case {"type": "input_text" | "output_text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str() as url}:
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file"} if "file_url" not in part:
            return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
        case _:
            return dict(part)


def _as_input_part(part: Item) -> dict[str, Json]:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": dict() as image} if "url" in image:
            facts = {name: value for name, value in image.items() if name != "url"}
            return {"type": "input_image", "image_url": image["url"], **facts}
        case {"type": "image_url", "image_url": str() as url}:
            return {"type": "input_image", "image_url": url}
        case {"type": "file", "file": dict() as facts}:
            return {"type": "input_file", **facts}
        case _:
            return dict(part)


def _as_output_part(part: Item) -> dict[str, Json]:
    """Give a part of the assistant's the form that it had when it was said."""
    if part.get("type") == "text" and "text" in part:
        return {"type": "output_text", "text": part["text"], "annotations": []}
    return dict(part)
