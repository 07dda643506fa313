"""Settle each setting: default, file, profile, environment, /set, template, flag; the later speaker wins."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, Options
from aiml_cli.settings.value_types import JSON, PROPERTIES, SCHEMA, ValueType


class Source(Enum):
    """Name who can say a setting, the weakest first."""

    DEFAULT = "default"
    FILE = "config file"
    PROFILE = "profile"
    ENVIRONMENT = "environment"
    SET = "/set"
    TEMPLATE = "template"
    FLAG = "flag"


class RawValue(NamedTuple):
    """Hold what was said of one setting: its texts, and the speaker as a sentence names it."""

    texts: tuple[str, ...]
    source_name: str


ValuesBySource = Mapping[Source, Mapping[str, RawValue]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold the settled options, who said each, and whom they overruled."""

    options: Options
    sources: Mapping[str, Source] = field(default_factory=dict)
    source_names: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def resolve(layers: ValuesBySource, endpoint: str = "") -> Settings:
    """Settle every row; raise UsageError naming the speaker of a bad value.

    Only what takes part is judged: the strongest value of each row that means something on `endpoint`
    ("" judges all rows).
    """
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    speakers: dict[str, str] = {}
    hides: dict[str, tuple[str, ...]] = {}
    for name, row in ROWS.items():
        spoken = [(source, layers[source][name]) for source in Source if name in layers.get(source, {})]
        if row.default is not None:
            values[row.attribute], sources[name] = row.default, Source.DEFAULT
        spoken = [(source, said) for source, said in spoken if said.texts]
        if not spoken or (endpoint and not row.applies_to(endpoint)):
            continue
        source, said = spoken[-1]
        values[row.attribute], sources[name], speakers[name] = (
            parse_value(row, said, endpoint),
            source,
            said.source_name,
        )
        hides[name] = tuple(other.source_name for _, other in spoken[:-1])
    return Settings(Options(**values), sources, speakers, hides)


def parse_value(row: Option[Any], said: RawValue, endpoint: str = "") -> Any:
    """Read what was said of a row; the same sentence for every speaker."""
    kind = row.value_type_on(endpoint)
    values = [_parse(kind, text, said.source_name) for text in said.texts]
    if not kind.is_list:
        return values[-1]
    if isinstance(values[0], dict):
        return {key: value for each in values for key, value in each.items()}
    return tuple(value for each in values for value in each)


def _parse(kind: ValueType[Any], text: str, speaker: str) -> Any:
    try:
        return kind.parse(text)
    except (ValueError, OverflowError):
        near = get_close_matches(text, kind.choices, 1)
        raise UsageError(
            f"{speaker}: {text!r} is not {kind.name}", f"did you mean {near[0]}?" if near else ""
        ) from None


def read_environment(environ: Mapping[str, str]) -> dict[str, RawValue]:
    """Find what the environment says; of several variables for one row the first that is set wins.

    An empty variable says nothing.
    """
    return {
        row.name: RawValue((environ[variable],), variable)
        for row in ROWS.values()
        for variable in _weakest_first(row, environ)
        if environ.get(variable)
    }


def _weakest_first(row: Option[Any], environ: Mapping[str, str]) -> list[str]:
    """Order the variables of a row, so that the last one that is set wins."""
    return [
        *(name for name in reversed(row.variables) if _is_placeholder(environ.get(name, ""))),
        *(name for name in reversed(row.variables) if not _is_placeholder(environ.get(name, ""))),
    ]


def _is_placeholder(text: str) -> bool:
    """Know `<YOUR_KEY>` of the examples, which must not hide a value elsewhere."""
    return text.startswith("<") and text.endswith(">")


def read_table(table: Mapping[str, object], where: str, kind: str = "the config file") -> dict[str, RawValue]:
    """Read a table of a file; raise UsageError for a key that no row has, or that has no place in this kind of file."""
    known = {name: value for name, value in table.items() if _known(name, where, kind)}
    return {name: _written(name, value, f"{where}: {name}") for name, value in known.items()}


def _written(name: str, value: object, speaker: str) -> RawValue:
    kind = ROWS[name].value_type
    return RawValue(_anchored(kind, tuple(_texts(kind, value)), speaker), speaker)


def _anchored(kind: ValueType[Any], texts: tuple[str, ...], speaker: str) -> tuple[str, ...]:
    """See that a file named in the config is the same file in every directory; nobody else may place one there."""
    for text in texts:
        is_file = (
            (text.startswith("@") and "@" in kind.metavar)
            or kind.metavar == "PATH"
            or (kind in (JSON, SCHEMA) and text.endswith(".json"))
        )
        if is_file and text and not text.removeprefix("@").startswith(("/", "~")):
            raise UsageError(f"{speaker}: {text!r} is not the whole path of a file", "begin it with / or ~")
    return texts


def _known(name: str, where: str, kind: str) -> bool:
    row = ROWS.get(name)
    if row is None:
        near = get_close_matches(name, [row.name for row in persistent_options()], 1)
        raise UsageError(f"{where}: unknown setting {name!r}", f"did you mean {near[0]}?" if near else "")
    if row.secret or row.per_call:
        raise UsageError(f"{where}: {name} has no place in {kind}", _elsewhere(row))
    return True


def _elsewhere(row: Option[Any]) -> str:
    return "store the key with: aiml config key" if row.secret else f"say {row.flag} with each call"


def persistent_options() -> Iterator[Option[Any]]:
    """List the rows that the config file may hold."""
    return (row for row in ROWS.values() if not row.per_call and not row.secret)


def _texts(kind: ValueType[Any], value: object) -> Iterable[str]:
    """Turn a TOML value into the texts that a flag would have."""
    match value:
        case dict() if kind is PROPERTIES:
            return tuple(f"{key}={json.dumps(each, default=str)}" for key, each in value.items())
        case bool():
            return ("on" if value else "off",)
        case dict() if kind.is_list:
            return tuple(f"{key}={_text(each)}" for key, each in value.items())
        case list() if kind.is_list:
            return tuple(_text(each) for each in value)
        case _:
            return (_text(value),)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


Flags = Mapping[str, RawValue]
