"""What is known of an answer in the end: what was said, how it ended, how long it took, what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from aiml_cli.api.completion_builder import CUT, Completion
from aiml_cli.api.error_response import error_from_event
from aiml_cli.api.lenient_json import as_amount
from aiml_cli.errors import AimlError, IncompleteAnswer

# What comes in less time came at once: a speed would say nothing.
SHORTEST_S = 0.05
ADVICE = {
    "cap": "allow more with --max-tokens, or take it as it is with --allow-cut",
    "filter": "put the request in other words",
    "refusal": "put the request in other words, or ask another model",
    "cut": "ask again",
}


class Timing(NamedTuple):
    """Hold seconds: to the first piece of the answer (None when nothing came), and in all."""

    first_token_s: float | None = None
    total_s: float | None = None


class SavedFile(NamedTuple):
    """Name a file that part of an answer was written to: audio, image."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold an answer and its circumstances. `status` is the HTTP status of the last try."""

    endpoint: str
    completion: Completion = field(default_factory=Completion)
    error: AimlError | None = None
    timing: Timing = field(default_factory=Timing)
    request_id: str | None = None
    previous_response_id: str | None = None
    status: int | None = None
    attempts: int = 0
    header_cost_usd: float | None = None
    estimate_usd: float | None = None
    saved: tuple[SavedFile, ...] = ()

    @property
    def reported_cost_usd(self) -> float | None:
        """Give the price that the gateway told, in the body or in a header; None when it told none."""
        usage = self.completion.usage
        told = None if usage is None else as_amount(usage.cost_usd)
        return self.header_cost_usd if told is None else told

    @property
    def cost_usd(self) -> float | None:
        """Give the price that the gateway told, else the one estimated here."""
        return self.estimate_usd if self.reported_cost_usd is None else self.reported_cost_usd

    @property
    def cost_source(self) -> str | None:
        """Say whose word the price is: "gateway", "estimate", or None where there is none."""
        if self.reported_cost_usd is not None:
            return "gateway"
        return None if self.estimate_usd is None else "estimate"

    @property
    def tokens_per_second(self) -> float | None:
        """Give the speed after the first piece came."""
        usage, timing = self.completion.usage, self.timing
        if usage is None or not usage.output_tokens or timing.total_s is None or timing.first_token_s is None:
            return None
        seconds = timing.total_s - timing.first_token_s
        return usage.output_tokens / seconds if seconds >= SHORTEST_S else None


def judge_answer(
    completion: Completion, *, allow_cut: bool, background: bool, cancelling: bool = False
) -> AimlError | None:
    """Judge how an answer ended; None when it is whole, or as short as the user allowed.

    A response that the server took on to answer in the background is whole as it is, and so is one that was
    to be cancelled.
    """
    if completion.reported_error:
        return error_from_event(completion.reported_error)
    expected = ("queued", "in_progress", "cancelled") if cancelling else ("queued", "in_progress") if background else ()
    if not completion.incomplete_reason or completion.status in expected:
        return None
    if completion.hit_length_limit and allow_cut:
        return None
    return IncompleteAnswer(completion.incomplete_reason, _advice(completion))


def add_costs(answer: Answer, parts: Sequence[Answer]) -> Answer:
    """Give an answer the price of all the exchanges that it took: an estimate where one of them was told none."""
    known = [part.cost_usd for part in parts if part.cost_usd is not None]
    total = sum(known) if known else None
    is_told = all(part.reported_cost_usd is not None for part in parts)
    usage = answer.completion.usage
    return replace(
        answer,
        completion=replace(answer.completion, usage=usage and usage._replace(cost_usd=None)),
        header_cost_usd=total if is_told else None,
        estimate_usd=None if is_told else total,
    )


def can_continue(completion: Completion) -> bool:
    """Say whether there is a text whose rest can be asked for: cut by the connection, or at the length cap."""
    first, is_cut = completion.first, completion.hit_length_limit or completion.incomplete_reason == CUT
    is_text = first.text and not (first.tool_calls or first.refusal or completion.reported_error)
    return bool(is_cut and is_text and len(completion.choices) == 1)


def _advice(completion: Completion) -> str:
    if completion.hit_length_limit:
        return ADVICE["cap"]
    if "filter" in completion.incomplete_reason:
        return ADVICE["filter"]
    return ADVICE["refusal" if completion.incomplete_reason == "the model refused" else "cut"]
