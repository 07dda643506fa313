"""Estimate the tokens of each part of a request, for --dry-run -u."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiml_cli.api.message_conversion import get_role_and_text
from aiml_cli.api.messages import Conversation, Image, Message
from aiml_cli.catalog.pricing import estimate_tokens
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.context_window import TYPICAL_IMAGE_TOKENS, estimate_messages
from aiml_cli.prompt.message_parts import InputText

_EMPTY_TAG = re.compile(r'<((?:file|stdin)_{0,99})(?: name="[^"\n]*")?>\n{1,2}</\1>')  # the tag around a file


def count_parts(
    request: ChatRequest, conversation: Conversation, body: Mapping[str, Any], inputs: Sequence[InputText]
) -> Iterator[tuple[str, int | None]]:
    """Yield the parts of a request and their estimated tokens; None for PDFs and audio, whose size is unknown."""
    previous = request.previous_turns.messages if request.previous_turns else ()
    *others, prompt = conversation.messages or (Message("user", ()),)
    yield "system text", estimate_tokens(request.system or "")
    yield "previous turns", estimate_messages(previous)
    yield "messages before the prompt", estimate_messages(others)
    yield from ((item.name, estimate_tokens(item.text)) for item in inputs)
    rest = get_role_and_text(prompt)[1]
    for item in inputs:
        rest = rest.replace(item.text, "", 1)
    words = _EMPTY_TAG.sub("", rest).strip()
    yield "words", estimate_tokens(words)
    yield "names of files", estimate_tokens(rest) - estimate_tokens(words)
    parts = [part for part in prompt.content if not isinstance(part, str)] if isinstance(prompt, Message) else []
    images = sum(isinstance(part, Image) for part in parts)
    yield "images", images * TYPICAL_IMAGE_TOKENS
    yield "PDFs and audio", None if len(parts) > images else 0
    for name, value in (("tools", body.get("tools")), ("schema of the answer", _find_format(body))):
        yield name, estimate_tokens(json.dumps(value, ensure_ascii=False)) if value else 0


def _find_format(body: Mapping[str, Any]) -> Any:
    text = body.get("text")
    return body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)


def format_parts(parts: Iterable[tuple[str, int | None]]) -> str:
    """Return the sum of the tokens, then a line for each part of the request."""
    rows = [(name, count) for name, count in parts if count != 0]
    total = sum(count or 0 for _, count in rows)
    width = len(f"{total:,}")
    lines = [f"{'?' if count is None else f'{count:,}':>{width}}  {' '.join(name.split())}" for name, count in rows]
    unit = "token" if total == 1 else "tokens"
    return "\n".join([f"about {total:,} {unit} of input:", *(f"      {line}" for line in lines)])
