"""Print how many rows and tokens a run would send, and its price, for --estimate; nothing is sent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import Any, NamedTuple

from aiml_cli.api.messages import Conversation, Message
from aiml_cli.api.model_list import Model, build_models
from aiml_cli.batch.each_run import MakeConversation, open_resume_file
from aiml_cli.batch.resume_file import RowHasher
from aiml_cli.batch.rows import Row
from aiml_cli.batch.run_summary import count_requests
from aiml_cli.catalog.find_models import find_model, load_stored_models
from aiml_cli.catalog.pricing import TokenBound, bound_tokens, estimate_tokens
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, PartialFailure, UsageError
from aiml_cli.output.choose_renderer import output_format
from aiml_cli.output.format_money import round_dollars
from aiml_cli.output.json_output import json_line
from aiml_cli.output.table import format_details, format_tsv, table_width
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.urls import host_of
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import check_stdout, print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal

MAX_ERRORS_SHOWN = 5
ROUNDING_ERROR = 1e-9


class RowTokens:
    """Counts the tokens of each row's request; the part that all rows share, `shared`, is counted once."""

    def __init__(self, request: ChatRequest, template: Conversation) -> None:
        self._build, self._options = request.endpoint.build_body, Options(detail=request.options.detail)
        body = request.build_body(template)
        self.models = [name.strip() for name in str(body.get("model") or "").split(",")]
        self.shared = bound_tokens(body)
        self._shared_tokens = self.shared.input_tokens - self._count_prompt(template).input_tokens
        word = Conversation((Message("user", ("a",)),))
        self._tokens_beside_text = self.count(word).input_tokens - estimate_tokens("a")

    def count(self, conversation: Conversation) -> TokenBound:
        """Return the maximum number of tokens that the request of a row may use."""
        prompt = self._count_prompt(conversation)
        uncounted = prompt.uncounted or self.shared.uncounted
        return self.shared._replace(input_tokens=self._shared_tokens + prompt.input_tokens, uncounted=uncounted)

    def count_text(self, text: str) -> TokenBound:
        """Return what `count` returns, but faster, for a row whose prompt is a single string."""
        return self.shared._replace(input_tokens=self._tokens_beside_text + estimate_tokens(text))

    def _count_prompt(self, conversation: Conversation) -> TokenBound:
        """Count the last message; the others are the same for all rows."""
        return bound_tokens(self._build(Conversation(conversation.messages[-1:]), self._options))


class ModelPrice(NamedTuple):
    """A model and its entry in the stored catalog; `problem` says why its price is unknown."""

    name: str
    model: Model | None
    problem: str = ""
    is_without_catalog: bool = False

    @property
    def output_limit(self) -> int | None:
        """Return the maximum number of tokens of an answer, or None if unknown."""
        return self.model.output_limit if self.model else None

    def compute_usd(self, tokens: TokenBound) -> float | None:
        """Return the cost of tokens in US dollars, or None if unknown."""
        return tokens.compute_usd(self.model.prices) if self.model and not tokens.uncounted else None


def find_price(settings: Settings, tokens: RowTokens) -> ModelPrice:
    """Return the most expensive model of the stored catalog; one without a price counts as the most expensive."""
    models = _load_models(settings)
    prices = [_find_price(models, name, host_of(settings.options.base_url or "")) for name in tokens.models]
    shared = tokens.shared._replace(uncounted="")
    return max(prices, key=lambda price: float("inf") if price.problem else price.compute_usd(shared) or 0.0)


def _load_models(settings: Settings) -> list[Model] | None:
    """Return the models of the stored catalog, or None; no request is sent, not even to the demo server."""
    if not settings.options.demo:
        return load_stored_models(settings)
    from aiml_cli.demo.models import list_models  # only --demo needs them

    return build_models(list_models({"include": ["pricing"]}))


def _find_price(models: list[Model] | None, name: str, host: str) -> ModelPrice:
    if models is None:
        return ModelPrice(name, None, f"no catalog of {host} is stored", is_without_catalog=True)
    model = find_model(models, name)
    has_price = model and TokenBound(0, 0).compute_usd(model.prices) is not None
    return ModelPrice(name, model, "" if has_price else f"the catalog has no fixed price for {name}")


@dataclass
class RowTotals:
    """The totals of a run. `input_tokens` is for one request per row; `errors` contains the first errors.

    `within_budget` is the number of rows after which --max-cost may end the run, None if it will not.
    """

    rows: int = 0
    done: int = 0
    failed: int = 0
    input_tokens: int = 0
    uncounted: str = ""
    within_budget: int | None = None
    is_complete: bool = False
    errors: list[tuple[int, AimlError]] = field(default_factory=list)

    @property
    def to_ask(self) -> int:
        """Return how many rows would be sent."""
        return self.rows - self.done - self.failed

    def add_error(self, row: Row, error: AimlError) -> None:
        """Count a row that cannot be sent."""
        self.failed += 1
        if len(self.errors) < MAX_ERRORS_SHOWN:
            self.errors.append((row.number, error))

    def add_tokens(self, tokens: TokenBound) -> None:
        """Count the request of a row."""
        self.input_tokens += tokens.input_tokens
        self.uncounted = self.uncounted or tokens.uncounted


class Estimate:
    """The figures of a run: what was counted, and the prices."""

    def __init__(self, options: Options, endpoint: str, price: ModelPrice, shared: TokenBound) -> None:
        self.totals, self.options, self.price = RowTotals(), options, price
        self._endpoint, self._shared = endpoint, shared
        self._requests = count_requests(options)
        self._worst_usd = 0.0

    def add_request(self, tokens: TokenBound) -> None:
        """Count the request of a row, and check whether it fits into --max-cost."""
        totals, limit = self.totals, self.options.max_cost
        totals.add_tokens(tokens)
        if limit is None or totals.within_budget is not None or self.price.problem:
            return
        self._worst_usd += (self.price.compute_usd(tokens) or 0.0) * self._requests
        if self._worst_usd > limit:
            totals.within_budget = totals.to_ask - 1

    @property
    def has_limit(self) -> bool:
        """True if the request limits the length of the answers."""
        return self._shared.output_tokens is not None

    @property
    def output_tokens(self) -> int | None:
        """Return the maximum tokens of all answers, from the limit of the request or the model; None if unknown."""
        one = self._shared.output_tokens
        if one is None and self.price.output_limit:
            one = self.price.output_limit * (self.options.n or 1)
        return None if one is None else one * self._requests * self.totals.to_ask

    @property
    def unknown(self) -> str:
        """Return why the price is unknown, or "" if it is known."""
        return self.price.problem or (f"it includes {self.totals.uncounted}" if self.totals.uncounted else "")

    def input_usd(self) -> float | None:
        """Return the cost of the input in US dollars if each row needs one request; None if unknown."""
        return None if self.unknown else self._compute_usd(self.totals.input_tokens, 0)

    def usd_at_most(self) -> float | None:
        """Return the most that the run may cost in US dollars; None if unknown."""
        if self.unknown or self.output_tokens is None:
            return None
        return self._compute_usd(self.totals.input_tokens * self._requests, self.output_tokens)

    def _compute_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        bound = self._shared._replace(input_tokens=input_tokens, output_tokens=output_tokens, uncounted="")
        return self.price.compute_usd(bound)

    def to_dict(self) -> dict[str, Any]:
        """Return the object that --json prints."""
        totals = self.totals
        limited_by = "request" if self.has_limit else "model" if self.output_tokens is not None else None
        errors = [{"row": row, "message": error.message, "hint": error.hint or None} for row, error in totals.errors]
        return {
            "rows": totals.rows,
            "done": totals.done,
            "failed": totals.failed,
            "to_ask": totals.to_ask,
            "requests_per_row": self._requests,
            "endpoint": self._endpoint,
            "model": self.price.name,
            "input_tokens": totals.input_tokens,
            "uncounted": totals.uncounted or None,
            "output_tokens_at_most": self.output_tokens,
            "output_limited_by": limited_by,
            "input_cost_usd": self.input_usd(),
            "cost_usd_at_most": self.usd_at_most(),
            "cost_unknown": self.unknown or None,
            "max_cost": self.options.max_cost,
            "rows_within_max_cost": totals.within_budget,
            "errors": errors,
            "complete": totals.is_complete,
        }

    def list_lines(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each line of the table."""
        totals = self.totals
        yield "rows", f"{totals.rows:,}" + ("" if totals.is_complete else " so far")
        if totals.done:
            yield "already done", f"{totals.done:,}, in {self.options.resume_from}"
        if totals.failed:
            yield "cannot be sent", f"{totals.failed:,}"
        if totals.done or totals.failed:
            yield "to send", f"{totals.to_ask:,}"
        if self._requests > 1:
            yield "requests", f"up to {self._requests} per row"
        uncounted = f", not counting {totals.uncounted}" if totals.uncounted else ""
        yield "tokens in", f"about {totals.input_tokens:,}{uncounted}"
        yield "tokens out", self._describe_output()
        yield "model", self.price.name
        yield "price", self._describe_price()
        if self.options.max_cost is not None:
            yield "--max-cost", self._describe_budget()

    def _describe_output(self) -> str:
        if self.output_tokens is None:
            return "unknown; --max-tokens limits each answer"
        reason = "" if self.has_limit else ", the model's own limit; --max-tokens sets a lower one"
        return f"at most {self.output_tokens:,}{reason}"

    def _describe_price(self) -> str:
        if self.unknown:
            return f"unknown: {self.unknown}" + ("; aiml models fetches it" if self.price.is_without_catalog else "")
        inner, most = self.input_usd() or 0.0, self.usd_at_most()
        rest = "; the answers are not included" if most is None else f", at most {_format_usd(most, up=True)} in all"
        return f"about {_format_usd(inner)} for the input{rest}"

    def _describe_budget(self) -> str:
        limit, rows = _format_usd(self.options.max_cost or 0.0), self.totals.within_budget
        if self.unknown:
            return f"{limit}: cannot be checked"
        what = "all rows" if self.has_limit else "the input; --max-tokens limits the answers"
        return f"{limit}: enough for {what}" if rows is None else f"{limit}: may end the run after {_count_rows(rows)}"


def estimate_rows(
    settings: Settings,
    request: ChatRequest,
    rows: Iterable[Row],
    *,
    make: MakeConversation,
    hasher: RowHasher,
    template: Conversation,
) -> int:
    """Print the estimate of a run over these rows; return 0, or raise the error with which the run would end.

    After a signal, the figures so far are printed.
    """
    check_stdout()
    tokens = RowTokens(request, template)
    estimate = Estimate(settings.options, request.endpoint.name, find_price(settings, tokens), tokens.shared)
    try:
        _count(estimate, tokens, rows, make, _DoneRows(settings.options, request, hasher))
        estimate.totals.is_complete = True
    except Stopped:
        _print(estimate)
        raise
    _print(estimate)
    _check(estimate)
    return 0


class _DoneRows:
    """Looks up rows in the file of --resume-from, as a run does; the file is only read."""

    def __init__(self, options: Options, request: ChatRequest, hasher: RowHasher) -> None:
        self._file = open_resume_file(options, is_read_only=True) if options.resume_from else None
        self._request, self._hasher = request, hasher

    def has(self, row: Row) -> bool:
        """True if the hash of a row shows that it is done."""
        return self._file is not None and not row.error and self._file.has(row.number, self._hasher.hash(row))

    def has_body(self, row: Row, conversation: Conversation) -> bool:
        """True if the hash of its complete request, as older versions wrote it, shows that a row is done."""
        if self._file is None:
            return False
        body = self._request.build_body(conversation)
        return self._file.has(row.number, self._hasher.hash_body(row, body))


def _count(
    estimate: Estimate, tokens: RowTokens, rows: Iterable[Row], make: MakeConversation, done_rows: _DoneRows
) -> None:
    totals = estimate.totals
    for row in rows:
        totals.rows += 1
        if done_rows.has(row):
            totals.done += 1
            continue
        try:
            conversation = make(row)
            is_done = done_rows.has_body(row, conversation)
        except AimlError as error:
            totals.add_error(row, error)
            continue
        if is_done:
            totals.done += 1
        else:
            text = _get_text(conversation)
            estimate.add_request(tokens.count(conversation) if text is None else tokens.count_text(text))


def _get_text(conversation: Conversation) -> str | None:
    """Return the prompt if it is a single string, as in most rows, else None."""
    last = conversation.messages[-1]
    content = last.content if isinstance(last, Message) else ()
    return content[0] if len(content) == 1 and isinstance(content[0], str) else None


def _print(estimate: Estimate) -> None:
    """Print the errors of rows on standard error, and the figures as a table or as JSON."""
    for row, error in estimate.totals.errors:
        print_err(f"aiml: row {row} cannot be sent: {error.message}")
    if output_format(estimate.options) in ("json", "jsonl"):
        write_out(json_line(estimate.to_dict(), indent=2))
        return
    lines = list(estimate.list_lines())
    print_out(format_details(lines, table_width()) if is_terminal(1) else format_tsv(lines))


def _check(estimate: Estimate) -> None:
    """Raise the error with which the run would end, or may end."""
    totals, price = estimate.totals, estimate.price
    if estimate.options.max_cost is not None and estimate.unknown and totals.to_ask:
        hint = "run aiml models to fetch the catalog" if price.is_without_catalog else "aiml models shows prices"
        raise UsageError(f"--max-cost: the cost of a row is unknown: {estimate.unknown}", hint)
    problems = []
    if totals.within_budget is not None:
        problems.append(f"--max-cost may end the run after {totals.within_budget:,} of {_count_rows(totals.to_ask)}")
    if totals.failed:
        problems.append(f"{totals.failed:,} of {_count_rows(totals.rows)} cannot be sent")
    if problems:
        raise PartialFailure("; ".join(problems))


def _count_rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _format_usd(amount: float, *, up: bool = False) -> str:
    """Return an amount with cents if it is a dollar or more, else with two significant digits."""
    if amount >= 1:
        return f"${ceil(amount * 100) / 100 if up else amount:,.2f}"
    if up and amount > 0:
        step = 10.0 ** (floor(log10(amount)) - 1)
        amount = ceil(amount / step - ROUNDING_ERROR) * step
    return f"${round_dollars(amount)}"
