"""How JSON becomes bytes: a body, or one server-sent event."""

import json
from typing import Any

Json = Any


def encoded(value: Json) -> bytes:
    """Write JSON as the gateway does: UTF-8, nothing escaped that need not be, lone surrogates replaced."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def event(value: Json, name: str = "") -> bytes:
    """Write a server-sent event, with an `event:` line where it has a name."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + encoded(value) + b"\n\n"
