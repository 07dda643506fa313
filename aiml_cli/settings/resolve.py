"""Resolve the value of each setting from its sources, and check that the values can be used together."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import REPL, ROWS, SEVERAL_MODELS, SIDE_BY_SIDE, Conflict, Option, Options, value_of
from aiml_cli.settings.value_types import HEADERS, OFF, PROPERTIES, ValueType, names_file, suggest

PLACEHOLDER = re.compile(r"<.*>", re.DOTALL)  # such as `<YOUR_KEY>`, copied from an example
MAX_SHOWN_LENGTH = 200  # of an invalid value in a message


class Source(Enum):
    """The sources of settings, from the lowest to the highest precedence."""

    DEFAULT = "default"
    FILE = "config file"
    PROFILE = "profile"
    ENVIRONMENT = "environment"
    SET = "/set"
    TEMPLATE = "template"
    FLAG = "flag"


_PER_CALL_SOURCES = (Source.FLAG, Source.SET, Source.TEMPLATE)
_MODES = {REPL: "a conversation in the REPL", SEVERAL_MODELS: "several models", SIDE_BY_SIDE: "several models"}


class RawValue(NamedTuple):
    """The unparsed values of an option in one source, and the name of the source for messages."""

    texts: tuple[str, ...]
    source_name: str


Flags = Mapping[str, RawValue]
ValuesBySource = Mapping[Source, Mapping[str, RawValue]]


@dataclass(frozen=True, slots=True, repr=False, eq=False)  # generated methods would slow down the start
class Settings:
    """The resolved options, the source of each, and the names of the sources that the source overrides."""

    options: Options
    sources: Mapping[str, Source] = field(default_factory=dict)
    source_names: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def resolve(values_by_source: ValuesBySource, endpoint: str = "") -> Settings:
    """Resolve every row; raise UsageError for an invalid value, with the name of its source.

    Only the value with the highest precedence is parsed, and only for rows that apply to `endpoint` ("": all rows).
    """
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    source_names: dict[str, str] = {}
    overrides: dict[str, tuple[str, ...]] = {}
    for name, row in ROWS.items():
        if row.default is not None:
            values[row.attribute], sources[name] = row.default, Source.DEFAULT
        candidates = [(source, values_by_source.get(source, {}).get(name)) for source in Source]
        raw_values = [(source, raw_value) for source, raw_value in candidates if raw_value and raw_value.texts]
        if not raw_values or (endpoint and not row.applies_to(endpoint)):
            continue
        sources[name], winner = raw_values[-1]
        parts = raw_values if row.value_type.is_merged else raw_values[-1:]
        values[row.attribute] = _join_values(row, [parse_value(row, part, endpoint) for _, part in parts])
        source_names[name] = winner.source_name
        overrides[name] = tuple(raw_value.source_name for _, raw_value in raw_values[:-1])
    return Settings(Options(**values), sources, source_names, overrides)


def parse_value(row: Option[Any], raw_value: RawValue, endpoint: str = "") -> Any:
    """Parse the raw value of a row; raise UsageError for an invalid one."""
    value_type = row.value_type_on(endpoint)
    values = [_parse_text(value_type, text, raw_value.source_name) for text in raw_value.texts]
    if not value_type.is_list:
        return values[-1]
    if value_type.is_merged:
        return merge_tables(values)
    if isinstance(values[0], dict):
        return {key: item for value in values for key, item in value.items()}
    return tuple(item for value in values for item in value)


def split_name(name: str) -> tuple[str, str]:
    """Split NAME.KEY, which is one entry of a table; the key is "" for the complete setting."""
    table, _, key = name.partition(".")
    row = ROWS.get(table)
    return (table, key) if key and row and row.value_type.separator else (name, "")


def merge_tables(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries of all tables; a later entry replaces an earlier one whose key differs only in case."""
    entries = {key.lower(): (key, item) for table in tables for key, item in table.items()}
    return dict(entries.values())


def _join_values(row: Option[Any], values: Sequence[Any]) -> Any:
    """Merge the values of a row from its sources; empty entries are left out. Return None if no entry is left."""
    if not row.value_type.is_merged:
        return values[-1]
    return {key: item for key, item in merge_tables(values).items() if item != ""} or None


def _parse_text(value_type: ValueType[Any], text: str, source_name: str) -> Any:
    try:
        return value_type.parse(text)
    except UsageError as error:
        error.message = f"{source_name}: {error.message}"
        raise
    except (ValueError, OverflowError, RecursionError):
        message = f"{source_name}: {_shorten(text)!r} is not {value_type.name}"
        raise UsageError(message, suggest(text, value_type.choices)) from None


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


def read_environment(environ: Mapping[str, str]) -> dict[str, RawValue]:
    """Return the raw values in environment variables; an empty variable counts as not set."""
    values: dict[str, RawValue] = {}
    for row in ROWS.values():
        names = [name for name in row.variables if environ.get(name)]
        # A placeholder must not take precedence over the value of another variable.
        if name := min(names, key=lambda name: bool(PLACEHOLDER.fullmatch(environ[name])), default=""):
            text = environ[name]
            lines = tuple(line for line in text.split("\n") if line.strip())
            values[row.name] = RawValue(lines if row.value_type.is_merged else (text,), name)
    return values


def read_table(
    table: Mapping[str, object], source_name: str, file_kind: str = "the config file"
) -> dict[str, RawValue]:
    """Read a TOML table; raise UsageError for an unknown setting, or one that cannot be in this kind of file."""
    for name in table:
        _require_setting(name, source_name, file_kind)
    return {name: _read_value(name, value, f"{source_name}: {name}") for name, value in table.items()}


def _read_value(name: str, value: object, source_name: str) -> RawValue:
    value_type = ROWS[name].value_type
    if (
        value_type is HEADERS
        and isinstance(value, dict)
        and any(isinstance(item, dict | list) for item in value.values())
    ):
        raise UsageError(f"{source_name}: the value of a header must be a string")
    texts = tuple(_format_texts(value_type, value))
    for text in texts:
        _require_full_path(value_type, text, source_name)
    return RawValue(texts, source_name)


def _require_full_path(value_type: ValueType[Any], text: str, source_name: str) -> None:
    """Raise UsageError for a relative path: it would be another file in each directory, even another user's."""
    if text and names_file(value_type, text) and not text.removeprefix("@").startswith(("/", "~")):
        raise UsageError(f"{source_name}: {text!r} is not an absolute path", "begin it with / or ~")


def _require_setting(name: str, source_name: str, file_kind: str) -> None:
    row = ROWS.get(name)
    if row is None:
        hint = suggest(name, [row.name for row in persistent_options()])
        raise UsageError(f"{source_name}: unknown setting {name!r}", hint)
    if row.secret or row.per_call:
        hint = "store the key with: aiml config key" if row.secret else f"pass {row.flag} on each call"
        raise UsageError(f"{source_name}: {name} cannot be set in {file_kind}", hint)


def persistent_options() -> Iterator[Option[Any]]:
    """Yield the rows that the config file can set."""
    return (row for row in ROWS.values() if not row.per_call and not row.secret)


def _format_texts(value_type: ValueType[Any], value: object) -> Iterable[str]:
    """Return a TOML value as the values that would be typed after a flag."""
    match value:
        case dict() if value_type is PROPERTIES:
            return [f"{key}={json.dumps(item, default=str)}" for key, item in value.items()]
        case bool():
            return ["on" if value else "off"]
        case dict() if value_type.is_list:
            separator = value_type.separator or "="
            return [f"{key}{separator}{_format_item(item)}" for key, item in value.items()]
        case list() if value_type.is_list:
            return map(_format_item, value)
        case _:
            return [_format_item(value)]


def _format_item(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def check_conflicts(settings: Settings, modes: Collection[str] = ()) -> None:
    """Raise UsageError for the first two options that cannot be used together, or an option without a required one.

    `modes` are the modes of this call (REPL, SEVERAL_MODELS, SIDE_BY_SIDE).
    """
    rows = [row for row in ROWS.values() if (row.conflicts or row.requires) and _is_set(row.name, settings)]
    for row in rows:
        for conflict in row.conflicts:
            if _has_conflict(conflict, row, settings, modes):
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


def _has_conflict(conflict: Conflict, row: Option[Any], settings: Settings, modes: Collection[str]) -> bool:
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
