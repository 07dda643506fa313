"""Write a request's body as JSON in memory that is hardly more than its bytes."""

import io
import json
from functools import partial
from typing import Any

LONG = 1024 * 1024  # characters; shorter texts are written in one go

_quoted = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def written(body: Any) -> bytes:
    """Give the JSON of a body; half a character becomes a question mark."""
    whole = io.BytesIO()  # it gives away its buffer in the end, uncopied
    _write(whole, body)
    return whole.getvalue()


def _write(out: io.BytesIO, value: Any) -> None:
    """Write what holds a long text piece by piece, and all else in one go."""
    if not _is_long(value):
        out.write(_encoded(_quoted(value)))
    elif isinstance(value, str):
        out.write(b'"')
        out.writelines(_encoded(_quoted(value[start : start + LONG])[1:-1]) for start in range(0, len(value), LONG))
        out.write(b'"')
    elif isinstance(value, dict):
        _list(out, b"{}", [(_encoded(_quoted(name)) + b":", each) for name, each in value.items()])
    else:
        _list(out, b"[]", [(b"", each) for each in value])


def _list(out: io.BytesIO, brackets: bytes, members: list[tuple[bytes, Any]]) -> None:
    before = brackets[:1]
    for name, value in members:
        out.write(before + name)
        _write(out, value)
        before = b","
    out.write(brackets[1:])


def _is_long(value: Any) -> bool:
    """Say whether a value is, or holds, a long text."""
    if isinstance(value, str):
        return len(value) > LONG
    if isinstance(value, dict):
        return any(map(_is_long, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_long, value))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
