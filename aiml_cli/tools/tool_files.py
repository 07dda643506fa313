"""Read and write the user's tool files: a command that the model can run, as TOML that only the user can write."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import suggest
from aiml_cli.store import paths, toml_edit
from aiml_cli.store.paths import read_named_file, save_named_file
from aiml_cli.system.atomic_write import decode_utf8
from aiml_cli.tools.tool import names_key, refuse_key_references

TIMEOUT_S, MAX_TIMEOUT_S = 30.0, 86400.0
MAX_BYTES = 1024 * 1024
# `{city}` is replaced by an argument; `{{city}}` is the literal text `{city}`.
PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Interpreters with the option whose value is code.
_INTERPRETER = re.compile(
    r"((?:|ba|da|z|k|mk|a|c|tc|fi)sh|python[\d.]*) -[A-Za-z]*c|(perl|ruby) -[A-Za-z]*[eE]|(node) -[ep]|(php) -r"
)
_OPTIONS_WITH_VALUE = ("-o", "+o", "-O", "+O", "-X", "-W")
_KEYS = ("description", "params", "run", "timeout", "env")


@dataclass(frozen=True, slots=True)
class ToolFile:
    """A command that the model can run. `parameters` is a JSON Schema; `run` has placeholders; times are seconds."""

    name: str
    path: Path
    run: tuple[str, ...]
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = TIMEOUT_S
    env: Mapping[str, str] = field(default_factory=dict)


def tool_path(name: str) -> Path:
    """Return the path of a tool file; raise UsageError if the name is not valid."""
    if not _NAME.fullmatch(name):
        hint = "a name consists of at most 64 letters, digits, - and _; a Python file ends with .py"
        raise UsageError(f"{name!r} is not a valid tool name", hint)
    return _tools_folder() / f"{name}.toml"


def list_tool_files() -> list[str]:
    """Return the names of the existing tool files, sorted."""
    with suppress(OSError, UsageError):  # without a home directory there are none
        names = (path.stem for path in _tools_folder().iterdir() if path.suffix == ".toml")
        return sorted((name for name in names if _NAME.fullmatch(name)), key=lambda name: (name.casefold(), name))
    return []


def load_tool_file(name: str) -> ToolFile:
    """Read a tool file; raise UsageError if it does not exist, with similar names, or if it is not valid."""
    path = tool_path(name)
    # It names a command, so no other user may change it.
    if paths.require_trusted(path):
        raise UsageError(f"{path} is not used: its group can change it", f"chmod 600 {path}, and check its content")
    data = read_named_file(path, MAX_BYTES)
    if data is None:
        raise UsageError(f"there is no tool {name!r}", _suggest_tool(name))
    try:
        return parse_tool_file(name, path, toml_edit.parse_toml(decode_utf8(data, path), path))
    except UsageError as error:
        hint = f"edit {path}"
        error.hint = f"{error.hint}; {hint}" if error.hint and "aiml config edit" not in error.hint else hint
        raise


def parse_tool_file(name: str, path: Path, table: Mapping[str, Any]) -> ToolFile:
    """Parse the content of a tool file; raise UsageError with the path and the invalid key."""
    for key in table:
        if key not in _KEYS:
            raise UsageError(
                f"{path}: a tool cannot have {key!r}", suggest(key, _KEYS) or f"it can have {', '.join(_KEYS)}"
            )
    description = table.get("description", "")
    if not isinstance(description, str):
        raise UsageError(f"{path}: description is not a string")
    parameters = _parse_parameters(table.get("params", ""), f"{path}: params")
    run = _parse_run(table.get("run"), parameters, f"{path}: run")
    timeout_s = _parse_timeout(table.get("timeout", TIMEOUT_S), path)
    env = _parse_env(table.get("env", {}), f"{path}: env")
    return ToolFile(name, path, run, description, parameters, timeout_s, env)


def save_tool_file(name: str, table: toml_edit.Table, may_replace: Callable[[Path], bool]) -> Path:
    """Write a tool file and return its path; `may_replace` is called if there is one with this name.

    Raises UsageError if it returns False, if the table is not a valid tool, or if another program changed the file
    in the meantime.
    """
    path = tool_path(name)
    table = {key: value for key, value in table.items() if value not in ("", {}, None)}
    parse_tool_file(name, path, table)
    data = _format_tool(path, table)
    save_named_file(path, data, f"a tool {name!r}", MAX_BYTES, may_replace)
    return path


def delete_tool_file(name: str) -> bool:
    """Delete a tool file and return whether there was one; raise UsageError if it cannot be deleted."""
    path = tool_path(name)
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return True


def _tools_folder() -> Path:
    return paths.require_path(paths.config_file()).parent / "tools"


def _suggest_tool(name: str) -> str:
    names = list_tool_files()
    if not names:
        return "there are no tools yet; to add one: aiml tools add NAME -- COMMAND"
    return f"{suggest(name, names)} available: {', '.join(names)}".lstrip()


def _parse_parameters(value: object, source: str) -> dict[str, Any]:
    """Return the JSON Schema of the parameters: the short form, JSON text, or a table."""
    from aiml_cli.schema.load import parse_parameters  # few calls have tools

    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return parse_parameters(value, source)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{source}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{source}: neither a string nor a table", 'write: params = "city, unit?"')
    return _check_schema(value, source)


def _check_schema(schema: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the schema of an object; raise UsageError for one that is not valid."""
    from aiml_cli.schema.check import make_checker  # needs jsonschema, which takes 100 ms

    is_other = bool(schema) and not schema.keys() & {"type", "properties"}  # such as { city = "str" }
    schema = {"type": "object", **schema}
    if is_other or schema["type"] != "object" or not isinstance(schema.get("properties", {}), dict):
        hint = 'such a schema has "type": "object" and "properties"'
        raise UsageError(f"{source}: not the JSON Schema of an object", hint)
    try:
        json.dumps(schema, allow_nan=False)
        make_checker(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{source}: it cannot be converted to JSON: {error}") from None
    except UsageError as error:
        raise UsageError(f"{source}: {error.message.removeprefix('--schema: ')}") from None
    return schema


def _parse_run(value: object, parameters: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Return the command; raise UsageError if it is not a list of strings, or has a placeholder without a parameter."""
    hint = 'write: run = ["weather", "{city}"]'
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError(f"{source}: missing" if value is None else f"{source}: not a list of strings", hint)
    if not value or not value[0].strip():
        raise UsageError(f"{source}: it does not name a program", hint)
    if any("\0" in word for word in value):
        raise UsageError(f"{source}: it has a zero byte")
    _check_program(value[0], source)
    known = parameters.get("properties", {})
    for name in (match[2] for word in value for match in PLACEHOLDER.finditer(word) if match[2]):
        if name not in known:
            hint = suggest(name, known) or f"write {{{{{name}}}}} for the text {{{name}}}"
            raise UsageError(f"{source}: {{{name}}} is not a parameter", hint)
    _check_code(value, source)
    return tuple(value)


def _check_program(program: str, source: str) -> None:
    if any(match[2] for match in PLACEHOLDER.finditer(program)):
        raise UsageError(f"{source}: the model cannot choose the program", "the first string cannot have a placeholder")
    if "/" in program and not program.startswith(("/", "~/")):
        hint = "write its full path, or its name alone if it is in PATH"
        raise UsageError(f"{source}: {program!r} depends on the current directory", hint)


def _check_code(words: Sequence[str], source: str) -> None:
    """Raise UsageError if an argument would become a part of code, because it could add commands to it.

    An argument that is the complete code is allowed: the author of the tool intended that.
    """
    for index, word in enumerate(words):
        names = [match[2] for match in PLACEHOLDER.finditer(word) if match[2]]
        interpreter = _find_interpreter(words[:index])
        if interpreter and names and word != f"{{{names[0]}}}":
            message = f"{source}: {{{names[0]}}} would be a part of the code that {interpreter} runs"
            hint = """write the argument after the code: run = ["sh", "-c", 'echo "$1"', "sh", "{city}"]"""
            raise UsageError(message, f"the model could add commands to it; {hint}")


def _find_interpreter(words: Sequence[str]) -> str:
    """Return the interpreter that runs the word after these as code, or "" if there is none."""
    before = words[:-1]
    while before and (before[-1].startswith(("-", "+")) or (before[:-1] and before[-2] in _OPTIONS_WITH_VALUE)):
        before = before[:-1]
    match = _INTERPRETER.fullmatch(f"{Path(before[-1]).name} {words[-1]}") if before else None
    return next(filter(None, match.groups())) if match else ""


def _parse_timeout(value: object, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_S:
        raise UsageError(f"{path}: timeout is not a number of seconds up to {MAX_TIMEOUT_S:g}")
    return float(value)


def _parse_env(value: object, source: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise UsageError(f"{source}: not a table", 'write: env = { UNITS = "metric", TOKEN = "${WEATHER_TOKEN}" }')
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"{source}: {name!r} is not a valid variable name")
        if not isinstance(text, str) or "\0" in text:
            raise UsageError(f"{source}: {name} is not a string")
        if names_key(name):
            raise UsageError(f"{source}: {name} is the API key, which is never passed to a tool")
        refuse_key_references(text, f"{source}: {name}")
    return value


def _format_tool(path: Path, table: toml_edit.Table) -> bytes:
    """Format a tool file as TOML; raise UsageError if it does not read back as the same values."""
    import tomlkit  # takes 20 ms, and only writing needs it

    try:
        data = "".join(_format_lines(table)).encode()
        is_same = toml_edit.parse_toml(data.decode(), path) == table
    except (tomlkit.exceptions.TOMLKitError, ValueError, TypeError, UsageError):
        is_same = False
    if not is_same:
        raise UsageError(f"{path}: {', '.join(table)} cannot be written as TOML")
    return data


def _format_lines(table: toml_edit.Table) -> Iterable[str]:
    return (toml_edit.format_line(key, table[key]) for key in _KEYS if key in table)
