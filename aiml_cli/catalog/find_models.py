"""Load the list of models: from the server, or from the stored copy."""

import time
from collections.abc import Mapping
from dataclasses import replace

from aiml_cli import __version__
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.model_list import Model, parse_models
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.resolve import Settings
from aiml_cli.settings.urls import is_local
from aiml_cli.store.model_cache import CachedModels, load_models, save_models
from aiml_cli.system.stdio import print_err
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, read_all

# What the server itself says of its list: cache-control max-age=60 (2026-08-30).
FRESH_SECONDS = 60
QUERY = "include=pricing,modalities,capabilities"


def fetch_models(settings: Settings) -> list[Model]:
    """Give the server's models: the stored copy while it is fresh, or when the server cannot be asked.

    A recording is made and read without that copy: who replays it may have another one, or none.
    """
    stored = None if settings.options.record or settings.options.replay else load_models(_base_url(settings))
    if stored and 0 <= _age(stored) < FRESH_SECONDS:
        return stored.models
    try:
        return _fetched(settings, stored).models
    except AimlError as fault:
        if not stored or isinstance(fault, UsageError):  # wrong settings should be seen
            raise
        if not settings.options.quiet:
            print_err(f"aiml: {' '.join(fault.message.split())}; this list is {_long(_age(stored))} old")
        return stored.models


def load_stored_models(settings: Settings) -> list[Model] | None:
    """Give the models of the stored copy, however old, and ask nobody; None when there is no copy."""
    stored = load_models(_base_url(settings))
    return stored.models if stored else None


def _base_url(settings: Settings) -> str:
    return (settings.options.base_url or "").rstrip("/")


def _fetched(settings: Settings, stored: CachedModels | None) -> CachedModels:
    """Ask the server, which may say that the stored copy still holds; store what it says."""
    base_url, options = _base_url(settings), settings.options
    request = HttpRequest("GET", f"{base_url}/models?{QUERY}", _headers(stored))
    with open_client(options, base_url) as client, make_send(options)(client, request) as reply:
        body = read_all(reply)
    fresh = _told(base_url, reply.status, reply.headers, body, stored)
    if not (is_local(base_url) or options.replay):  # the embedded server has another port each time
        save_models(fresh)
    return fresh


def _headers(stored: CachedModels | None) -> dict[str, str]:
    """Name the program and the copy at hand; the key stays here, for the catalogue is open to all."""
    etag = stored.etag if stored else ""
    fit = etag.isascii() and etag.isprintable()  # a damaged one would spoil the request
    return {"User-Agent": f"aiml/{__version__}"} | ({"If-None-Match": etag} if etag and fit else {})


def _told(
    base_url: str, status: int, headers: Mapping[str, str], body: bytes, stored: CachedModels | None
) -> CachedModels:
    if status == 304 and stored:  # noqa: PLR2004 - not modified
        return replace(stored, fetched=time.time())
    if status != 200:  # noqa: PLR2004 - OK
        raise _refused(status, headers, body)
    return CachedModels(base_url, headers.get("etag", ""), time.time(), body, parse_models(body))


def _refused(status: int, headers: Mapping[str, str], body: bytes) -> AimlError:
    fault = error_from_status(status, headers, body)
    if status == 404:  # noqa: PLR2004 - of the list itself; no model was asked for
        fault.hint = "is --base-url right?"
    return fault


def _age(stored: CachedModels) -> float:
    return time.time() - stored.fetched


def _long(seconds: float) -> str:
    """Say a time in its largest unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} s"
