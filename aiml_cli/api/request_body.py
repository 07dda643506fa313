"""Put settled options where an endpoint's request has them; the table says where."""

import io
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Options, value_of

LONG = 1024 * 1024  # characters; shorter texts are written in one go
_quoted = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def apply_options(body: dict[str, Any], endpoint: str, options: Options) -> dict[str, Any]:
    """Add each option that somebody set; nothing is sent that nobody asked for.

    A place inside an array (`messages[role=system].content`) is the endpoint's own business.
    """
    for row in ROWS.values():
        place, value = row.body_paths.get(endpoint), value_of(options, row)
        if place and value is not None and "[" not in place.path:
            set_path(body, place.path, list(value) if isinstance(value, tuple) else deepcopy(value))
    return body


def apply_overrides(body: dict[str, Any], properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """Add what `-O` says, last, so that it wins."""
    for path, value in (properties or {}).items():
        set_path(body, path, value)
    return body


def set_path(body: dict[str, Any], path: str, value: Any) -> None:
    """Set a property; dots nest."""
    *parents, name = path.split(".")
    here = body
    for parent in parents:
        here = here.setdefault(parent, {})
        if not isinstance(here, dict):
            raise UsageError(f"-O {path}: {parent!r} is no object in this request")
    here[name] = value


def encode_body(body: Any) -> bytes:
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
