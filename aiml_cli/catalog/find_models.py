"""Load the list of models from the server or the stored catalog, and find models in it."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiml_cli import __version__
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.error_kinds import CONTEXT_HINT
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.model_list import Model, parse_models
from aiml_cli.errors import AimlError, AuthError, RequestRejected, UsageError
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.urls import host_of, is_local, is_unencrypted, join_url
from aiml_cli.store import api_keys
from aiml_cli.store.model_cache import CachedModels, load_models, save_models
from aiml_cli.system.stdio import print_err
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, Send, read_all

if TYPE_CHECKING:
    from aiml_cli.transport.choose_transport import Client


BAD_REQUEST = 400
FRESH_SECONDS = 60  # the server sends its list with cache-control: max-age=60 (2026-08-30)
QUERY = "include=pricing,modalities,capabilities"
COMMANDS = {"chat": "aiml chat", "responses": "aiml respond"}
_NOT_FOUND = 404
_MENTIONS_MODEL = re.compile(r"\bmodels?\b|model_", re.IGNORECASE)
MAX_SUGGESTIONS = 3


def fetch_models(settings: Settings) -> list[Model]:
    """Return the server's models, or the stored ones if they are fresh or the server cannot be reached.

    With --record and --replay the stored models are not used: they may be different when the recording is replayed.
    """
    stored = None if settings.options.record or settings.options.replay else load_models(_clean_base_url(settings))
    if stored and 0 <= _find_age(stored) < FRESH_SECONDS:
        return stored.models
    try:
        return _update(settings, stored).models
    except AimlError as error:
        if not stored or isinstance(error, UsageError):  # the user should see an error in the settings
            raise
        if not settings.options.quiet:
            print_err(f"aiml: {' '.join(error.message.split())}; this list is {_format_age(_find_age(stored))} old")
        return stored.models


def load_stored_models(settings: Settings) -> list[Model] | None:
    """Return the stored models of any age, or None if there are none; never asks the server."""
    stored = load_models(_clean_base_url(settings))
    return stored.models if stored else None


def _clean_base_url(settings: Settings) -> str:
    return (settings.options.base_url or "").rstrip("/")


def _update(settings: Settings, stored: CachedModels | None) -> CachedModels:
    """Fetch the server's models, or confirm the stored ones, and store the result."""
    base_url, options = _clean_base_url(settings), settings.options
    response, body = _fetch(settings, stored)
    fresh = _parse_response(base_url, response, body, stored)
    if not (is_local(base_url) or options.replay):  # the demo server has another port each time
        save_models(fresh)
    return fresh


def _fetch(settings: Settings, stored: CachedModels | None) -> tuple[HttpResponse, bytes]:
    """Request the list without a key, and once more with the user's key only if the server requires one.

    Raises AuthError if the server requires a key and there is none.
    """
    base_url, options = _clean_base_url(settings), settings.options
    url, headers, send = join_url(base_url, f"/models?{QUERY}"), _build_headers(stored), make_send(options)
    with open_client(options, base_url) as client:
        response, body = _get(send, client, url, headers)
        refusal = error_from_status(response.status, response.headers, body) if response.status >= BAD_REQUEST else None
        if not isinstance(refusal, AuthError):
            return response, body
        if options.replay:  # the recording may contain a second request, with a key
            return _get(send, client, url, headers)
        key = _find_key(settings, base_url, refusal)
        return _get(send, client, url, {**headers, "Authorization": f"Bearer {key.value}"})


def _get(send: Send, client: "Client", url: str, headers: dict[str, str]) -> tuple[HttpResponse, bytes]:
    with send(client, HttpRequest("GET", url, headers)) as response:
        return response, read_all(response)


def _find_key(settings: Settings, base_url: str, refusal: AuthError) -> api_keys.ApiKey:
    """Return the user's key for the server; raise `refusal` if there is none, or if plain http would expose it."""
    key = api_keys.find_key(settings, base_url)
    if key is None:
        missing, command = api_keys.explain_missing_key(settings, base_url), f"aiml config key --base-url {base_url}"
        refusal.hint = f"this server needs a key to list its models; {missing}; store one with: {command}"
        raise refusal
    if is_unencrypted(base_url) and not is_local(base_url):
        refusal.hint = f"the key is not sent to {host_of(base_url)} over plain http: use https:// in base_url"
        raise refusal
    if key.notice and not settings.options.quiet:
        print_err(f"aiml: {key.notice}")
    return key


def _build_headers(stored: CachedModels | None) -> dict[str, str]:
    """Return headers without a key, because most catalogs are public."""
    etag = stored.etag if stored else ""
    is_valid = etag.isascii() and etag.isprintable()  # a damaged ETag would make the request invalid
    return {"User-Agent": f"aiml/{__version__}"} | ({"If-None-Match": etag} if etag and is_valid else {})


def _parse_response(base_url: str, response: HttpResponse, body: bytes, stored: CachedModels | None) -> CachedModels:
    status, headers = response.status, response.headers
    if status == 304 and stored:  # noqa: PLR2004 - not modified
        return replace(stored, fetched=time.time())
    if status != 200:  # noqa: PLR2004 - OK
        error = error_from_status(status, headers, body)
        if isinstance(error, RequestRejected) and status >= BAD_REQUEST:  # the list itself was not found, not a model
            error.hint = "check --base-url"
        raise error
    return CachedModels(base_url, headers.get("etag", ""), time.time(), body, parse_models(body))


def _find_age(stored: CachedModels) -> float:
    return time.time() - stored.fetched


def _format_age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} s"


def improve_hint(error: AimlError, settings: Settings, endpoint: str) -> None:
    """Replace the error's hint if the stored catalog has a better one; never asks the server."""
    if error.hint == CONTEXT_HINT:
        return
    name, missing = settings.options.model or "", error.details.get("missing")
    if missing == "path":
        error.hint = _explain_missing_path(settings.options.base_url or "", endpoint)
    # Such a short message may be about a path or a model.
    is_vague = missing == "path" and error.message.casefold().rstrip(".").endswith(": not found")
    if (missing in ("path", "response") and not is_vague) or not _is_about_model(error, name):
        return
    models = load_stored_models(settings) or []
    model = find_model(models, name)
    supported = [other for other in (model.endpoints if model else ()) if other in COMMANDS]
    if model and supported and endpoint not in supported:
        error.hint = f"{model.id} works with: {COMMANDS[supported[0]]} -m {model.id}"
    elif model is None and (similar := suggest_models(models, name)):
        error.hint = f"did you mean {' or '.join(similar)}? aiml models WORDS searches the catalog"
    elif model is None and error.details.get("status") != _NOT_FOUND and not is_vague:
        error.hint = "is the model's id right? aiml models WORDS searches the catalog"


def _explain_missing_path(base_url: str, endpoint: str) -> str:
    """Return a hint for a server without this path: few servers support both endpoints."""
    path = urlsplit(join_url(base_url, get_endpoint(endpoint).path)).path
    other = next(command for name, command in COMMANDS.items() if name != endpoint)
    return f"this server may not support {path}: try {other}, or check --base-url"


def _is_about_model(error: AimlError, name: str) -> bool:
    text = " ".join(str(part) for part in (error.message, error.details.get("code"), error.details.get("type")))
    is_not_found = error.details.get("status") == _NOT_FOUND
    return is_not_found or bool(name and name in text) or bool(_MENTIONS_MODEL.search(text))


def search_models(models: Iterable[Model], words: Sequence[str]) -> list[Model]:
    """Return the models whose id, aliases, name or developer contain every word, ignoring case."""
    folded = [word.casefold() for word in words]
    return [model for model in models if all(word in _join_searchable_text(model) for word in folded)]


def find_model(models: Sequence[Model], name: str) -> Model | None:
    """Return the only model with this id or, failing that, with this id in another case, or with this alias."""
    folded = name.casefold()
    matches = (
        [model for model in models if model.id == name]
        or [model for model in models if model.id.casefold() == folded]
        or [model for model in models if folded in map(str.casefold, model.aliases)]
    )
    return matches[0] if len(matches) == 1 else None


def suggest_models(models: Iterable[Model], name: str) -> list[str]:
    """Return ids similar to a mistyped one; dots, dashes and the vendor's prefix are ignored."""
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
