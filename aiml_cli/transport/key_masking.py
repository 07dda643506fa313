"""Mask the API key in what a server sends back, and in errors: the only place that does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiml_cli.errors import AimlError

SHORTEST = 8  # a key of a few letters stands in every sentence
STARS = "***"


def extract_key(headers: Mapping[str, str]) -> str:
    """Give the key that a request's headers hold; "" for none that can be told from other words."""
    key = headers.get("Authorization", "").removeprefix("Bearer ")
    return key if len(key) >= SHORTEST else ""


def mask_text(text: str, key: str) -> str:
    """Return the text with stars in the place of the key."""
    return text.replace(key, STARS) if key else text


@contextmanager
def mask_errors(key: str) -> Iterator[None]:
    """Mask the key in every error that passes: servers repeat what they got."""
    try:
        yield
    except AimlError as error:
        error.message, error.hint = mask_text(error.message, key), mask_text(error.hint, key)
        error.details = {
            name: mask_text(value, key) if isinstance(value, str) else value for name, value in error.details.items()
        }
        raise


def mask_chunks(key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the chunks with stars for the key; what may be its beginning waits for the rest."""
    secret, stars, held = key.encode(), STARS.encode(), b""
    for chunk in chunks:
        text = (held + chunk).replace(secret, stars)
        count = _begun(text, secret)
        held = text[len(text) - count :]
        if shown := text[: len(text) - count]:
            yield shown
    if held:
        yield held


def _begun(text: bytes, secret: bytes) -> int:
    """Count the bytes at the end of a text that a secret may begin with."""
    place = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while place >= 0 and not secret.startswith(text[place:]):
        place = text.find(secret[0], place + 1)
    return len(text) - place if place >= 0 else 0
