"""Put options where an endpoint's request body has them, as the option table says, and encode the body."""

import io
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Options

PIECE_CHARS = 1024 * 1024  # of a long text; shorter ones are written at once


def apply_options(body: dict[str, Any], endpoint: str, options: Options) -> dict[str, Any]:
    """Add each option that is set, except those with a path into an array, and return the body."""
    for attribute, path in _list_body_paths(endpoint):
        if (value := getattr(options, attribute)) is not None:
            set_path(body, path, list(value) if isinstance(value, tuple) else deepcopy(value))
    return body


@cache  # rows need it a million times
def _list_body_paths(endpoint: str) -> list[tuple[str, str]]:
    """Return the attribute and path of each option that the endpoint takes; the endpoint itself builds arrays."""
    paths = [(row.attribute, row.body_paths[endpoint].path) for row in ROWS.values() if endpoint in row.body_paths]
    return [(attribute, path) for attribute, path in paths if "[" not in path]


def apply_overrides(body: dict[str, Any], properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """Add the properties of `-O`, which override everything else; return the body."""
    for path, value in (properties or {}).items():
        set_path(body, path, value)
    return body


def set_path(body: dict[str, Any], path: str, value: Any) -> None:
    """Set a property; dots in the path nest."""
    *parents, name = path.split(".")
    target = body
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UsageError(f"-O {path}: {parent!r} is no object in this request")
    target[name] = value


def encode_body(body: Any) -> bytes:
    """Return the body as JSON; an unpaired surrogate becomes a question mark."""
    output = io.BytesIO()  # its getvalue() does not copy
    _write(output, body)
    return output.getvalue()


def _write(output: io.BytesIO, value: Any) -> None:
    """Write long texts in pieces, to save memory, and all else at once."""
    if not _has_long_text(value):
        output.write(_encode(value))
    elif isinstance(value, str):
        output.write(b'"')
        pieces = (value[start : start + PIECE_CHARS] for start in range(0, len(value), PIECE_CHARS))
        output.writelines(_encode(piece)[1:-1] for piece in pieces)
        output.write(b'"')
    elif isinstance(value, dict):
        members = [(_encode(name) + b":", member) for name, member in value.items()]
        _write_members(output, b"{}", members)
    else:
        _write_members(output, b"[]", [(b"", member) for member in value])


def _write_members(output: io.BytesIO, brackets: bytes, members: list[tuple[bytes, Any]]) -> None:
    separator = brackets[:1]
    for prefix, value in members:
        output.write(separator + prefix)
        _write(output, value)
        separator = b","
    output.write(brackets[1:])


def _has_long_text(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > PIECE_CHARS
    if isinstance(value, dict):
        return any(map(_has_long_text, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_long_text, value))


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
