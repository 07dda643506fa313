"""Change one key of a TOML text and leave all else as it stands, comments included."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import line_and_column

Table = dict[str, Any]
TablePath = tuple[str, ...]

_MEND = "mend it with: aiml config edit"
_PLACE = re.compile(r"(.*) \(at (?:(line \d+, column \d+)|end of document)\)", re.DOTALL)
_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_COMMENT_ABOVE = re.compile(r"(?:^[ \t]*#[^\n]*\n)*\Z", re.MULTILINE)


def parse_toml(text: str, path: Path) -> Table:
    """Read a TOML text; raise UsageError naming file, line and column."""
    import tomllib  # 2 ms that only those with a config file pay

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply", _MEND) from None
    except ValueError as fault:
        found = _PLACE.fullmatch(str(fault))
        reason, where = found.groups() if found else (str(fault), None)
        where = where or line_and_column(text, len(text))
        raise UsageError(f"{path}, {where}: {reason[:1].lower()}{reason[1:]}", _MEND) from None


def set_key(text: str, path: Path, way: TablePath, name: str, value: Any) -> str:
    """Set a key of the table that the names of `way` lead to, () being the top.

    Raises UsageError where that cannot be done without harm to the rest.
    """
    wanted = parse_toml(text, path)
    inner = wanted
    for each in way:
        inner = inner.setdefault(each, {})
    fresh = name not in inner
    inner[name] = value
    return _harmless(_puts(text, way, name, value, fresh=fresh), wanted, path)


def remove_key(text: str, path: Path, way: TablePath, name: str) -> str:
    """Take a key out of the table that `way` leads to; raise UsageError as `put` does."""
    wanted = inner = parse_toml(text, path)
    for each in way:
        inner = inner[each]
    del inner[name]
    return _harmless(_drops(text, way, name), wanted, path)


def _harmless(tries: Iterator[str], wanted: Table, path: Path) -> str:
    """Take the first text that says just what is wanted.

    tomlkit 0.15 puts a key into the wrong table where a profile is written with dots (`profiles.a.x = 1`).
    """
    import tomlkit  # 20 ms that only a writer pays

    with suppress(tomlkit.exceptions.TOMLKitError, LookupError, TypeError, ValueError):
        for text in tries:
            with suppress(UsageError):
                if _bare(parse_toml(text, path)) == _bare(wanted):
                    return text
    raise UsageError(f"{path} cannot be changed without harm to what is in it", "change it by hand: aiml config edit")


def _bare(value: Any) -> Any:
    """Leave out empty tables: one that is written with dots goes with its last key."""
    if not isinstance(value, dict):
        return value
    inner = {name: _bare(each) for name, each in value.items()}
    return {name: each for name, each in inner.items() if each != {}}


def _puts(text: str, way: TablePath, name: str, value: Any, *, fresh: bool) -> Iterator[str]:
    """Offer ways to write a key: a new one as a line of its own, so that each comment stays with what it is about."""
    if fresh:
        yield from _new_lines(text, way, format_line(name, value))
    yield _edited(text, way, lambda table: _set(table, name, value))
    if not fresh:
        yield from _new_lines(_edited(text, way, lambda table: table.pop(name)), way, format_line(name, value))


def _new_lines(text: str, way: TablePath, line: str) -> Iterator[str]:
    """Offer places for a line: before the first table, or below the table's header, which may be new."""
    if not way:
        head, tail = _parted(text)
        yield f"{head}{line}\n{tail}" if tail else head + line
        return
    path = ".".join(way)
    for header in re.finditer(rf"^[ \t]*\[[ \t]*{re.escape(path)}[ \t]*\][^\n]*\n?", text, re.MULTILINE):
        yield _ended(text[: header.end()]) + line + text[header.end() :]
    yield f"{_ended(text)}\n[{path}]\n{line}".lstrip("\n")


def _set(table: Any, name: str, value: Any) -> None:
    """Set a key in its place; a table that only grows keeps its form."""
    there = table.get(name)
    if isinstance(there, dict) and isinstance(value, dict) and there.keys() <= value.keys():
        for key in (key for key, each in value.items() if there.get(key) != each):
            there[key] = _native(value[key])
    else:
        table[name] = _native(value)


def _drops(text: str, way: TablePath, name: str) -> Iterator[str]:
    yield _edited(text, way, lambda table: table.pop(name))


def _edited(text: str, way: TablePath, change: Callable[[Any], object]) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    table: Any = document
    for each in way:
        table = table[each]
    change(table)
    return tomlkit.dumps(document)


def _parted(text: str) -> tuple[str, str]:
    """Part what stands before the first table from the tables; a comment right above a table belongs to it."""
    header = _HEADER.search(text)
    head = text[: header.start()] if header else text
    comment = _COMMENT_ABOVE.search(head) if header else None
    end = comment.start() if comment else len(head)
    return _ended(head[:end].rstrip()), text[end:]


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def format_line(name: str, value: Any) -> str:
    """Write a key and its value on one line."""
    import tomlkit

    return tomlkit.dumps({name: _native(value)})


def _native(value: Any) -> Any:
    """Turn a value into TOML on one line."""
    import tomlkit

    match value:
        case dict():
            table = tomlkit.inline_table()
            for key, each in value.items():
                table[key] = _native(each)
            return table
        case list():
            array = tomlkit.array()
            for each in value:
                array.append(_native(each))
            return array
        case _:
            return tomlkit.item(value)
