"""Hints for a rejected model: similar ids or the right endpoint, by the stored catalog."""

import re

from aiml_cli.api.model_list import find_model, suggest_models
from aiml_cli.catalog import find_models
from aiml_cli.errors import RequestRejected
from aiml_cli.settings.resolve import Settings

COMMANDS = {"chat": "aiml chat", "responses": "aiml respond"}
_NOT_FOUND = 404
_MENTIONS_MODEL = re.compile(r"\bmodels?\b|model_", re.IGNORECASE)


def improve_hint(error: RequestRejected, settings: Settings, endpoint: str) -> None:
    """Replace the error's hint if the stored catalog knows a better one; never asks the server."""
    name = settings.options.model or ""
    if not _is_about_model(error, name):
        return
    models = find_models.load_stored_models(settings) or []
    model = find_model(models, name)
    supported = [other for other in (model.endpoints if model else ()) if other in COMMANDS]
    if model and supported and endpoint not in supported:
        error.hint = f"{model.id} is asked with: {COMMANDS[supported[0]]} -m {model.id}"
    elif model is None and (similar := suggest_models(models, name)):
        error.hint = f"did you mean {' or '.join(similar)}? aiml models WORDS searches the catalogue"
    elif model is None and error.details.get("status") != _NOT_FOUND:
        error.hint = "is the model's id right? aiml models WORDS searches the catalogue"


def _is_about_model(error: RequestRejected, name: str) -> bool:
    text = " ".join(str(part) for part in (error.message, error.details.get("code"), error.details.get("type")))
    is_not_found = error.details.get("status") == _NOT_FOUND
    return is_not_found or bool(name and name in text) or bool(_MENTIONS_MODEL.search(text))
