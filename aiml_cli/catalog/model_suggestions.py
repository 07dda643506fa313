"""Tell near models, or the right endpoint, where the server does not take a model; the stored catalogue is enough."""

import re

from aiml_cli.api.model_list import find_model, suggest_models
from aiml_cli.catalog import find_models
from aiml_cli.errors import RequestRejected
from aiml_cli.settings.resolve import Settings

COMMANDS = {"chat": "aiml chat", "responses": "aiml respond"}
_NOT_FOUND = 404
_SPEAKS = re.compile(r"\bmodels?\b|model_", re.IGNORECASE)


def improve_hint(error: RequestRejected, settings: Settings, endpoint: str) -> None:
    """Change the failure's hint where the catalogue knows better; nobody is asked."""
    name = settings.options.model or ""
    if not _is_about(error, name):
        return
    models = find_models.load_stored_models(settings) or []
    one = find_model(models, name)
    elsewhere = [other for other in (one.endpoints if one else ()) if other in COMMANDS]
    if one and elsewhere and endpoint not in elsewhere:
        error.hint = f"{one.id} is asked with: {COMMANDS[elsewhere[0]]} -m {one.id}"
    elif one is None and (near := suggest_models(models, name)):
        error.hint = f"did you mean {' or '.join(near)}? aiml models WORDS searches the catalogue"
    elif one is None and error.details.get("status") != _NOT_FOUND:
        error.hint = "is the model's id right? aiml models WORDS searches the catalogue"


def _is_about(error: RequestRejected, name: str) -> bool:
    """Say whether a failure is about the model: it is said so, or nothing else was looked for."""
    about = " ".join(str(part) for part in (error.message, error.details.get("code"), error.details.get("type")))
    return error.details.get("status") == _NOT_FOUND or bool(name and name in about) or bool(_SPEAKS.search(about))
