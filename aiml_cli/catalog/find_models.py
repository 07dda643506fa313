"""Find models by their id or by words, and suggest others for one that was rejected."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.error_kinds import CONTEXT_HINT
from aiml_cli.api.model_list import Model
from aiml_cli.catalog import load_catalog
from aiml_cli.errors import AimlError
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.urls import join_url

COMMANDS = {"chat": "aiml chat", "responses": "aiml respond"}
_NOT_FOUND = 404
_MENTIONS_MODEL = re.compile(r"\bmodels?\b|model_", re.IGNORECASE)
MAX_SUGGESTIONS = 3


def improve_hint(error: AimlError, settings: Settings, endpoint: str) -> None:
    """Replace the error's hint if the stored catalog knows a better one; never asks the server."""
    if error.hint == CONTEXT_HINT:
        return
    name, missing = settings.options.model or "", error.details.get("missing")
    if missing == "path":
        error.hint = _explain_missing_path(settings.options.base_url or "", endpoint)
    # Two words may be said of either.
    is_vague = missing == "path" and error.message.casefold().rstrip(".").endswith(": not found")
    if (missing in ("path", "response") and not is_vague) or not _is_about_model(error, name):
        return
    models = load_catalog.load_stored_models(settings) or []
    model = find_model(models, name)
    supported = [other for other in (model.endpoints if model else ()) if other in COMMANDS]
    if model and supported and endpoint not in supported:
        error.hint = f"{model.id} is asked with: {COMMANDS[supported[0]]} -m {model.id}"
    elif model is None and (similar := suggest_models(models, name)):
        error.hint = f"did you mean {' or '.join(similar)}? aiml models WORDS searches the catalogue"
    elif model is None and error.details.get("status") != _NOT_FOUND and not is_vague:
        error.hint = "is the model's id right? aiml models WORDS searches the catalogue"


def _explain_missing_path(base_url: str, endpoint: str) -> str:
    """Return what to do about a server that has no such address: few servers offer both endpoints."""
    path = urlsplit(join_url(base_url, get_endpoint(endpoint).path)).path
    other = next(command for name, command in COMMANDS.items() if name != endpoint)
    return f"does this server offer {path}? try {other}, or check --base-url"


def _is_about_model(error: AimlError, name: str) -> bool:
    text = " ".join(str(part) for part in (error.message, error.details.get("code"), error.details.get("type")))
    is_not_found = error.details.get("status") == _NOT_FOUND
    return is_not_found or bool(name and name in text) or bool(_MENTIONS_MODEL.search(text))


def search_models(models: Iterable[Model], words: Sequence[str]) -> list[Model]:
    """Return the models whose id, aliases, name or developer contain every word, in any case."""
    folded = [word.casefold() for word in words]
    return [model for model in models if all(word in _join_searchable_text(model) for word in folded)]


def find_model(models: Sequence[Model], name: str) -> Model | None:
    """Return the only model with this id or, failing that, with it in another case, or as an alias."""
    folded = name.casefold()
    matches = (
        [model for model in models if model.id == name]
        or [model for model in models if model.id.casefold() == folded]
        or [model for model in models if folded in map(str.casefold, model.aliases)]
    )
    return matches[0] if len(matches) == 1 else None


def suggest_models(models: Iterable[Model], name: str) -> list[str]:
    """Return ids similar to a mistyped one; dots, dashes and the vendor's prefix make no difference."""
    ids: dict[str, str] = {}
    for model in models:
        for known in (model.id, *model.aliases):
            ids.setdefault(_normalize_name(known), model.id)
            ids.setdefault(_normalize_name(known.rpartition("/")[2]), model.id)
    matches = get_close_matches(_normalize_name(name), ids, 3 * MAX_SUGGESTIONS)
    return list(dict.fromkeys(ids[match] for match in matches))[:MAX_SUGGESTIONS]


def _normalize_name(name: str) -> str:
    return name.casefold().replace(".", "-").replace("_", "-")


def _join_searchable_text(model: Model) -> str:
    return "\n".join((model.id, *model.aliases, model.name, model.developer)).casefold()
