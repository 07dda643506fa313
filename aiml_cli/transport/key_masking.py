"""Mask the API key in errors and in what a server sends back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiml_cli.errors import AimlError

MIN_KEY_LENGTH = 8  # a shorter key may be part of any sentence
STARS = "***"


def extract_key(headers: Mapping[str, str]) -> str:
    """Return the API key in the headers, or "" if it is too short to mask safely."""
    key = headers.get("Authorization", "").removeprefix("Bearer ")
    return key if len(key) >= MIN_KEY_LENGTH else ""


def mask_text(text: str, key: str) -> str:
    """Return the text with stars in place of the key."""
    return text.replace(key, STARS) if key else text


@contextmanager
def mask_errors(key: str) -> Iterator[None]:
    """Mask the key in every error that is raised inside: servers repeat what they received."""
    try:
        yield
    except AimlError as error:
        error.message, error.hint = mask_text(error.message, key), mask_text(error.hint, key)
        error.details |= {name: mask_text(text, key) for name, text in error.details.items() if isinstance(text, str)}
        raise


def mask_chunks(key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks with stars in place of the key; a possible beginning of the key waits for the next chunk."""
    secret, stars, pending = key.encode(), STARS.encode(), b""
    for chunk in chunks:
        text = (pending + chunk).replace(secret, stars)
        end = _find_partial(text, secret)
        pending = text[end:]
        if end:
            yield text[:end]
    if pending:
        yield pending


def _find_partial(text: bytes, secret: bytes) -> int:
    """Return the position from which the end of a text may be the beginning of the secret, else its length."""
    position = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while position >= 0 and not secret.startswith(text[position:]):
        position = text.find(secret[0], position + 1)
    return position if position >= 0 else len(text)
