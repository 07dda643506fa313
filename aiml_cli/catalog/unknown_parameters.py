"""Warn of properties that `-O` sends and the gateway may drop: it does so without a word."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Settings

# What some models take on an endpoint and no row has: API.md sections 2 and 4 (2026-08). A word among them is
# not mistyped, however near it is to another.
_OTHERS = {
    "chat": (
        "audio", "echo", "enable_search", "enable_thinking", "frequency_penalty", "logit_bias", "metadata", "min_p",
        "modalities", "normalize_tool_schemas", "prediction", "presence_penalty", "prompt_cache_key", "provider",
        "reasoning", "repetition_penalty", "safety_identifier", "search_options", "service_tier", "stop",
        "stop_sequences", "store", "stream_options", "system", "thinking", "thinking_budget", "top_a", "top_k",
        "user", "verbosity", "web_search_options",
    ),
    "responses": (
        "conversation", "input", "max_tool_calls", "metadata", "prompt_cache_key", "safety_identifier",
        "service_tier", "stream_options", "text", "top_logprobs", "user",
    ),
}  # fmt: skip
# What every request has; no list of parameters names it.
_ALWAYS = frozenset({"model", "messages", "input", "instructions", "stream", "stream_options"})
_LIKE = 0.8
_DROPS = "the gateway drops unknown names without a word"


def list_warnings(settings: Settings, endpoint: str) -> list[str]:
    """Give a sentence for each name of `-O` that the stored catalogue does not list, or that looks mistyped.

    Nobody is asked: where the catalogue has no parameters for the model, the documented names have to do.
    """
    names = list(dict.fromkeys(path.partition(".")[0] for path in settings.options.option_ or {}))
    if listed := _listed(settings):
        return list(_unlisted(names, listed, settings.options.model or ""))
    return list(_mistyped(names, _documented(endpoint)))


def _listed(settings: Settings) -> tuple[str, ...]:
    """Look up the parameters of the model in the stored catalogue; the list is empty where it has none."""
    from aiml_cli.api.model_list import find_model
    from aiml_cli.catalog.find_models import load_stored_models  # who sends no -O need not read a catalogue

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    return model.parameters if model else ()


def _unlisted(names: Iterable[str], listed: tuple[str, ...], model: str) -> Iterator[str]:
    for name in names:
        if name not in listed and name not in _ALWAYS:
            sentence = f"-O {name}: the catalogue does not list it for {model}, and {_DROPS}"
            yield sentence + _did_you_mean(name, listed)


def _mistyped(names: Iterable[str], documented: frozenset[str]) -> Iterator[str]:
    for name in names:
        if name not in documented and (near := _did_you_mean(name, sorted(documented))):
            yield f"-O {name}: no documented property has this name, and {_DROPS}{near}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.casefold().replace("-", "_"), list(known), 1, _LIKE)
    return f": did you mean {near[0]}?" if near else ""


def _documented(endpoint: str) -> frozenset[str]:
    """List the properties of an endpoint's request."""
    paths = [row.body_paths[endpoint].path for row in ROWS.values() if endpoint in row.body_paths]
    return _ALWAYS.union(_OTHERS[endpoint], (path.partition(".")[0].partition("[")[0] for path in paths))
