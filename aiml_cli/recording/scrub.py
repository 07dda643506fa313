"""Take secrets out of an exchange before it is written down; pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiml_cli.api.echo import SHORTEST
from aiml_cli.api.retry import asked_pause
from aiml_cli.recording.form import STARS

Json = Any
# Who somebody is, or how the bytes were packed on a way that a recording does not take.
LEFT_OUT = frozenset({
    "authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info", "x-api-key",
    "cookie", "set-cookie", "set-cookie2", "connection", "transfer-encoding", "content-encoding", "content-length",
})  # fmt: skip


class Scrub:
    """Put stars for secrets, also where JSON writes their characters as escapes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        long = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_escapable, long))) if long else None

    def text(self, text: str) -> str:
        """Scrub a text."""
        return self._pattern.sub(STARS, text) if self._pattern else text

    def json(self, value: Json) -> Json:
        """Scrub every text of a JSON value, the names of properties too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(each) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self.json(each) for name, each in value.items()}
        return value

    def chunks(self, chunks: Sequence[bytes]) -> Sequence[bytes]:
        """Scrub a body, however it is cut; one that holds a secret is one chunk from then on."""
        body = b"".join(chunks).decode("latin-1") if self._pattern else ""
        clean = self.text(body)
        return chunks if clean == body else [clean.encode("latin-1")]

    def headers(self, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Give the headers that matter; a date to wait for becomes seconds, which mean the same at any time."""
        kept = {name: self.text(value) for name, value in headers.items() if name not in LEFT_OUT}
        pause = asked_pause({"retry-after": kept.get("retry-after", "")}, now)
        if pause is not None and not kept["retry-after"].strip()[:1].isdigit():
            kept["retry-after"] = f"{pause:.3f}"
        return kept


def _escapable(secret: str) -> str:
    r"""Match a secret as it is, and with any character as `\u006b` or behind a backslash."""
    return "".join(map(_written, secret))


def _written(char: str) -> str:
    plain, code = re.escape(char), f"{ord(char):04x}"
    return rf"(?:\\?{plain}|\\u(?:{code}|{code.upper()}))"
