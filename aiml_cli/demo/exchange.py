"""One request with its answers, the tokens that it used, and their price."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from aiml_cli.demo.answers import CHARS_PER_TOKEN, DemoAnswer
from aiml_cli.demo.parsed_request import DemoRequest, Json

# Invented prices, so that clients have a cost to show; the model list says so. In US dollars per PRICE_UNIT tokens.
INPUT_PRICE, OUTPUT_PRICE, PRICE_UNIT = 1.0, 4.0, 1_000_000
CREDITS_PER_USD = 2_000_000  # from the FAQ in the vendor's documentation


@dataclass(frozen=True, slots=True)
class DemoExchange:
    """The data that both endpoints build a response from; `created` is in Unix seconds."""

    body: Mapping[str, Json]
    request: DemoRequest
    answers: tuple[DemoAnswer, ...]
    created: int
    unique_id: str

    @property
    def input_tokens(self) -> int:
        """Return the tokens of all messages, rounded up."""
        return max(1, -(-self.request.input_chars // CHARS_PER_TOKEN))

    @property
    def output_tokens(self) -> int:
        """Return the tokens of all choices."""
        return sum(answer.output_tokens for answer in self.answers)

    @property
    def reasoning_tokens(self) -> int:
        """Return the reasoning tokens of all choices."""
        return sum(answer.reasoning_tokens for answer in self.answers)

    @property
    def usd(self) -> float:
        """Return the price in US dollars."""
        return round((self.input_tokens * INPUT_PRICE + self.output_tokens * OUTPUT_PRICE) / PRICE_UNIT, 9)

    @property
    def credits(self) -> int:
        """Return the price in the gateway's credits."""
        return round(self.usd * CREDITS_PER_USD)


def make_id() -> str:
    """Return a new unique id of 32 hex digits."""
    return uuid4().hex


def fake_logprob(token: str, alternatives: int) -> Json:
    """Return an invented log probability, always the same one for a token."""
    value = -(sum(token.encode("utf-8", "replace")) % 97 + 1) / 100
    others = [_build_entry(token if rank == 0 else f"demo{rank}", value - rank) for rank in range(alternatives)]
    return {**_build_entry(token, value), "top_logprobs": others}


def _build_entry(token: str, value: float) -> Json:
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}


def encode_json(value: Json) -> bytes:
    """Encode JSON as the gateway does: UTF-8 without needless escapes; lone surrogates are replaced."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def format_sse_event(value: Json, name: str = "") -> bytes:
    """Format a server-sent event, with an `event:` line if it has a name."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + encode_json(value) + b"\n\n"
