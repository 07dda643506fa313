"""What models cost, as the catalogue says it, and what an answer would cost by that."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.lenient_json import as_dict, as_number
from aiml_cli.api.model_list import MILLION, Price, price_per_million
from aiml_cli.api.stream_events import Usage
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings

# More than this nobody counted: it is no count.
MOST_TOKENS = 10**12
_USAGE_DETAILS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
Json = Any
# What a large picture takes in most models; some count it smaller, few larger.
PICTURE_TOKENS = 5000
CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_PICTURES = ("image_url", "input_image")
_FUNCTIONS = ("function", "custom")
_UNREAD = ("model", "stream", "stream_options", "metadata")
# Nobody here can know how many tokens these are, or what is paid for them besides.
_UNBOUNDED_PARTS = {
    "file": "a document",
    "input_file": "a document",
    "input_audio": "sound",
    "item_reference": "an item that the server keeps",
}
_PROPERTIES = {
    "previous_response_id": "what the server keeps of the conversation",
    "conversation": "what the server keeps of the conversation",
    "prompt": "a prompt template of the server",
    "web_search_options": "a web search",
    "audio": "spoken output",
}
CHARACTERS = 3
FURTHER_BYTES = 2


def estimate_cost(prices: Iterable[Price], usage: Usage) -> float | None:
    """Give what an answer's tokens cost in US dollars; None when a price or a count that it takes is unknown.

    Cached tokens cost the input's price where they have none of their own. Reasoning is part of the output.
    """
    prices = tuple(prices)
    into, out = price_per_million(prices, "input"), price_per_million(prices, "output")
    saved = price_per_million(prices, "cached") if any(price.kind == "cached" for price in prices) else into
    read, cached, written = usage.input_tokens, usage.cached_tokens or 0, usage.output_tokens
    if into is None or out is None or read is None or written is None or _has_sound(usage):
        return None
    if (cached and saved is None) or not 0 <= cached <= read <= MOST_TOKENS or not 0 <= written <= MOST_TOKENS:
        return None
    return round(((read - cached) * into + cached * (saved or 0) + written * out) / MILLION, 12)


def _has_sound(usage: Usage) -> bool:
    """Say whether sound was among the tokens: it has prices of its own."""
    return any(as_number(as_dict(usage.details.get(name)).get("audio_tokens")) for name in _USAGE_DETAILS)


class TokenBound(NamedTuple):
    """Hold what a request may use: `out` is None without a length cap, `open` what of it nobody can count."""

    into: int
    out: int | None
    open: str = ""

    def usd(self, prices: Iterable[Price]) -> float | None:
        """Give what it may cost in US dollars, without a cap the input alone; None where a price is unknown."""
        prices = tuple(prices)
        into, out = price_per_million(prices, "input"), price_per_million(prices, "output")
        if into is None or out is None:
            return None
        return round((self.into * into + (self.out or 0) * out) / MILLION, 12)


def bound_tokens(body: Mapping[str, Json]) -> TokenBound:
    """Count a request: all its text, a flat guess for each picture, and its length cap for each choice."""
    return TokenBound(_tokens([(name, body[name]) for name in body if name not in _UNREAD]), _out(body), _open(body))


def _out(body: Mapping[str, Json]) -> int | None:
    caps = [body[name] for name in CAPS if isinstance(body.get(name), int | float)]
    choices = body.get("n")
    return int(max(caps) * (choices if isinstance(choices, int) else 1)) if caps else None


def _open(body: Mapping[str, Json]) -> str:
    """Name what nobody here can count; "" where there is nothing of the kind."""
    found = [words for name, words in _PROPERTIES.items() if body.get(name)]
    types = (each.get("type") for each in _objects(body.get("tools")))
    found += [f"the server's tool {name}" for name in types if name not in _FUNCTIONS]
    parts = (each.get("type") for name in ("messages", "input") for each in _objects(body.get(name)))
    return next(
        iter(
            [*found, *(_UNBOUNDED_PARTS[name] for name in parts if isinstance(name, str) and name in _UNBOUNDED_PARTS)]
        ),
        "",
    )


def _objects(found: Json) -> Iterator[Mapping[str, Json]]:
    """Give the elements of a list, and the parts of their content or output."""
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict):
            yield each
            yield from _objects(each.get("content"))
            yield from _objects(each.get("output"))


def _tokens(found: Json) -> int:
    """Count the text of any JSON; no recursion, for it may be deep."""
    count, waiting = 0, [found]
    while waiting:
        match waiting.pop():
            case str() as text:
                count += estimate_tokens(text)
            case {"type": kind} if kind in _PICTURES:
                count += PICTURE_TOKENS
            case dict() as several:
                waiting += several.items()
            case list() | tuple() as several:
                waiting += several
            case other:
                count += 0 if other is None else estimate_tokens(str(other))
    return count


def add_estimated_cost(answer: Answer, settings: Settings) -> Answer:
    """Add what the answer may have cost, where somebody will see it; the stored catalogue may not know."""
    usage = answer.completion.usage
    if usage is None or answer.reported_cost_usd is not None or not _is_seen(settings.options):
        return answer
    # A catalogue of a thousand models takes 25 ms to read: only who wants a price waits for it.
    from aiml_cli.api.model_list import find_model
    from aiml_cli.catalog.find_models import load_stored_models

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    found = estimate_cost(model.prices, usage) if model else None
    # Of an answer in parts some of which were told a price, that is the least that it cost.
    return answer if found is None else replace(answer, estimate_usd=max(found, answer.estimate_usd or 0))


def _is_seen(options: Options) -> bool:
    return bool(options.usage or options.meta or options.json or options.format in {"json", "jsonl"})


def estimate_tokens(text: str) -> int:
    """Give the tokens that a text takes at most, in all likelihood."""
    further = 0 if text.isascii() else len(text.encode("utf-8", "replace")) - len(text)
    return -(-len(text) // CHARACTERS) + -(-further // FURTHER_BYTES)
