"""The result of a request: the completion, how it ended, how long it took and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiml_cli.api.completion_builder import LENGTH_REACHED, STREAM_CUT, Completion, add_usage
from aiml_cli.api.finish_reasons import Ending
from aiml_cli.api.json_values import as_amount
from aiml_cli.api.messages import AnyMessage
from aiml_cli.errors import AimlError, IncompleteAnswer, ServerError

# An answer that takes less time was not streamed, so its speed is meaningless.
MIN_STREAM_SECONDS = 0.05
_HINTS = {
    Ending.LENGTH: "raise the limit with --max-tokens, or accept the incomplete answer with --allow-cut",
    Ending.CONTEXT: "--fit oldest leaves out the oldest turns; --allow-cut accepts the incomplete answer",
    Ending.FILTER: "rephrase the request",
    Ending.REFUSAL: "rephrase the request, or use another model",
}


class Timing(NamedTuple):
    """Seconds to the first delta (None if there was none), and in total."""

    first_token_s: float | None = None
    total_s: float | None = None


class RanCall(NamedTuple):
    """A call of a tool that runs on this machine. The model wrote `arguments` and received `result`.

    `allowed_by` is "--allow", "yes", "always" or "recording"; "" if the call has not run. `is_refused` means that
    the call was not allowed; any other call that has not run was invalid.
    """

    id: str
    name: str
    arguments: str
    result: str = ""
    is_error: bool = False
    allowed_by: str = ""
    is_refused: bool = False


class ToolRound(NamedTuple):
    """An answer that called tools, and its calls. `results` are the messages that send their results to the model."""

    completion: Completion
    calls: tuple[RanCall, ...]
    results: tuple[AnyMessage, ...]


class SavedFile(NamedTuple):
    """A file that audio or an image of the answer was written to."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with its status, timing, cost and error.

    `status` is the HTTP status of the last attempt. `rounds` are the answers before this one that called tools. An
    answer that `is_cached` was stored by an earlier call, and costs nothing. `saved_usd` is what the server's
    prompt cache saved, None if that is unknown. `data` is the parsed answer if JSON was requested and is shown.
    """

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
    rounds: tuple[ToolRound, ...] = ()
    is_cached: bool = False
    saved_usd: float | None = None
    data: Any = None

    @property
    def reported_cost_usd(self) -> float | None:
        """Return the cost that the gateway reports in the body or a header, or None."""
        if self.is_cached:
            return 0.0
        usage = self.completion.usage
        body_cost_usd = None if usage is None else as_amount(usage.cost_usd)
        return self.header_cost_usd if body_cost_usd is None else body_cost_usd

    @property
    def cost_usd(self) -> float | None:
        """Return the reported cost, or else the estimate."""
        return self.estimate_usd if self.reported_cost_usd is None else self.reported_cost_usd

    @property
    def cost_source(self) -> str | None:
        """Return "gateway", "estimate", "cache" if nothing was sent, or None if the cost is unknown."""
        if self.is_cached:
            return "cache"
        if self.reported_cost_usd is not None:
            return "gateway"
        return None if self.estimate_usd is None else "estimate"

    @property
    def tokens_per_second(self) -> float | None:
        """Return the tokens per second after the first delta, or None if that is unknown."""
        usage, timing = self.completion.usage, self.timing
        if usage is None or not usage.output_tokens or timing.total_s is None or timing.first_token_s is None:
            return None
        seconds = timing.total_s - timing.first_token_s
        return usage.output_tokens / seconds if seconds >= MIN_STREAM_SECONDS else None


def error_from_completion(
    completion: Completion, *, allow_cut: bool, background: bool, cancelling: bool = False
) -> AimlError | None:
    """Return the error for a completion that failed or is incomplete, or None.

    `allow_cut` accepts a completion that stopped at the length limit, `background` one that is still in progress, and
    `cancelling` one that is still in progress or was cancelled.
    """
    if completion.reported_error:
        from aiml_cli.api.error_response import error_from_event  # few answers report one

        return error_from_event(completion.reported_error)
    expected = ("queued", "in_progress", "cancelled") if cancelling else ("queued", "in_progress") if background else ()
    is_accepted = completion.status in expected or (allow_cut and completion.hit_length_limit)
    if is_accepted or not completion.incomplete_reason:
        return None
    error_class = ServerError if completion.ending is Ending.ERROR else IncompleteAnswer
    is_cut = completion.incomplete_reason == STREAM_CUT
    hint = "try again" if is_cut else _HINTS.get(completion.ending, "try again")
    return error_class(completion.incomplete_reason, hint)


def add_costs(answer: Answer, parts: Sequence[Answer]) -> Answer:
    """Return the answer with the total cost of its requests; an estimate unless all of them report theirs."""
    known = [part.cost_usd for part in parts if part.cost_usd is not None]
    total = sum(known) if known else None
    is_reported = all(part.reported_cost_usd is not None for part in parts)
    usage = answer.completion.usage
    return replace(
        answer,
        completion=replace(answer.completion, usage=usage and usage._replace(cost_usd=None)),
        header_cost_usd=total if is_reported else None,
        estimate_usd=None if is_reported else total,
    )


def add_tokens(answer: Answer, earlier: Sequence[Answer]) -> Answer:
    """Return the answer with the tokens and the seconds of earlier requests added to its own."""
    usage, total = None, 0.0
    for each in (*earlier, answer):
        usage, total = add_usage(usage, each.completion.usage), total + (each.timing.total_s or 0.0)
    first = next((each.timing.first_token_s for each in earlier), answer.timing.first_token_s)
    usage = usage and usage._replace(cost_usd=None)  # `add_costs` adds up the costs, not this function
    return replace(answer, completion=replace(answer.completion, usage=usage), timing=Timing(first, total or None))


def can_continue(completion: Completion) -> bool:
    """True if the only choice is text that was cut off by the length limit or by the end of the connection."""
    first, is_cut = completion.first, completion.incomplete_reason in (LENGTH_REACHED, STREAM_CUT)
    is_text = first.text and not (first.tool_calls or first.refusal or completion.reported_error)
    return bool(is_cut and is_text and len(completion.choices) == 1)
