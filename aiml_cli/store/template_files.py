"""Keep the user's templates, a private TOML file each."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import KEY, ROWS
from aiml_cli.settings.resolve import RawValue, persistent_options, read_table
from aiml_cli.store import paths, toml_edit
from aiml_cli.system.atomic_write import decode_utf8

PLACE = "a template"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGEST = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PARTS = {"prompt": (str, "a text"), "defaults": (dict, "a table"), "settings": (dict, "a table")}


@dataclass(frozen=True, slots=True)
class Template:
    """Hold a prompt with variables, what they are by default, and the settings that come with it."""

    name: str
    path: Path
    prompt: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, RawValue] = field(default_factory=dict)


def template_path(name: str) -> Path:
    """Say where a template lies; raise UsageError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a template's name", "letters, digits, - and _ make a name")
    return _folder() / f"{name}.toml"


def list_templates() -> list[str]:
    """List the templates that there are."""
    with suppress(OSError):
        found = (path.stem for path in _folder().iterdir() if path.suffix == ".toml")
        return sorted((name for name in found if _NAME.fullmatch(name)), key=lambda name: (name.casefold(), name))
    return []


def load_template(name: str) -> Template:
    """Read a template; raise UsageError for a missing one, with the near ones, and for what is not in order."""
    path = template_path(name)
    data = read_template(path)
    if data is None:
        raise UsageError(f"there is no template {name!r}", _others(name))
    try:
        return parse_template(name, path, toml_edit.parse_toml(decode_utf8(data, path), path))
    except UsageError as fault:
        fault.hint = fault.hint if "did you mean" in fault.hint else f"mend it with an editor: {path}"
        raise


def parse_template(name: str, path: Path, table: toml_edit.Table) -> Template:
    """Make a template of what its file says; raise UsageError naming what has no place in it."""
    for part, value in table.items():
        if part not in _PARTS:
            raise UsageError(f"{path}: a template has no {part!r}", _likely_part(part))
        kind, words = _PARTS[part]
        if not isinstance(value, kind):
            raise UsageError(f"{path}: {part} is not {words}")
    settings = read_table(table.get("settings", {}), str(path), PLACE)
    if rows := [each for each in settings if ROWS[each].panel == KEY]:
        raise UsageError(f"{path}: {rows[0]} has no place in {PLACE}")
    defaults = {each: _text(value, each, path) for each, value in table.get("defaults", {}).items()}
    said = {each: value for each, value in settings.items() if value.texts}
    return Template(name, path, table.get("prompt", ""), defaults, said)


def save_template(name: str, table: toml_edit.Table, may_replace: Callable[[Path], bool]) -> Path:
    """Write a template and say where; `may_replace` is asked where there is one of that name.

    Raises UsageError for a no, for what a template cannot hold, and for one that changed while somebody was asked.
    """
    from aiml_cli.system import atomic_write  # only a writer needs locks

    path = template_path(name)
    table = {part: value for part, value in table.items() if value}
    data = _written(path, table)
    parse_template(name, path, table)
    atomic_write.refuse_symlink(path)
    before = read_template(path)
    if before is not None and not may_replace(path):
        raise UsageError(f"there is a template {name!r} already: {path}", "-y replaces it")

    def change(now: bytes | None) -> bytes:
        if now != before:
            raise UsageError(f"{path} was changed by another program meanwhile")
        return data

    atomic_write.update_file(path, change)
    return path


def read_template(path: Path) -> bytes | None:
    """Read a template's bytes; None for none. Raises UsageError for a symbolic link, and what is no plain file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        reason = "a symbolic link, which is not followed" if fault.errno == errno.ELOOP else fault.strerror
        raise UsageError(f"{path}: {reason}") from None
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
            raise UsageError(f"{path}: no file that a template can be in")
        return file.read()


def _folder() -> Path:
    return paths.require_path(paths.config_file()).parent / "templates"


def _others(name: str) -> str:
    """Name the near ones, and those there are."""
    there = list_templates()
    if not there:
        return "there are none yet: aiml chat --save NAME WORDS makes one"
    near = get_close_matches(name, there, 1)
    return (f"did you mean {near[0]}? " if near else "") + f"there are: {', '.join(there)}"


def _likely_part(part: str) -> str:
    if part in {row.name for row in persistent_options()}:
        return f"did you mean {part} in the table [settings]?"
    near = get_close_matches(part, _PARTS, 1)
    return f"did you mean {near[0]}?" if near else ""


def _text(value: object, name: str, path: Path) -> str:
    """Read a variable's default."""
    if not VARIABLE.fullmatch(name) or name == "stdin":
        raise UsageError(f"{path}: {name!r} is not a variable that can have a default")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"{path}: the default of {name} is not a text")
    return str(value)


def _written(path: Path, table: toml_edit.Table) -> bytes:
    """Write TOML, and read it back: what a file cannot hold is refused."""
    import tomlkit  # 20 ms that only a writer pays

    try:
        data = "".join(_lines(table)).encode()
        same = toml_edit.parse_toml(data.decode(), path) == table
    except (tomlkit.exceptions.TOMLKitError, ValueError, TypeError, UsageError):
        same = False
    if not same:
        raise UsageError(f"a template cannot hold all of {', '.join(_inner(table))}", "say it with each call")
    return data


def _inner(table: toml_edit.Table) -> Iterable[str]:
    return [*(["the prompt"] if table.get("prompt") else []), *table.get("defaults", {}), *table.get("settings", {})]


def _lines(table: toml_edit.Table) -> Iterable[str]:
    """Write the parts of a template, a text of several lines as such."""
    if prompt := table.get("prompt"):
        yield _line("prompt", prompt)
    for part in ("defaults", "settings"):
        if inner := table.get(part):
            yield f"\n[{part}]\n"
            yield from (_line(name, value) for name, value in inner.items())


def _line(name: str, value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        import tomlkit

        quotes = '"""'
        inner = tomlkit.string(value, multiline=True).as_string().removeprefix(quotes)
        several = f"{name} = {quotes}\n{inner}\n"
        with suppress(UsageError):  # what does not come back so is written on one line
            if toml_edit.parse_toml(several, Path(name)) == {name: value}:
                return several
    return toml_edit.format_line(name, value)
