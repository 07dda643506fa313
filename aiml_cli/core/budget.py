"""Hold the requests of one call against --max-cost, each with what those before it spent."""

import json
from collections.abc import Mapping, Sequence
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.model_list import Model, find_model
from aiml_cli.catalog import find_models
from aiml_cli.catalog.pricing import TokenBound, bound_tokens, estimate_cost
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.errors import AimlError, AuthError, RequestRejected, ServerError, UsageError
from aiml_cli.output.format_money import format_dollars, round_dollars
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.value_types import Json
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.api.model_list import Price
    from aiml_cli.api.stream_events import Usage
    from aiml_cli.transport.http_types import HttpRequest

OTHERWISE = "nothing was sent; aiml models shows which models have a price; or ask without --max-cost"
_LOCK = Lock()
_found: dict[tuple[str, str], Model | None] = {}
_told: set[str] = set()


class CallBudget:
    """Keep what was spent; `body` is the last that was judged."""

    def __init__(self, settings: Settings, body: Mapping[str, Any]) -> None:
        self._settings, self._body = settings, body
        self._spent = 0.0

    def refuses(self, request: "HttpRequest", last: "Answer") -> bool:
        """Say whether another request may cost too much after the last one, and tell why."""
        self._spent += self._cost(last)
        self._body = json.loads(request.body or b"{}")
        try:
            check_max_cost(self._settings, self._body, self._spent)
        except UsageError as over:
            print_err(f"aiml: {over.message}")
            return True
        return False

    def _cost(self, last: "Answer") -> float:
        """Give what the last request cost: as it was told, by its tokens, or else the most that it may have."""
        if last.reported_cost_usd is not None:
            return last.reported_cost_usd
        return cost_of(self._settings, self._body, last.completion.usage)


def open_call_budget(question: "ChatRequest", said: "Conversation") -> CallBudget:
    """Judge the first request of a call, with all that was said before; raise UsageError where it may cost too much."""
    body = question.build_body(said, WHOLE)
    check_max_cost(question.settings, {**body, "model": ",".join([str(body.get("model")), *question.fallback_models])})
    return CallBudget(question.settings, body)


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


class RowsBudget:
    """Hold the most that may be spent; `most` None is no bound. Amounts are US dollars."""

    def __init__(self, most: float | None) -> None:
        self._most = most
        self._spent = self._held = 0.0
        self._change = Condition()
        self._is_over = False

    def reserve(self, worst: float) -> bool:
        """Set aside what a row may cost at most, when it is known that it fits; say False when it never will."""
        if self._most is None:
            return True
        with self._change:
            while not self._is_over:
                if self._spent + self._held + worst <= self._most:
                    self._held += worst
                    return True
                if not self._held:
                    return False
                self._change.wait()
            return False

    def settle(self, worst: float, cost: float | None) -> None:
        """Put back what was set aside, and count what it cost; what nobody told may have cost the most."""
        with self._change:
            self._held = max(0.0, self._held - worst)
            self._spent += worst if cost is None else cost
            if self._held < 1e-12:  # noqa: PLR2004 - nothing, but for what adding up fractions leaves
                self._held = 0.0
            self._change.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._change:
            self._is_over = True
            self._change.notify_all()


class ChunksBudget:
    """Hold the pieces against --max-cost: what was spent, and the most that is under way."""

    def __init__(self, options: Options) -> None:
        self._limit = options.max_cost
        self._lock = Lock()
        self._worst: dict[int, float] = {}
        self.spent = 0.0

    def begin(self, questions: Sequence[ChatRequest]) -> None:
        """Raise UsageError where all of it may cost too much, before anything is sent."""
        if self._limit is None:
            return
        asked = [(each.settings, _body(each)) for each in questions]
        check_total_cost(asked, "pieces")

    def refusal(self, question: ChatRequest) -> AimlError | None:
        """Say why a piece must not be asked for after what was spent, if so."""
        if self._limit is None:
            return None
        body = _body(question)
        with self._lock:
            try:
                check_max_cost(question.settings, body, self.spent, sum(self._worst.values()))
            except AimlError as over:
                return over
            self._worst[id(question)] = max_cost_of(question.settings, body) or 0.0
        return None

    def settle(self, question: ChatRequest, answer: Answer) -> None:
        """Take what an answer cost: as it was told, by its tokens, or else the most that it may have."""
        if self._limit is None:
            return
        told, usage = answer.reported_cost_usd, answer.completion.usage
        cost = cost_of(question.settings, _body(question), usage) if told is None else told
        with self._lock:
            self._worst.pop(id(question), None)
            self.spent += cost if answer.attempts else 0.0


def _body(question: ChatRequest) -> dict[str, Json]:
    return question.build_body(question.read_conversation())
