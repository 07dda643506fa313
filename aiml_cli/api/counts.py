"""Read what an answer used and cost, which both endpoints tell in one form under other names."""

from collections.abc import Iterator
from typing import Any

from aiml_cli.api.events import Usage
from aiml_cli.api.loose import object_in
from aiml_cli.api.wire import a_count, an_amount, an_object


def usage(found: dict[str, Any], into: str, out: str) -> Iterator[Usage]:
    """Read the counts, and the price under the gateway's name or OpenRouter's.

    What surrounds the counts is read loosely: an empty array for an object must not spoil a paid answer.
    `into` and `out` are what the endpoint calls the two sides: prompt and completion, or input and output.
    """
    counts = an_object(found.get("usage"))
    spent = object_in(object_in(found.get("meta")).get("usage")).get("usd_spent", counts.get("cost"))
    if not counts and spent is None:
        return
    yield Usage(
        a_count(counts.get(f"{into}_tokens")),
        a_count(counts.get(f"{out}_tokens")),
        a_count(counts.get("total_tokens")),
        a_count(object_in(counts.get(f"{into}_tokens_details")).get("cached_tokens")),
        a_count(object_in(counts.get(f"{out}_tokens_details")).get("reasoning_tokens")),
        an_amount(spent),
        counts,
    )
