"""Keep each server's catalogue of models on disk, with the ETag that it came under."""

import json
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path

from aiml_cli.api.models import Model, parse
from aiml_cli.errors import AimlError
from aiml_cli.store.paths import cache_dir
from aiml_cli.store.write import replace


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Hold a catalogue as it came; `fetched` is when the server last vouched for it, in Unix time."""

    base_url: str
    etag: str
    fetched: float
    body: bytes
    models: list[Model]


def load(base_url: str) -> Catalogue | None:
    """Read what is stored for a server; None when nothing is, or when it is damaged."""
    try:
        head, _, body = path(base_url).read_bytes().partition(b"\n")
        facts = json.loads(head)
        fetched = float(facts["fetched"])
        if facts["base_url"] != base_url or not isfinite(fetched):
            return None
        return Catalogue(base_url, str(facts["etag"]), fetched, body, parse(body))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, AimlError):
        return None


def save(catalogue: Catalogue) -> None:
    """Store a catalogue for the next call; where that cannot be done, the next call asks again."""
    facts = {"base_url": catalogue.base_url, "etag": catalogue.etag, "fetched": catalogue.fetched}
    with suppress(OSError, AimlError):
        replace(path(catalogue.base_url), json.dumps(facts).encode() + b"\n" + catalogue.body)


def path(base_url: str) -> Path:
    """Name the file of a server; the address is hashed, for it may hold what no file name can."""
    return cache_dir() / f"models-{sha256(base_url.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
