"""Load the list of models from the server or from the stored catalog."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli import __version__
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
FRESH_SECONDS = 60  # what the server says of its list: cache-control max-age=60 (2026-08-30)
QUERY = "include=pricing,modalities,capabilities"


def fetch_models(settings: Settings) -> list[Model]:
    """Return the server's models, or the stored ones if they are fresh or the server cannot be reached.

    With --record and --replay the stored ones are not used: they may differ when the recording is played.
    """
    stored = None if settings.options.record or settings.options.replay else load_models(_clean_base_url(settings))
    if stored and 0 <= _find_age(stored) < FRESH_SECONDS:
        return stored.models
    try:
        return _update(settings, stored).models
    except AimlError as error:
        if not stored or isinstance(error, UsageError):  # the user should see that the settings are wrong
            raise
        if not settings.options.quiet:
            print_err(f"aiml: {' '.join(error.message.split())}; this list is {_format_age(_find_age(stored))} old")
        return stored.models


def load_stored_models(settings: Settings) -> list[Model] | None:
    """Return the stored models, however old, None if there are none; never asks the server."""
    stored = load_models(_clean_base_url(settings))
    return stored.models if stored else None


def _clean_base_url(settings: Settings) -> str:
    return (settings.options.base_url or "").rstrip("/")


def _update(settings: Settings, stored: CachedModels | None) -> CachedModels:
    """Fetch the server's models, or confirm the stored ones, and store the result."""
    base_url, options = _clean_base_url(settings), settings.options
    response, body = _fetch(settings, stored)
    fresh = _parse_response(base_url, response, body, stored)
    if not (is_local(base_url) or options.replay):  # the embedded server has another port each time
        save_models(fresh)
    return fresh


def _fetch(settings: Settings, stored: CachedModels | None) -> tuple[HttpResponse, bytes]:
    """Request the list without a key; only if the server wants one, once more with the user's key for it.

    Raises the error of a list that is not sent without a key if there is none.
    """
    base_url, options = _clean_base_url(settings), settings.options
    url, headers, send = join_url(base_url, f"/models?{QUERY}"), _build_headers(stored), make_send(options)
    with open_client(options, base_url) as client:
        response, body = _get(send, client, url, headers)
        refusal = error_from_status(response.status, response.headers, body) if response.status >= BAD_REQUEST else None
        if not isinstance(refusal, AuthError):
            return response, body
        if options.replay:  # the recording has the second request too, if there was a key
            return _get(send, client, url, headers)
        key = _find_key(settings, base_url, refusal)
        return _get(send, client, url, {**headers, "Authorization": f"Bearer {key.value}"})


def _get(send: Send, client: "Client", url: str, headers: dict[str, str]) -> tuple[HttpResponse, bytes]:
    with send(client, HttpRequest("GET", url, headers)) as response:
        return response, read_all(response)


def _find_key(settings: Settings, base_url: str, refusal: AuthError) -> api_keys.ApiKey:
    """Return the user's key for the server; raise the refusal if there is none, or if others could read it."""
    key = api_keys.find_key(settings, base_url)
    if key is None:
        missing, command = api_keys.explain_missing_key(settings, base_url), f"aiml config key --base-url {base_url}"
        refusal.hint = f"this server lists its models only with a key; {missing}; store one with: {command}"
        raise refusal
    if is_unencrypted(base_url) and not is_local(base_url):
        refusal.hint = f"the key is not sent to {host_of(base_url)} over plain http: write https:// in base_url"
        raise refusal
    if key.notice and not settings.options.quiet:
        print_err(f"aiml: {key.notice}")
    return key


def _build_headers(stored: CachedModels | None) -> dict[str, str]:
    """Return headers without a key, because most catalogs are public."""
    etag = stored.etag if stored else ""
    is_valid = etag.isascii() and etag.isprintable()  # a damaged one would make the request invalid
    return {"User-Agent": f"aiml/{__version__}"} | ({"If-None-Match": etag} if etag and is_valid else {})


def _parse_response(base_url: str, response: HttpResponse, body: bytes, stored: CachedModels | None) -> CachedModels:
    status, headers = response.status, response.headers
    if status == 304 and stored:  # noqa: PLR2004 - not modified
        return replace(stored, fetched=time.time())
    if status != 200:  # noqa: PLR2004 - OK
        error = error_from_status(status, headers, body)
        if isinstance(error, RequestRejected) and status >= BAD_REQUEST:  # the list itself is not found, not a model
            error.hint = "is --base-url right?"
        raise error
    return CachedModels(base_url, headers.get("etag", ""), time.time(), body, parse_models(body))


def _find_age(stored: CachedModels) -> float:
    return time.time() - stored.fetched


def _format_age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} s"
