"""Warnings about `-O` properties that the gateway may drop without an error."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from aiml_cli.catalog.find_models import find_model
from aiml_cli.catalog.load_catalog import load_stored_models
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Settings

# Properties that some models accept and no option sets: API.md sections 2 and 4 (2026-08). They are not typing
# errors, however similar they are to another property.
_OTHER_PROPERTIES = {
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
# Properties of every request, which the catalog does not list.
_ALWAYS_KNOWN = frozenset({"model", "messages", "input", "instructions", "stream", "stream_options"})
_SIMILARITY = 0.8
_DROPS = "the gateway drops unknown names without a word"


def list_warnings(settings: Settings, endpoint: str) -> list[str]:
    """Return a warning for each `-O` name that the stored catalog does not list for the model.

    Without a list for the model, warn about names that look like a misspelled documented one. Never asks the server.
    """
    names = list(dict.fromkeys(path.partition(".")[0] for path in settings.options.option_ or {}))
    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    if model and model.parameters:
        return list(_warn_unlisted(names, model.parameters, settings.options.model or ""))
    return list(_warn_misspelled(names, _list_documented(endpoint)))


def _warn_unlisted(names: Iterable[str], listed: tuple[str, ...], model: str) -> Iterator[str]:
    for name in names:
        if name not in listed and name not in _ALWAYS_KNOWN:
            warning = f"-O {name}: the catalogue does not list it for {model}, and {_DROPS}"
            yield warning + _suggest(name, listed)


def _warn_misspelled(names: Iterable[str], documented: frozenset[str]) -> Iterator[str]:
    for name in names:
        if name not in documented and (suggestion := _suggest(name, sorted(documented))):
            yield f"-O {name}: no documented property has this name, and {_DROPS}{suggestion}"


def _suggest(name: str, known: Iterable[str]) -> str:
    similar = get_close_matches(name.casefold().replace("-", "_"), list(known), 1, _SIMILARITY)
    return f": did you mean {similar[0]}?" if similar else ""


def _list_documented(endpoint: str) -> frozenset[str]:
    paths = (row.body_paths[endpoint].path for row in ROWS.values() if endpoint in row.body_paths)
    return _ALWAYS_KNOWN.union(_OTHER_PROPERTIES[endpoint], (re.split(r"[.[]", path)[0] for path in paths))
