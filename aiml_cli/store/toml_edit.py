"""Set or remove one key in TOML without changing anything else, comments included."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import format_position

Table = dict[str, Any]
TablePath = tuple[str, ...]

_EDIT_HINT = "fix it with: aiml config edit"
_POSITION = re.compile(r"(.*) \(at (?:(line \d+, column \d+)|end of document)\)", re.DOTALL)
_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)


def parse_toml(text: str, path: Path) -> Table:
    """Parse TOML; raise UsageError with file, line and column."""
    import tomllib  # takes 2 ms, and is only needed if there is a config file

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply", _EDIT_HINT) from None
    except ValueError as error:
        match = _POSITION.fullmatch(str(error))
        reason, position = match.groups() if match else (str(error), None)
        position = position or format_position(text, len(text))
        raise UsageError(f"{path}, {position}: {reason[:1].lower()}{reason[1:]}", _EDIT_HINT) from None


def set_key(text: str, path: Path, table_path: TablePath, name: str, value: Any) -> str:
    """Set a key in the table at `table_path` (() is the top level), and return the new text.

    Raises UsageError if this would change anything else.
    """
    expected = table = parse_toml(text, path)
    for key in table_path:
        table = table.setdefault(key, {})
    is_new = name not in table
    table[name] = value
    return _choose_exact(_iter_settings(text, table_path, name, value, is_new=is_new), expected, path)


def remove_key(text: str, path: Path, table_path: TablePath, name: str) -> str:
    """Remove a key from the table at `table_path`, and return the new text; raise UsageError as `set_key` does.

    A table on one line without other keys is removed too; a section is kept, with its comments.
    """
    expected = table = parse_toml(text, path)
    for key in table_path:
        table = table[key]
    del table[name]
    removals = _iter_removals(text, table_path, name)
    if table_path and not table:
        removals = chain(_iter_inline_removals(text, table_path[:-1], table_path[-1]), removals)
    return _choose_exact(removals, expected, path)


def _choose_exact(candidates: Iterator[str], expected: Table, path: Path) -> str:
    """Return the first text that parses as expected.

    tomlkit 0.15 puts a key into the wrong table if a profile is written with dots (`profiles.a.x = 1`).
    """
    import tomlkit  # takes 20 ms, and only writing needs it

    with suppress(tomlkit.exceptions.TOMLKitError, LookupError, TypeError, ValueError):
        for text in candidates:
            with suppress(UsageError):
                if _drop_empty(parse_toml(text, path)) == _drop_empty(expected):
                    return text
    raise UsageError(f"{path} cannot be changed safely", "change it by hand: aiml config edit")


def _drop_empty(value: Any) -> Any:
    """Remove empty tables, because a table with dotted keys disappears with its last key."""
    if not isinstance(value, dict):
        return value
    inner = {name: _drop_empty(item) for name, item in value.items()}
    return {name: item for name, item in inner.items() if item != {}}


def _iter_settings(text: str, table_path: TablePath, name: str, value: Any, *, is_new: bool) -> Iterator[str]:
    """Yield possible new texts; for a new key, first one with a new line, so that no comment moves to another key."""
    if is_new:
        yield from _iter_insertions(text, table_path, format_line(name, value))
    yield _edit_table(text, table_path, lambda table: _set_item(table, name, value))
    if not is_new:
        for removed in _iter_removals(text, table_path, name):
            yield from _iter_insertions(removed, table_path, format_line(name, value))


def _iter_removals(text: str, table_path: TablePath, name: str) -> Iterator[str]:
    yield _edit_table(text, table_path, lambda table: table.pop(name))


def _iter_inline_removals(text: str, table_path: TablePath, name: str) -> Iterator[str]:
    """Yield the text without a table, if it is written on one line."""
    from tomlkit.items import InlineTable  # as above

    was_inline = False

    def remove(table: Any) -> None:
        nonlocal was_inline
        was_inline = isinstance(table[name], InlineTable)
        table.pop(name)

    removed = _edit_table(text, table_path, remove)
    if was_inline:
        yield removed


def _iter_insertions(text: str, table_path: TablePath, line: str) -> Iterator[str]:
    """Yield texts with the line before the first table, or below the table's header, which is added if missing."""
    if not table_path:
        head, tail = _split_at_table(text)
        yield f"{head}{line}\n{tail}" if tail else head + line
        return
    name = ".".join(table_path)
    for header in re.finditer(rf"^[ \t]*\[[ \t]*{re.escape(name)}[ \t]*\][^\n]*\n?", text, re.MULTILINE):
        yield _end_line(text[: header.end()]) + line + text[header.end() :]
    yield f"{_end_line(text)}\n[{name}]\n{line}".lstrip("\n")


def _set_item(table: Any, name: str, value: Any) -> None:
    """Set a key where it is; a section that gets more keys is kept, and a table on one line is written again."""
    from tomlkit.items import InlineTable  # as above

    old = table.get(name)
    is_section = isinstance(old, dict) and not isinstance(old, InlineTable)
    if is_section and isinstance(value, dict) and old.keys() <= value.keys():
        for key in (key for key, item in value.items() if old.get(key) != item):
            old[key] = _to_inline(value[key])
    else:
        table[name] = _to_inline(value)


def _edit_table(text: str, table_path: TablePath, change: Callable[[Any], object]) -> str:
    import tomlkit  # as above

    document = tomlkit.parse(text)
    table: Any = document
    for name in table_path:
        table = table[name]
    change(table)
    return tomlkit.dumps(document)


def _split_at_table(text: str) -> tuple[str, str]:
    """Split a text before its first table; a comment directly above the table belongs to the table."""
    header = _HEADER.search(text)
    head = text[: header.start()] if header else text
    lines = head.splitlines(keepends=True)
    while header and lines and lines[-1].lstrip(" \t").startswith("#"):
        lines.pop()
    end = sum(map(len, lines))
    return _end_line(head[:end].rstrip()), text[end:]


def _end_line(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def format_line(name: str, value: Any) -> str:
    """Format a key and its value on one line."""
    import tomlkit  # as above

    return tomlkit.dumps({name: _to_inline(value)})


def _to_inline(value: Any) -> Any:
    """Convert a value to a tomlkit item on one line."""
    import tomlkit  # as above

    match value:
        case dict():
            table = tomlkit.inline_table()
            table.update({name: _to_inline(item) for name, item in value.items()})
            return table
        case list():
            array = tomlkit.array()
            array.extend(_to_inline(item) for item in value)
            return array
        case _:
            return tomlkit.item(value)
