"""Put settled options where an endpoint's request has them; the table says where."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from aiml_cli.errors import Misuse
from aiml_cli.settings.options import ROWS, Options, value_of


def fill(body: dict[str, Any], endpoint: str, options: Options) -> dict[str, Any]:
    """Add each option that somebody set; nothing is sent that nobody asked for.

    A place inside an array (`messages[role=system].content`) is the endpoint's own business.
    """
    for row in ROWS.values():
        place, value = row.wire.get(endpoint), value_of(options, row)
        if place and value is not None and "[" not in place.path:
            put(body, place.path, list(value) if isinstance(value, tuple) else deepcopy(value))
    return body


def add(body: dict[str, Any], properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """Add what `-O` says, last, so that it wins."""
    for path, value in (properties or {}).items():
        put(body, path, value)
    return body


def put(body: dict[str, Any], path: str, value: Any) -> None:
    """Set a property; dots nest."""
    *parents, name = path.split(".")
    here = body
    for parent in parents:
        here = here.setdefault(parent, {})
        if not isinstance(here, dict):
            raise Misuse(f"-O {path}: {parent!r} is no object in this request")
    here[name] = value
