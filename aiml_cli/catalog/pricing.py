"""Compute the cost of a request or an answer from the prices in the catalog."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.json_values import Json, as_dict, as_list, as_number
from aiml_cli.api.model_list import MILLION, Price, price_per_million
from aiml_cli.api.prompt_cache import count_cache_tokens, estimate_savings, find_write_factor
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog.find_models import find_model
from aiml_cli.settings.resolve import Settings

MAX_TOKENS = 10**12  # a larger count is an error of the server
MAX_IMAGE_TOKENS = 5000  # of a large image in most models; a few count more
CHARS_PER_TOKEN = 3
PIECE_CHARS = 1024 * 1024  # of a long string whose bytes are counted
EXTRA_BYTES_PER_TOKEN = 2  # for the additional bytes of characters beyond ASCII
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_USAGE_DETAILS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
_IMAGE_PARTS = ("image_url", "input_image")
_LOCAL_TOOLS = ("function", "custom")
_NOT_INPUT = ("model", "stream", "stream_options", "metadata")
# The parts and properties whose tokens or price are unknown before sending.
_UNCOUNTED_PARTS = {
    "file": "a document",
    "input_file": "a document",
    "input_audio": "audio",
    "item_reference": "an item stored on the server",
}
_UNCOUNTED_PROPERTIES = {
    "previous_response_id": "a conversation stored on the server",
    "conversation": "a conversation stored on the server",
    "prompt": "a prompt template stored on the server",
    "web_search_options": "a web search",
    "audio": "spoken output",
}


def estimate_cost(prices: Iterable[Price], usage: Usage) -> float | None:
    """Return the cost of an answer in US dollars, or None if a price or a token count is unknown.

    Without their own price, cached tokens cost as much as input. Reasoning is part of the output.
    """
    prices = tuple(prices)
    input_price, output_price = price_per_million(prices, "input"), price_per_million(prices, "output")
    if input_price is None or output_price is None:
        return None
    has_cached_price = any(price.kind == "cached" for price in prices)
    cached_price = price_per_million(prices, "cached") if has_cached_price else input_price
    sent, cached, received = usage.input_tokens, usage.cached_tokens or 0, usage.output_tokens
    written, write_price = count_cache_tokens(usage).written, price_per_million(prices, "cache_write")
    if sent is None or received is None or _has_audio(usage):
        return None
    if (cached and cached_price is None) or not 0 <= cached <= sent <= MAX_TOKENS or not 0 <= received <= MAX_TOKENS:
        return None
    usd = ((sent - cached) * input_price + cached * (cached_price or 0) + received * output_price) / MILLION
    if write_price is not None:
        usd += min(written, sent - cached) * (write_price - input_price) / MILLION
    return round(usd, 12)


def _has_audio(usage: Usage) -> bool:
    """True if some tokens are audio, which has its own prices."""
    return any(as_number(as_dict(usage.details.get(name)).get("audio_tokens")) for name in _USAGE_DETAILS)


class TokenBound(NamedTuple):
    """The maximum number of tokens that a request may use; `output_tokens` is None without a token limit."""

    input_tokens: int
    output_tokens: int | None
    uncounted: str = ""  # the name of a part that cannot be counted
    write_factor: float = 1.0  # multiplies the input price if the server writes to its cache

    def compute_usd(self, prices: Iterable[Price]) -> float | None:
        """Return the cost in US dollars, of the input alone if there is no token limit; None if a price is unknown."""
        prices = tuple(prices)
        input_price, output_price = price_per_million(prices, "input"), price_per_million(prices, "output")
        if input_price is None or output_price is None:
            return None
        input_price *= self.write_factor
        return round((self.input_tokens * input_price + (self.output_tokens or 0) * output_price) / MILLION, 12)


def bound_tokens(body: Mapping[str, Json]) -> TokenBound:
    """Count the tokens of a request: its text, a fixed number per image, and the token limit of each choice."""
    sent = [(name, value) for name, value in body.items() if not (name in _NOT_INPUT or isinstance(value, int | float))]
    return TokenBound(_count_tokens(sent), _find_output_limit(body), _find_uncounted(body), find_write_factor(body))


def _find_output_limit(body: Mapping[str, Json]) -> int | None:
    limits = [body[name] for name in TOKEN_LIMITS if isinstance(body.get(name), int | float)]
    choices = body.get("n")
    return int(max(limits) * (choices if isinstance(choices, int) else 1)) if limits else None


def _find_uncounted(body: Mapping[str, Json]) -> str:
    names = [text for key, text in _UNCOUNTED_PROPERTIES.items() if body.get(key)]
    tool_types = (tool.get("type") for tool in _list_objects(body.get("tools")))
    names += [f"the server's tool {tool_type}" for tool_type in tool_types if tool_type not in _LOCAL_TOOLS]
    part_types = (part.get("type") for key in ("messages", "input") for part in _list_objects(body.get(key)))
    names += [_UNCOUNTED_PARTS[name] for name in part_types if isinstance(name, str) and name in _UNCOUNTED_PARTS]
    return names[0] if names else ""


def _list_objects(value: Json) -> Iterator[Mapping[str, Json]]:
    """Yield the objects of a list, and those in their content and output."""
    for element in as_list(value):
        if isinstance(element, dict):
            yield element
            yield from _list_objects(element.get("content"))
            yield from _list_objects(element.get("output"))


def _count_tokens(value: Json) -> int:
    """Count the tokens of a JSON value; not recursive, because it may be nested deeply."""
    count, pending = 0, [value]
    while pending:
        match pending.pop():
            case str() as text:
                count += estimate_tokens(text)
            case {"type": part_type} if part_type in _IMAGE_PARTS:
                count += MAX_IMAGE_TOKENS
            case dict() as children:
                pending += children.items()
            case list() | tuple() as children:
                pending += children
            case other:
                count += 0 if other is None else estimate_tokens(str(other))
    return count


def add_savings(answer: Answer, settings: Settings) -> Answer:
    """Return the answer with the savings of the server's prompt cache, if the stored catalog has the prices."""
    if answer.completion.usage is None or answer.is_cached:
        return answer
    from aiml_cli.catalog.find_models import load_stored_models

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    return replace(answer, saved_usd=estimate_savings(model.prices, answer.completion.usage) if model else None)


def add_estimated_cost(answer: Answer, settings: Settings) -> Answer:
    """Return the answer with its estimated cost if the server reported none and the stored catalog has the prices."""
    usage = answer.completion.usage
    if usage is None or answer.reported_cost_usd is not None:
        return answer
    from aiml_cli.catalog.find_models import load_stored_models

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    usd = estimate_cost(model.prices, usage) if model else None
    # If the server reported the cost of some parts of the answer, their sum is a lower bound.
    return answer if usd is None else replace(answer, estimate_usd=max(usd, answer.estimate_usd or 0))


def _count_bytes(text: str) -> int:
    """Return the length in UTF-8; a long string is encoded in pieces to save memory."""
    starts = range(0, len(text), PIECE_CHARS)
    return sum(len(text[start : start + PIECE_CHARS].encode("utf-8", "replace")) for start in starts)


def estimate_tokens(text: str) -> int:
    """Return a deliberately high estimate of the number of tokens in a string."""
    extra_bytes = 0 if text.isascii() else _count_bytes(text) - len(text)
    return -(-len(text) // CHARS_PER_TOKEN) + -(-extra_bytes // EXTRA_BYTES_PER_TOKEN)
