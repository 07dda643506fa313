"""Change the config file: set or unset a value, or edit a copy of the file that is checked first."""

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import RawValue, parse_value, read_table, split_name
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.config_file import (
    NO_NESTING,
    find_table_path,
    get_table,
    parse_document,
    read_profile,
    to_toml_value,
    validate_config,
)
from aiml_cli.store.toml_edit import Table, TablePath
from aiml_cli.system.atomic_write import create_file, decode_utf8, read_file, refuse_symlink, update_file
from aiml_cli.system.child_process import run_editor

_EMPTY = b"# Settings of aiml: NAME = VALUE, one per line. For the names, run: aiml config show\n"


def set_value(name: str, text: str, profile: str | None = None) -> None:
    """Set a value at the top level or in a profile; NAME.KEY sets one entry of a table.

    Raises UsageError for an invalid value, with the same message as for a flag, and if TOML cannot express it.
    """
    name, key = split_name(name)
    if key:
        text = f"{key}{ROWS[name].value_type.separator}{text}"
    raw_value, value_type = read_table({name: text}, "config set")[name], ROWS[name].value_type
    if value_type.is_list and not parse_value(ROWS[name], raw_value):
        message = f"{raw_value.source_name}: {text!r} is not {value_type.name}"
        raise UsageError(message, f"to remove it: aiml config unset {name}")
    path = _find_file()
    update_file(path, lambda old: _change_value(old or b"", path, find_table_path(profile), name, raw_value))


def _find_file() -> Path:
    """Return the path of the config file; raise UsageError if others can change it, because a new file is trusted."""
    path = paths.require_path(paths.config_file())
    paths.require_trusted(path)
    return path


def _change_value(data: bytes, path: Path, table_path: TablePath, name: str, raw_value: RawValue) -> bytes:
    """Return the file's bytes with a changed setting."""
    document, row = parse_document(data, path), ROWS[name]
    if name == "profile" and table_path:
        raise UsageError(f"{raw_value.source_name}: {NO_NESTING}")
    if name == "profile":
        read_profile(document, raw_value, path)
    old, value = get_table(document, table_path).get(name), to_toml_value(parse_value(row, raw_value))
    if row.value_type.separator and old and not isinstance(old, dict):  # a string or a list, not a table
        old = _parse_again(name, old, path)
    if row.value_type.is_list and isinstance(old, dict) and isinstance(value, dict):
        spelled = {key.lower(): key for key in old} if row.value_type.is_merged else {}
        value = {**old, **{spelled.get(key.lower(), key): item for key, item in value.items()}}
    new = None if _has_null_or_nan(value) else _write_value(decode_utf8(data, path), path, table_path, name, value)
    if new is None:
        message = f"{raw_value.source_name}: the config file cannot contain {raw_value.texts[0]!r}"
        raise UsageError(message, f"pass {row.flag} on each call")
    return new


def unset_value(name: str, profile: str | None = None) -> bool:
    """Remove a setting, or one entry NAME.KEY, and return whether it was set; raise UsageError for an unknown name."""
    table_path, path = find_table_path(profile), _find_file()
    is_set = False

    def change(old: bytes | None) -> bytes | None:
        nonlocal is_set
        found = _find_key(get_table(parse_document(old or b"", path), table_path), name)
        is_set = bool(found)
        if not found:
            read_table({split_name(name)[0]: ""}, "config unset")
            return None
        return toml_edit.remove_key(decode_utf8(old or b"", path), path, (*table_path, *found[:-1]), found[-1]).encode()

    update_file(path, change)
    return is_set


def _find_key(table: Table, name: str) -> TablePath:
    """Return the path of a setting, or of an entry NAME.KEY, below `table`; () if it is not set."""
    if name in table:
        return (name,)
    setting, key = split_name(name)
    entries = table.get(setting) if key else None
    if not isinstance(entries, dict):
        return ()
    is_merged = ROWS[setting].value_type.is_merged
    same = (each for each in entries if each == key or (is_merged and each.lower() == key.lower()))
    return next(((setting, each) for each in same), ())


def _has_null_or_nan(value: Any) -> bool:
    """True if a value contains null, which TOML does not have, or NaN, which is not equal to itself when read back."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or value != value or any(map(_has_null_or_nan, inner))  # noqa: PLR0124 - true for NaN only


def _write_value(text: str, path: Path, table_path: TablePath, name: str, value: Any) -> bytes | None:
    """Set a value and read it back as the next call will; return None if the result differs."""
    try:
        new = toml_edit.set_key(text, path, table_path, name, value).encode()
    except UnicodeEncodeError:
        return None
    found = get_table(parse_document(new, path), table_path)[name]
    # A number in a table of strings, which the user wrote in the file, may stay a number.
    expected = _parse_again(name, value, path) if ROWS[name].value_type.is_merged else value
    return new if _parse_again(name, found, path) == expected else None


def _parse_again(name: str, value: Any, path: Path) -> Any:
    """Return a value of the config file after parsing, as a TOML value."""
    return to_toml_value(parse_value(ROWS[name], read_table({name: value}, str(path))[name]))


@dataclass(frozen=True, slots=True)
class ConfigDraft:
    """A copy of the config file, and the content of the file when it was copied (None: no file)."""

    copy: Path
    original: bytes | None


def create_draft() -> ConfigDraft:
    """Copy the config file to a new file next to it; raise UsageError or OutputFailed if that fails."""
    path = _find_file()
    refuse_symlink(path)
    original = read_file(path)
    copy = path.with_name(f"config.{os.getpid()}-{token_hex(4)}.toml")
    create_file(copy, _EMPTY if original is None else original)
    return ConfigDraft(copy, original)


def edit_draft(draft: ConfigDraft, editor: str) -> None:
    """Open the copy in an editor; if that fails, delete the copy and raise UsageError."""
    try:
        run_editor(draft.copy, editor)
    except UsageError as error:
        draft.copy.unlink(missing_ok=True)
        error.hint = "nothing was changed; set VISUAL or EDITOR to another editor"
        raise


def find_error(draft: ConfigDraft) -> UsageError | None:
    """Return the first syntax error or invalid setting in the copy, or None."""
    try:
        validate_config(read_file(draft.copy) or b"", draft.copy)
    except UsageError as error:
        return error
    return None


def install_draft(draft: ConfigDraft) -> bool:
    """Replace the config file with the copy, and return whether it differs.

    Raises UsageError if another program changed the file, and the errors of `update_file`; the copy is then kept.
    """
    edited = read_file(draft.copy)
    is_changed = edited is not None and edited not in (draft.original, _EMPTY)

    def change(current: bytes | None) -> bytes | None:
        if current != draft.original:
            raise UsageError("the config file was changed by another program in the meantime")
        return edited

    try:
        if is_changed:
            update_file(_find_file(), change)
    except AimlError as error:
        error.hint = describe_draft(draft)
        raise
    draft.copy.unlink(missing_ok=True)
    return is_changed


def describe_draft(draft: ConfigDraft) -> str:
    """Return a sentence that says where the copy is."""
    return f"what you wrote is kept in {draft.copy}"
