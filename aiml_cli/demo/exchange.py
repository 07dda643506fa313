"""One request with its answers, what it used and what that would cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from aiml_cli.demo.answers import TOKEN, DemoAnswer
from aiml_cli.demo.question import DemoRequest

Json = Any
# Play money, so that the cost can be shown; the catalogue says so. In USD for so many tokens.
INPUT_PRICE, OUTPUT_PRICE, PER = 1.0, 4.0, 1_000_000
CREDITS = 2_000_000  # for one USD: the FAQ of the vendor's documentation


@dataclass(frozen=True, slots=True)
class DemoExchange:
    """Hold what both endpoints write their reply from; `created` is in Unix seconds."""

    body: Mapping[str, Json]
    question: DemoRequest
    answers: tuple[DemoAnswer, ...]
    created: int
    identity: str

    @property
    def input_tokens(self) -> int:
        """Count what was said to the model."""
        return max(1, -(-self.question.heard // TOKEN))

    @property
    def output_tokens(self) -> int:
        """Count what was answered in all choices."""
        return sum(each.output_tokens for each in self.answers)

    @property
    def reasoning_tokens(self) -> int:
        """Count the part of it that was thought."""
        return sum(each.reasoning_tokens for each in self.answers)

    @property
    def usd(self) -> float:
        """Price the exchange."""
        return round((self.input_tokens * INPUT_PRICE + self.output_tokens * OUTPUT_PRICE) / PER, 9)

    @property
    def credits(self) -> int:
        """Price the exchange in the gateway's own money."""
        return round(self.usd * CREDITS)


def new_identity() -> str:
    """Make what the ids of a reply are built from."""
    return uuid4().hex


def fake_logprob(token: str, alternatives: int) -> Json:
    """Make up the log probability of a token, the same one each time."""
    value = -(sum(token.encode("utf-8", "replace")) % 97 + 1) / 100
    others = [_entry(token if rank == 0 else f"demo{rank}", value - rank) for rank in range(alternatives)]
    return {**_entry(token, value), "top_logprobs": others}


def _entry(token: str, value: float) -> Json:
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}


def encode_json(value: Json) -> bytes:
    """Write JSON as the gateway does: UTF-8, nothing escaped that need not be, lone surrogates replaced."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def sse_event(value: Json, name: str = "") -> bytes:
    """Write a server-sent event, with an `event:` line where it has a name."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + encode_json(value) + b"\n\n"
