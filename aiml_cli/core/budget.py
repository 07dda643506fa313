"""Bound what a call or a run may spend (--max-cost): check a request before it is sent, and count what it cost."""

from collections.abc import Mapping, Sequence
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.model_list import Model, find_model
from aiml_cli.catalog import find_models
from aiml_cli.catalog.pricing import TokenBound, bound_tokens, estimate_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import HistoryMode
from aiml_cli.errors import AuthError, RequestRejected, ServerError, UsageError
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.api.model_list import Price
    from aiml_cli.api.stream_events import Usage

OTHERWISE = "nothing was sent; aiml models shows which models have a price; or ask without --max-cost"
# Less than this is what adding up fractions leaves.
NOTHING_USD = 1e-12
_LOCK = Lock()
_found: dict[tuple[str, str], Model | None] = {}
_told: set[str] = set()


class Reservation(NamedTuple):
    """An amount set aside for a request until its cost is known; `body` is the request's."""

    usd: float
    settings: Settings
    body: Mapping[str, Any]

    def cost_of(self, answer: Answer) -> float:
        """Return what the answer cost: as reported, by its tokens, or else the whole amount."""
        if answer.reported_cost_usd is not None:
            return answer.reported_cost_usd
        return cost_of(self.settings, self.body, answer.completion.usage)


class Budget:
    """What may be spent, what is spent, and what is reserved for requests on their way; safe for threads.

    Amounts are US dollars; `limit` None is no bound.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._reserved = self._spent = 0.0
        self._is_closed = False
        self._change = Condition()

    @property
    def spent(self) -> float:
        """Return what is spent."""
        return self._spent

    def reserve(self, settings: Settings, body: Mapping[str, Any]) -> Reservation:
        """Set aside what a request could cost at most; raise UsageError if it could exceed what is left."""
        if self._limit is None:
            return Reservation(0.0, settings, body)
        with self._change:
            check_max_cost(settings, body, self._spent, self._reserved)
            usd = max_cost_of(settings, body) or 0.0
            self._reserved += usd
        return Reservation(usd, settings, body)

    def wait_for(self, usd: float) -> bool:
        """Set an amount aside as soon as it is known to fit; return False if it never will."""
        if self._limit is None:
            return True
        with self._change:
            while not self._is_closed:
                if self._spent + self._reserved + usd <= self._limit:
                    self._reserved += usd
                    return True
                if not self._reserved:
                    return False
                self._change.wait()
            return False

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reserved amount by what was spent; an unknown cost counts as the whole amount."""
        with self._change:
            self._reserved -= reserved_usd
            if self._reserved < NOTHING_USD:
                self._reserved = 0.0
            self._spent += reserved_usd if cost_usd is None else cost_usd
            self._change.notify_all()

    def close(self) -> None:
        """Wake everyone who waits; nothing is set aside any more."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()


def reserve_first(budget: Budget, request: ChatRequest, conversation: "Conversation") -> Reservation:
    """Set aside what the first request of a call could cost, with all previous turns and the dearest fallback model."""
    body = request.build_body(conversation, HistoryMode.FULL)
    models = ",".join([str(body.get("model")), *request.fallback_models])
    return budget.reserve(request.settings, {**body, "model": models})._replace(body=body)


def reserve_next(budget: Budget, last: Reservation, answer: Answer, body: Mapping[str, Any]) -> Reservation | None:
    """Settle the last request of a call, and reserve the next; print why and return None if it could cost too much."""
    budget.settle(last.usd, last.cost_of(answer))
    try:
        return budget.reserve(last.settings, body)
    except UsageError as error:
        print_err(f"aiml: {error.message}")
        return None


class CostBound(NamedTuple):
    """Hold the most that a request may cost, and of which model; `usd` is None where that is unknown."""

    model: str
    bound: TokenBound
    usd: float | None


def max_cost_of(settings: Settings, body: Mapping[str, Any]) -> float | None:
    """Give the most that one request may cost in US dollars, without a length cap its input alone; None if unknown.

    Of models that one falls back on, the dearest counts. May ask the server for its catalogue.
    """
    found = _worst(settings, body)
    return None if found.bound.open else found.usd


def check_max_cost(settings: Settings, body: Mapping[str, Any], spent: float = 0.0, under_way: float = 0.0) -> None:
    """Raise UsageError where a request may cost more than --max-cost leaves after what was spent, or nobody knows.

    `under_way` is the most that requests without an answer may cost. Without --max-cost, and where a recorded answer
    is played, nothing is looked up.
    """
    most = settings.options.max_cost
    if most is None or settings.options.replay:
        return
    found = _worst(settings, body)
    if found.usd is None or found.bound.open:
        raise UsageError(f"what this may cost is not known: {_why(found)}", OTHERWISE)
    if spent + under_way + found.usd > most:
        raise _too_much(found, found.usd, (spent, under_way), most)
    _tell_what_is_open(settings, found)


def check_total_cost(asked: Sequence[tuple[Settings, Mapping[str, Any]]], what: str) -> None:
    """Raise UsageError where one of several requests may cost too much, or all together; `what` names them."""
    for settings, body in asked:
        check_max_cost(settings, body)
    most = asked[0][0].options.max_cost
    if most is None or asked[0][0].options.replay:
        return
    usd = sum(max_cost_of(settings, body) or 0.0 for settings, body in asked)
    if usd > most:
        raise UsageError(
            f"the {len(asked)} {what} may cost {_money(usd)} together, more than --max-cost {format_dollars(most)}",
            "nothing was sent; allow more with --max-cost, or take --max-tokens or a shorter input",
        )


def cost_of(settings: Settings, body: Mapping[str, Any], usage: "Usage | None") -> float:
    """Give what a request cost by its tokens; the most that it may have cost where they were not told."""
    prices = _prices(settings, str(body.get("model")))
    found = estimate_cost(prices, usage) if usage else None
    return (max_cost_of(settings, body) or 0.0) if found is None else found


def _worst(settings: Settings, body: Mapping[str, Any]) -> CostBound:
    """Judge a request; a model without a price is the worst of several."""
    counted = bound_tokens(body)
    names = str(body.get("model") or settings.options.model or "").split(",")
    each = [CostBound(name.strip(), counted, counted.usd(_prices(settings, name.strip()))) for name in names]
    return max(each, key=lambda one: float("inf") if one.usd is None else one.usd)


def _prices(settings: Settings, name: str) -> "tuple[Price, ...]":
    """Look up the prices of a model, once in a process however many ask."""
    place = (settings.options.base_url or "", name)
    with _LOCK:
        if place not in _found:
            _found[place] = _model(settings, name)
        model = _found[place]
    return model.prices if model else ()


def _model(settings: Settings, name: str) -> Model | None:
    """Find a model in the stored catalogue; the server is asked where that does not know it."""
    if model := find_model(find_models.load_stored_models(settings) or [], name):
        return model
    try:
        return find_model(find_models.fetch_models(settings), name)
    except (RequestRejected, ServerError, AuthError):
        return None  # not every server has a catalogue


def _why(found: CostBound) -> str:
    if found.bound.open:
        return f"{found.bound.open} is part of it"
    return f"the catalogue has no fixed price of {found.model}"


def _too_much(found: CostBound, usd: float, before: tuple[float, float], most: float) -> UsageError:
    """Say the amounts, and what that of the request is made of; `before` is spent and under way."""
    capped = f" and {found.bound.out:,} out" if found.bound.out is not None else ""
    words = zip(before, ("is spent", "may be spent by what is under way"), strict=True)
    others = "".join(f"{_money(amount)} {how}, and " for amount, how in words if amount)
    what = f"about {found.bound.into:,} tokens in{capped}, {found.model}"
    less = "--max-tokens or a shorter input" if found.bound.out is not None else "a shorter input"
    sent = "nothing more was sent" if others else "nothing was sent"
    return UsageError(
        f"{others}this may cost {_money(usd)}, more than --max-cost {format_dollars(most)}: {what}",
        f"{sent}; allow more with --max-cost, or take {less}",
    )


def _tell_what_is_open(settings: Settings, found: CostBound) -> None:
    """Say once for each model that without a cap only the input was judged."""
    if found.bound.out is not None or settings.options.quiet:
        return
    with _LOCK:
        is_new = found.model not in _told
        _told.add(found.model)
    if is_new:
        print_err(
            f"aiml: --max-cost bounds the input only, {_money(found.usd or 0)} here; --max-tokens bounds the answer"
        )


def _money(amount: float) -> str:
    return f"${round_dollars(amount)}"
