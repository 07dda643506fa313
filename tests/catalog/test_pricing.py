"""The cost of an answer is estimated from the prices of the catalog."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.model_list import Price, parse_prices, price_per_million
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog.pricing import estimate_cost
from aiml_cli.output.format_money import format_dollars, round_dollars

INPUT = Price("input", "token", "text", 2, 1_000_000)
OUTPUT = Price("output", "token", "text", 0.01, 1000)
CACHED = Price("cached", "token", "text", 0.5, 1_000_000)
LONG_CONTEXT_INPUT = Price("input", "token", "text", 4, 1_000_000, (("context", "long"),))


@pytest.mark.parametrize(
    ("prices", "usage", "cost"),
    [
        ([INPUT, OUTPUT], Usage(1000, 100), 0.003),
        ([INPUT, OUTPUT, CACHED], Usage(1000, 100, cached_tokens=400), 0.0024),
        ([INPUT, OUTPUT], Usage(1000, 100, cached_tokens=400), 0.003),
        ([INPUT, OUTPUT], Usage(1000, 100, reasoning_tokens=90), 0.003),
        ([INPUT, OUTPUT], Usage(0, 0), 0.0),
        ([Price("input", "token", "", 0, 1), Price("output", "token", "", 0, 1)], Usage(5, 5), 0.0),
    ],
)
def test_the_estimate_follows_the_prices_of_the_catalog(prices: list[Price], usage: Usage, cost: float) -> None:
    assert estimate_cost(prices, usage) == pytest.approx(cost, abs=1e-12)


@pytest.mark.parametrize(
    ("prices", "usage"),
    [
        ([], Usage(10, 10)),
        ([INPUT], Usage(10, 10)),
        ([OUTPUT], Usage(10, 10)),
        ([INPUT, LONG_CONTEXT_INPUT, OUTPUT], Usage(10, 10)),
        ([INPUT, OUTPUT, CACHED, Price("cached", "token", "", 9, 1)], Usage(10, 10, cached_tokens=1)),
        ([INPUT, OUTPUT], Usage(None, 10)),
        ([INPUT, OUTPUT], Usage(10, None, 20)),
        ([INPUT, OUTPUT], Usage(-1, 10)),
        ([INPUT, OUTPUT], Usage(10, 10, cached_tokens=11)),
        ([INPUT, OUTPUT], Usage(10**400, 10)),
        ([INPUT, OUTPUT], Usage(10, 10, details={"prompt_tokens_details": {"audio_tokens": 3}})),
        ([INPUT, OUTPUT], Usage(10, 10, details={"output_tokens_details": {"audio_tokens": 3}})),
    ],
)
def test_without_a_known_price_there_is_no_estimate(prices: list[Price], usage: Usage) -> None:
    assert estimate_cost(prices, usage) is None


def test_an_ambiguous_cached_price_does_not_matter_without_cached_tokens() -> None:
    prices = [INPUT, OUTPUT, CACHED, Price("cached", "token", "", 9, 1)]
    assert estimate_cost(prices, Usage(1000, 100)) == pytest.approx(0.003)


def test_only_the_prices_of_text_are_used() -> None:
    sound = {"name": "token", "content": "audio", "origin": "provided", "price": 32, "per": 1000000}
    assert price_per_million(parse_prices({"units": [sound]}), "input") is None


@pytest.mark.parametrize(
    ("amount", "exact", "rounded"),
    [
        (0.0, "0", "0"),
        (2.0, "2", "2"),
        (0.00123456, "0.00123456", "0.0012"),
        (5e-7, "0.0000005", "0.0000005"),
        (1234.5, "1234.5", "1200"),
    ],
)
def test_an_amount_is_written_without_an_exponent(amount: float, exact: str, rounded: str) -> None:
    assert (format_dollars(amount), round_dollars(amount)) == (exact, rounded)


COUNTS: Any = st.none() | st.integers()


@given(COUNTS, COUNTS, COUNTS)
def test_no_estimate_is_negative_or_infinite(read: int | None, written: int | None, cached: int | None) -> None:
    cost = estimate_cost([INPUT, OUTPUT, CACHED], Usage(read, written, cached_tokens=cached))
    assert cost is None or 0 <= cost < float("inf")
