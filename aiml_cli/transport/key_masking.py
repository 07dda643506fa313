"""Take the key out of what a server sends back, however it is cut into network reads."""

from collections.abc import Iterator, Mapping

SHORTEST = 8  # a key of a few letters stands in every sentence
STARS = "***"


def extract_key(headers: Mapping[str, str]) -> str:
    """Give the key that a request's headers hold; "" for none that can be told from other words."""
    key = headers.get("Authorization", "").removeprefix("Bearer ")
    return key if len(key) >= SHORTEST else ""


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
