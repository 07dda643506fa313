"""Limit what a call or a run may spend (--max-cost): check each request before it is sent, and add up the costs."""

from collections.abc import Mapping, Sequence
from threading import Condition, Lock
from typing import Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.messages import Conversation, HistoryMode
from aiml_cli.api.model_list import Model, Price
from aiml_cli.api.stream_events import Usage
from aiml_cli.catalog import find_models
from aiml_cli.catalog.find_models import find_model
from aiml_cli.catalog.pricing import TokenBound, bound_tokens, estimate_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AuthError, RequestRejected, ServerError, UsageError
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

NO_PRICE_HINT = "aiml models shows which models have a price; or leave out --max-cost"
ROUNDING_ERROR_USD = 1e-12
_LOCK = Lock()
_models: dict[tuple[str, str], Model | None] = {}
_warned_models: set[str] = set()


class Reservation(NamedTuple):
    """An amount reserved for a request until its cost is known."""

    usd: float
    settings: Settings
    body: Mapping[str, Any]

    def cost_of(self, answer: Answer) -> float:
        """Return the cost of the answer: as reported, or computed from its tokens, or else the reserved amount."""
        if answer.reported_cost_usd is not None:
            return answer.reported_cost_usd
        return cost_of(self.settings, self.body, answer.completion.usage)


class Budget:
    """The limit, the amount spent, and the amount reserved for requests in progress; thread-safe.

    Amounts are US dollars; without a `limit` nothing is checked. `spent` is the sum of all settled costs.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit, self._change = limit, Condition()
        self.spent = self._reserved = 0.0
        self._is_closed = False

    def reserve(self, settings: Settings, body: Mapping[str, Any]) -> Reservation:
        """Reserve the most that a request could cost; raise UsageError if that exceeds what is left."""
        if self._limit is None:
            return Reservation(0.0, settings, body)
        with self._change:
            check_max_cost(settings, body, self.spent, self._reserved)
            usd = max_cost_of(settings, body) or 0.0
            self._reserved += usd
        return Reservation(usd, settings, body)

    def wait_for(self, usd: float) -> bool:
        """Wait until an amount fits, and reserve it; return False if it never will fit."""
        if self._limit is None:
            return True
        with self._change:
            while not self._is_closed:
                if self.spent + self._reserved + usd <= self._limit:
                    self._reserved += usd
                    return True
                if not self._reserved:
                    return False
                self._change.wait()
            return False

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reserved amount with the actual cost; if the cost is unknown, the reserved amount is spent."""
        with self._change:
            self._reserved -= reserved_usd
            if self._reserved < ROUNDING_ERROR_USD:
                self._reserved = 0.0
            self.spent += reserved_usd if cost_usd is None else cost_usd
            self._change.notify_all()

    def close(self) -> None:
        """End all calls of `wait_for`; nothing is reserved from now on."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()


def reserve_first(budget: Budget, request: ChatRequest, conversation: Conversation) -> Reservation:
    """Reserve the cost of the first request of a call, with all previous turns and the most expensive model."""
    body = request.build_body(conversation, HistoryMode.FULL)
    models = ",".join([str(body.get("model")), *request.fallback_models])
    return budget.reserve(request.settings, {**body, "model": models})._replace(body=body)


def reserve_next(budget: Budget, last: Reservation, answer: Answer, body: Mapping[str, Any]) -> Reservation | None:
    """Settle the last request of a call and reserve the next; if it could cost too much, print why and return None."""
    budget.settle(last.usd, last.cost_of(answer))
    try:
        return budget.reserve(last.settings, body)
    except UsageError as error:
        print_err(f"aiml: {error.message}")
        return None


class CostBound(NamedTuple):
    """The most that a request may cost with one model; `usd` is None if that is unknown."""

    model: str
    tokens: TokenBound
    usd: float | None


def max_cost_of(settings: Settings, body: Mapping[str, Any]) -> float | None:
    """Return the most that a request may cost in US dollars, or None if that is unknown.

    Without a token limit only the input counts. Of several models the most expensive counts. May ask the server for
    its catalog.
    """
    bound = _find_highest_bound(settings, body)
    return None if bound.tokens.uncounted else bound.usd


def check_max_cost(settings: Settings, body: Mapping[str, Any], spent: float = 0.0, reserved: float = 0.0) -> None:
    """Raise UsageError if the request could exceed what --max-cost leaves, or if its cost is unknown.

    Nothing is looked up without --max-cost or in a replay.
    """
    limit = settings.options.max_cost
    if limit is None or settings.options.replay:
        return
    bound = _find_highest_bound(settings, body)
    if bound.usd is None or bound.tokens.uncounted:
        raise UsageError(f"the cost of this request is unknown: {_explain_unknown(bound)}", NO_PRICE_HINT)
    if spent + reserved + bound.usd > limit:
        raise _build_error(bound, bound.usd, (spent, reserved), limit)
    _warn_if_open(settings, bound)


def check_total_cost(requests: Sequence[tuple[Settings, Mapping[str, Any]]], what: str) -> None:
    """Raise UsageError if one of the requests, or all together, may cost too much; `what` names them in the message."""
    for settings, body in requests:
        check_max_cost(settings, body)
    options = requests[0][0].options
    if options.max_cost is None or options.replay:
        return
    usd, limit = sum(max_cost_of(*request) or 0.0 for request in requests), format_dollars(options.max_cost)
    if usd > options.max_cost:
        raise UsageError(
            f"the {len(requests)} {what} may cost {_format_usd(usd)} together, more than --max-cost {limit}",
            "raise --max-cost, or use --max-tokens or a shorter input",
        )


def cost_of(settings: Settings, body: Mapping[str, Any], usage: Usage | None) -> float:
    """Return what a request cost according to its tokens, or the most it may have cost if they are unknown."""
    prices = _load_prices(settings, str(body.get("model")))
    usd = estimate_cost(prices, usage) if usage else None
    return (max_cost_of(settings, body) or 0.0) if usd is None else usd


def _find_highest_bound(settings: Settings, body: Mapping[str, Any]) -> CostBound:
    """Return the highest bound of all models of a request; a model without a price counts as the highest."""
    tokens = bound_tokens(body)
    models = [name.strip() for name in str(body.get("model") or settings.options.model or "").split(",")]
    bounds = [CostBound(name, tokens, tokens.compute_usd(_load_prices(settings, name))) for name in models]
    return max(bounds, key=lambda bound: float("inf") if bound.usd is None else bound.usd)


def _load_prices(settings: Settings, name: str) -> tuple[Price, ...]:
    """Return the prices of a model; each model is looked up once in a process."""
    key = (settings.options.base_url or "", name)
    with _LOCK:
        if key not in _models:
            _models[key] = _find_model(settings, name)
        model = _models[key]
    return model.prices if model else ()


def _find_model(settings: Settings, name: str) -> Model | None:
    if model := find_model(find_models.load_stored_models(settings) or [], name):
        return model
    try:
        return find_model(find_models.fetch_models(settings), name)
    except (RequestRejected, ServerError, AuthError):
        return None  # not every server has a catalog


def _explain_unknown(bound: CostBound) -> str:
    if bound.tokens.uncounted:
        return f"it includes {bound.tokens.uncounted}"
    return f"the catalog has no fixed price for {bound.model}"


def _build_error(bound: CostBound, usd: float, pending: tuple[float, float], limit: float) -> UsageError:
    """Return the error with all amounts; `pending` is what is spent and what is reserved."""
    tokens = bound.tokens
    output = f" and {tokens.output_tokens:,} out" if tokens.output_tokens is not None else ""
    labels = zip(pending, ("is spent", "reserved for requests in progress"), strict=True)
    others = "".join(f"{_format_usd(amount)} {label}, and " for amount, label in labels if amount)
    what = f"about {tokens.input_tokens:,} tokens in{output}, {bound.model}"
    less = "--max-tokens or a shorter input" if tokens.output_tokens is not None else "a shorter input"
    sent = "nothing more was sent; " if others else ""
    return UsageError(
        f"{others}this may cost {_format_usd(usd)}, more than --max-cost {format_dollars(limit)}: {what}",
        f"{sent}raise --max-cost, or use {less}",
    )


def _warn_if_open(settings: Settings, bound: CostBound) -> None:
    """Warn once for each model if there is no token limit, so that only the input was checked."""
    if bound.tokens.output_tokens is not None or settings.options.quiet:
        return
    with _LOCK:
        is_new = bound.model not in _warned_models
        _warned_models.add(bound.model)
    if is_new:
        usd = _format_usd(bound.usd or 0)
        print_err(f"aiml: --max-cost limits only the input ({usd}); --max-tokens limits the answer")


def _format_usd(amount: float) -> str:
    return f"${round_dollars(amount)}"
