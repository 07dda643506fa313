"""Cache each server's list of models on disk, with its ETag.

A plain list of ids next to it is for the shell completions. The ids come from a server, so those with characters that
are special in a shell are left out.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path

from aiml_cli.api.model_list import Model, parse_models
from aiml_cli.errors import AimlError
from aiml_cli.store.paths import cache_dir
from aiml_cli.system.atomic_write import replace_file, update_file

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_ENDPOINTS = {"chat", "responses"}


@dataclass(frozen=True, slots=True)
class CachedModels:
    """A server's list of models; `fetched` is the Unix time when the server last confirmed it."""

    base_url: str
    etag: str
    fetched: float
    body: bytes
    models: list[Model]


def load_models(base_url: str) -> CachedModels | None:
    """Return the cached list of a server, or None if there is none or it is damaged."""
    try:
        head, _, body = cache_path(base_url).read_bytes().partition(b"\n")
        facts = json.loads(head)
        fetched = float(facts["fetched"])
        if facts["base_url"] != base_url or not isfinite(fetched):
            return None
        return CachedModels(base_url, str(facts["etag"]), fetched, body, parse_models(body))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, AimlError):
        return None


def save_models(cached: CachedModels) -> None:
    """Write the list of a server; if that fails, the next call requests it again."""
    facts = {"base_url": cached.base_url, "etag": cached.etag, "fetched": cached.fetched}
    with suppress(OSError, AimlError):
        replace_file(cache_path(cached.base_url), json.dumps(facts).encode() + b"\n" + cached.body)
        names = "".join(f"{name}\n" for name in _completable_names(cached.models)).encode()
        update_file(model_names_file(), lambda old: None if old == names else names)


def model_names_file() -> Path:
    """Return the path of the list of ids, which are those of the last server that was used."""
    return cache_dir() / "models.txt"


def _completable_names(models: Iterable[Model]) -> list[str]:
    """Return the ids of models that our endpoints support, as far as known, and that need no quotes in a shell."""
    names = (model.id for model in models if not model.endpoints or not _ENDPOINTS.isdisjoint(model.endpoints))
    return [name for name in names if _HARMLESS.fullmatch(name)]


def cache_path(base_url: str) -> Path:
    """Return the path of a server's list; it contains a hash, because a URL cannot be a file name."""
    return cache_dir() / f"models-{sha256(base_url.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
