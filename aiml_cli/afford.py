"""Refuse what may cost more than the user allows, before it is sent."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli import browse
from aiml_cli.api.bound import Bound, bound
from aiml_cli.api.models import Model, exact
from aiml_cli.api.prices import about, dollars, estimate
from aiml_cli.errors import Misuse, NotAllowed, RequestRefused, ServerFailed
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Settings

if TYPE_CHECKING:
    from aiml_cli.api.events import Usage
    from aiml_cli.api.prices import Price

OTHERWISE = "nothing was sent; aiml models shows which models have a price; or ask without --max-cost"


class Worst(NamedTuple):
    """Hold the most that a request may cost, and of which model; `usd` is None where that is unknown."""

    model: str
    bound: Bound
    usd: float | None


_LOCK = Lock()
_found: dict[tuple[str, str], Model | None] = {}
_told: set[str] = set()


def worst(settings: Settings, body: Mapping[str, Any]) -> float | None:
    """Give the most that one request may cost in US dollars, without a length cap its input alone; None if unknown.

    Of models that one falls back on, the dearest counts. May ask the server for its catalogue.
    """
    found = _worst(settings, body)
    return None if found.bound.open else found.usd


def see_that_it_affords(
    settings: Settings, body: Mapping[str, Any], spent: float = 0.0, under_way: float = 0.0
) -> None:
    """Raise Misuse where a request may cost more than --max-cost leaves after what was spent, or nobody knows.

    `under_way` is the most that requests without an answer may cost. Without --max-cost, and where a recorded answer
    is played, nothing is looked up.
    """
    most = settings.options.max_cost
    if most is None or settings.options.replay:
        return
    found = _worst(settings, body)
    if found.usd is None or found.bound.open:
        raise Misuse(f"what this may cost is not known: {_why(found)}", OTHERWISE)
    if spent + under_way + found.usd > most:
        raise _too_much(found, found.usd, (spent, under_way), most)
    _tell_what_is_open(settings, found)


def see_that_all_are_affordable(asked: Sequence[tuple[Settings, Mapping[str, Any]]], what: str) -> None:
    """Raise Misuse where one of several requests may cost too much, or all together; `what` names them."""
    for settings, body in asked:
        see_that_it_affords(settings, body)
    most = asked[0][0].options.max_cost
    if most is None or asked[0][0].options.replay:
        return
    usd = sum(worst(settings, body) or 0.0 for settings, body in asked)
    if usd > most:
        raise Misuse(
            f"the {len(asked)} {what} may cost {_money(usd)} together, more than --max-cost {dollars(most)}",
            "nothing was sent; allow more with --max-cost, or take --max-tokens or a shorter input",
        )


def cost(settings: Settings, body: Mapping[str, Any], usage: "Usage | None") -> float:
    """Give what a request cost by its tokens; the most that it may have cost where they were not told."""
    prices = _prices(settings, str(body.get("model")))
    found = estimate(prices, usage) if usage else None
    return (worst(settings, body) or 0.0) if found is None else found


def _worst(settings: Settings, body: Mapping[str, Any]) -> Worst:
    """Judge a request; a model without a price is the worst of several."""
    counted = bound(body)
    names = str(body.get("model") or settings.options.model or "").split(",")
    each = [Worst(name.strip(), counted, counted.usd(_prices(settings, name.strip()))) for name in names]
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
    if model := exact(browse.known(settings) or [], name):
        return model
    try:
        return exact(browse.catalogue(settings), name)
    except (RequestRefused, ServerFailed, NotAllowed):
        return None  # not every server has a catalogue


def _why(found: Worst) -> str:
    if found.bound.open:
        return f"{found.bound.open} is part of it"
    return f"the catalogue has no fixed price of {found.model}"


def _too_much(found: Worst, usd: float, before: tuple[float, float], most: float) -> Misuse:
    """Say the amounts, and what that of the request is made of; `before` is spent and under way."""
    capped = f" and {found.bound.out:,} out" if found.bound.out is not None else ""
    words = zip(before, ("is spent", "may be spent by what is under way"), strict=True)
    others = "".join(f"{_money(amount)} {how}, and " for amount, how in words if amount)
    what = f"about {found.bound.into:,} tokens in{capped}, {found.model}"
    less = "--max-tokens or a shorter input" if found.bound.out is not None else "a shorter input"
    sent = "nothing more was sent" if others else "nothing was sent"
    return Misuse(
        f"{others}this may cost {_money(usd)}, more than --max-cost {dollars(most)}: {what}",
        f"{sent}; allow more with --max-cost, or take {less}",
    )


def _tell_what_is_open(settings: Settings, found: Worst) -> None:
    """Say once for each model that without a cap only the input was judged."""
    if found.bound.out is not None or settings.options.quiet:
        return
    with _LOCK:
        is_new = found.model not in _told
        _told.add(found.model)
    if is_new:
        say(f"aiml: --max-cost bounds the input only, {_money(found.usd or 0)} here; --max-tokens bounds the answer")


def _money(amount: float) -> str:
    return f"${about(amount)}"
