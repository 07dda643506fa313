"""What models cost, as the catalogue says it, and what an answer would cost by that."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from aiml_cli.api.events import Usage
from aiml_cli.api.loose import list_in, number_in, object_in, text_in, word_of

Json = Any

MILLION = 1_000_000
_ORIGINS = {"provided": "input", "generated": "output"}
# More than this nobody counted: it is no count.
MOST_TOKENS = 10**12
_PARTS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")


@dataclass(frozen=True, slots=True)
class Price:
    """Hold what `per` units cost in US dollars.

    `kind` is input, output, cached, cache_write or the server's own word, "" when it has none; `when` names
    the properties of a request for which the price holds.
    """

    kind: str
    unit: str
    content: str
    usd: float
    per: float
    when: tuple[tuple[str, str], ...] = ()

    @property
    def per_million(self) -> float:
        """Give the price of a million units."""
        return round(self.usd / self.per * MILLION, 9)


def prices_in(pricing: Mapping[str, Json], when: tuple[tuple[str, str], ...] = ()) -> Iterator[Price]:
    """Read the `units` of a fixed price, and the `variants` of one that depends on the request."""
    if pricing.get("currency") not in (None, "USD"):
        return
    for unit in map(object_in, list_in(pricing.get("units"))):
        yield from _price(unit, when)
    for variant in map(object_in, list_in(pricing.get("variants"))):
        held = tuple((name, word_of(value)) for name, value in object_in(variant.get("when")).items())
        yield from _price(variant, held)
        yield from (p for unit in map(object_in, list_in(variant.get("units"))) for p in _price(unit, held))


def _price(unit: Mapping[str, Json], when: tuple[tuple[str, str], ...]) -> Iterator[Price]:
    """Read one price; none where its amount or its base is missing, for either alone says nothing."""
    usd, per = number_in(unit.get("price")), number_in(unit.get("per"))
    if usd is None or not per or per < 0 or usd < 0 or not isfinite(usd / per * MILLION):
        return
    origin = text_in(unit.get("origin"))
    kind = _ORIGINS.get(origin, origin or text_in(unit.get("measure")))
    name = text_in(unit.get("name")) or text_in(unit.get("unit"))
    yield Price(kind, name, text_in(unit.get("content")), usd, per, when)


def usd(prices: Iterable[Price], kind: str) -> float | None:
    """Give the price of a million text tokens; None when it is unknown or depends on the request."""
    text = (price for price in prices if price.unit == "token" and price.content in {"", "text"})
    found = {price.per_million for price in text if price.kind == kind}
    return found.pop() if len(found) == 1 else None


def estimate(prices: Iterable[Price], usage: Usage) -> float | None:
    """Give what an answer's tokens cost in US dollars; None when a price or a count that it takes is unknown.

    Cached tokens cost the input's price where they have none of their own. Reasoning is part of the output.
    """
    prices = tuple(prices)
    into, out = usd(prices, "input"), usd(prices, "output")
    saved = usd(prices, "cached") if any(price.kind == "cached" for price in prices) else into
    read, cached, written = usage.input_tokens, usage.cached_tokens or 0, usage.output_tokens
    if into is None or out is None or read is None or written is None or _has_sound(usage):
        return None
    if (cached and saved is None) or not 0 <= cached <= read <= MOST_TOKENS or not 0 <= written <= MOST_TOKENS:
        return None
    return round(((read - cached) * into + cached * (saved or 0) + written * out) / MILLION, 12)


def _has_sound(usage: Usage) -> bool:
    """Say whether sound was among the tokens: it has prices of its own."""
    return any(number_in(object_in(usage.details.get(name)).get("audio_tokens")) for name in _PARTS)


def dollars(amount: float) -> str:
    """Write an amount without an exponent and without idle zeros."""
    return f"{amount:.9f}".rstrip("0").rstrip(".")


def about(amount: float) -> str:
    """Write two digits of an amount that is not known better, without an exponent."""
    return dollars(float(f"{amount:.2g}"))
