"""Keep each server's catalogue of models on disk, with the ETag that it came under.

Beside it lies a plain list of ids, which the shells read when Tab is pressed. An id is a server's word: one that
holds anything but letters, digits and a few harmless marks is left out of it.
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
_SPOKEN = {"chat", "responses"}


@dataclass(frozen=True, slots=True)
class CachedModels:
    """Hold a catalogue as it came; `fetched` is when the server last vouched for it, in Unix time."""

    base_url: str
    etag: str
    fetched: float
    body: bytes
    models: list[Model]


def load_models(base_url: str) -> CachedModels | None:
    """Read what is stored for a server; None when nothing is, or when it is damaged."""
    try:
        head, _, body = cache_path(base_url).read_bytes().partition(b"\n")
        facts = json.loads(head)
        fetched = float(facts["fetched"])
        if facts["base_url"] != base_url or not isfinite(fetched):
            return None
        return CachedModels(base_url, str(facts["etag"]), fetched, body, parse_models(body))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, AimlError):
        return None


def save_models(catalogue: CachedModels) -> None:
    """Store a catalogue for the next call; where that cannot be done, the next call asks again."""
    facts = {"base_url": catalogue.base_url, "etag": catalogue.etag, "fetched": catalogue.fetched}
    with suppress(OSError, AimlError):
        replace_file(cache_path(catalogue.base_url), json.dumps(facts).encode() + b"\n" + catalogue.body)
        names = "".join(f"{name}\n" for name in _names(catalogue.models)).encode()
        update_file(model_names_file(), lambda old: None if old == names else names)


def model_names_file() -> Path:
    """Name the list of ids: those of the server that was asked last."""
    return cache_dir() / "models.txt"


def _names(models: Iterable[Model]) -> list[str]:
    """Choose the ids that can be asked, as far as the catalogue says, and typed without quotes."""
    askable = (model.id for model in models if not model.endpoints or not _SPOKEN.isdisjoint(model.endpoints))
    return [name for name in askable if _HARMLESS.fullmatch(name)]


def cache_path(base_url: str) -> Path:
    """Name the file of a server; the address is hashed, for it may hold what no file name can."""
    return cache_dir() / f"models-{sha256(base_url.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
