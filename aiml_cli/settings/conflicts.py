"""Check that the options of a call can be used together, from the conflicts in their rows."""

from collections.abc import Collection
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import REPL, ROWS, SEVERAL_MODELS, SIDE_BY_SIDE, Conflict, Option, value_of
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.value_types import OFF

_PER_CALL_SOURCES = (Source.FLAG, Source.SET, Source.TEMPLATE)
_MODES = {REPL: "a conversation in the REPL", SEVERAL_MODELS: "several models", SIDE_BY_SIDE: "several models"}


def check_conflicts(settings: Settings, modes: Collection[str] = ()) -> None:
    """Raise UsageError for the first two options that cannot be used together, or an option without a required one.

    `modes` are the modes of this call (REPL, SEVERAL_MODELS, SIDE_BY_SIDE).
    """
    rows = [row for row in ROWS.values() if (row.conflicts or row.requires) and _is_set(row.name, settings)]
    for row in rows:
        for conflict in row.conflicts:
            if _applies(conflict, row, settings, modes):
                flag = f"{row.flag} {value_of(settings.options, row)}" if conflict.values else row.flag
                other = _MODES.get(conflict.other) or _format_flag(conflict.other)
                raise UsageError(f"{flag} cannot be used with {other}", conflict.hint)
    for row in rows:
        is_per_call = settings.sources[row.name] in _PER_CALL_SOURCES
        value = value_of(settings.options, row)
        is_strict = is_per_call and row.requires and (not row.requires_values or value in row.requires_values)
        if is_strict and not any(_is_set(name, settings) for name in row.requires):
            flag = f"{row.flag} {value}" if row.requires_values else row.flag
            partners = " or ".join(ROWS[name].flag for name in row.requires)
            raise UsageError(f"{flag} only works with {partners}", row.requires_hint)


def _is_set(name: str, settings: Settings) -> bool:
    is_default = settings.sources.get(name, Source.DEFAULT) is Source.DEFAULT
    return not is_default and value_of(settings.options, ROWS[name]) not in (None, False, OFF)


def _applies(conflict: Conflict, row: Option[Any], settings: Settings, modes: Collection[str]) -> bool:
    if conflict.typed_only and settings.sources[row.name] not in _PER_CALL_SOURCES:
        return False
    if conflict.values and value_of(settings.options, row) not in conflict.values:
        return False
    if conflict.other in _MODES:
        return conflict.other in modes
    name, _, value = conflict.other.partition("=")
    return _is_set(name, settings) and (not value or value_of(settings.options, ROWS[name]) == value)


def _format_flag(other: str) -> str:
    name, _, value = other.partition("=")
    return f"{ROWS[name].flag} {value}".rstrip()
