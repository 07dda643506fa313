"""Run in a child process of its own: load a Python file, describe its public functions, and call them in threads.

Imports nothing of aiml. Messages are JSON, one a line, on the descriptor of the first argument; the second argument is
how many bytes of a result are sent.
"""

import contextlib
import dataclasses
import enum
import inspect
import itertools
import json
import math
import os
import re
import signal
import sys
import threading
import traceback
import types
import typing
from collections import abc
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

MODULE_NAME = "aiml_tool_file"
PIECE_BYTES = 64 * 1024
MAX_DEPTH = 8  # of classes in classes, which may refer to themselves
MAX_ITEMS = 10_000  # of a generator, which may not end
MAX_TIMEOUT_S = 86400
Schema = dict[str, typing.Any]
NONE = type(None)
JSON_TYPES: dict[typing.Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NONE: "null"}
# Classes that are a string in JSON, the schema's word for it, and how they are made of one.
TEXT_TYPES: dict[typing.Any, tuple[str, abc.Callable[[str], typing.Any]]] = {
    datetime: ("date-time", datetime.fromisoformat),
    date: ("date", date.fromisoformat),
    time: ("time", time.fromisoformat),
    UUID: ("uuid", UUID),
    Path: ("", Path),
}
ARRAY_TYPES = {list: list, set: set, frozenset: frozenset, abc.Sequence: list, abc.Iterable: list, abc.Collection: list}
MAPPING_TYPES = (dict, abc.Mapping, abc.MutableMapping)
ANY_TYPES = (typing.Any, object, inspect.Parameter.empty)


class UnusableError(Exception):
    """A file that cannot be used; `args` are the message and a hint."""


class Channel:
    """The descriptor to aiml; nothing else may be sent on it."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()
        os.set_inheritable(fd, False)
        self._identity = self._identify()

    def receive(self) -> abc.Iterator[Schema]:
        """Yield the messages of aiml."""
        rest = b""
        while piece := os.read(self._fd, PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            yield from map(json.loads, lines)

    def send(self, message: Schema) -> None:
        """Send a message; end the process if the tool has closed the descriptor."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        with self._lock:
            try:
                while data and self._identify() == self._identity:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                pass
            if data:
                os._exit(70)

    def _identify(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino


# Load the file.


def load_file(source: str, path: str, folder: str) -> types.ModuleType:
    """Run a file as a module and return it; its folder is the last place where modules are looked for."""
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = path
    sys.modules[MODULE_NAME] = module  # dataclasses look there
    sys.argv = [path]
    sys.dont_write_bytecode = True
    if folder:
        sys.path.append(folder)
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user named the file
    except BaseException as error:  # noqa: BLE001 - also a SystemExit
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = f"the file runs with aiml's own Python: {sys.executable} -m pip install …, or make it a command"
        raise UnusableError(f"{locate(error, path)}{name_error(error)}", hint) from None
    return module


def locate(error: BaseException, path: str) -> str:
    """Return `FILE:LINE: ` of an error, "" if it is not in the file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: "
    line = find_line(error, path)
    return f"{Path(path).name}:{line}: " if line else ""


def find_line(error: BaseException, path: str) -> int | None:
    """Return the last line of the file that an error passed through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None


def name_error(error: BaseException) -> str:
    """Return the type and the message of an error."""
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # noqa: BLE001 - the tool's own class
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def find_functions(module: types.ModuleType) -> dict[str, typing.Any]:
    """Return the public functions that a module defines: those of `__all__`, or all without a leading underscore."""
    names = getattr(module, "__all__", None)
    return {
        name: value
        for name, value in vars(module).items()
        if is_own_function(value) and (name in names if names is not None else not name.startswith("_"))
    }


def is_own_function(value: object) -> bool:
    """True for a function of the file, decorated or not; not for a class and what is imported."""
    is_function = isinstance(value, types.FunctionType) or (callable(value) and hasattr(value, "__wrapped__"))
    return is_function and not isinstance(value, type) and getattr(value, "__module__", "") == MODULE_NAME


def read_timeout(module: types.ModuleType) -> float | None:
    """Return the file's TIMEOUT in seconds, None if it has none."""
    value = getattr(module, "TIMEOUT", None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_S:
        raise UnusableError(f"TIMEOUT is not a number of seconds up to {MAX_TIMEOUT_S}", "")
    return float(value)


# Describe a function.


class Function:
    """A function of the file: what the model is told of it, and how it is called with JSON."""

    def __init__(self, name: str, function: typing.Any) -> None:
        self.name, self._function = name, function
        try:
            self._parameters = list(inspect.signature(function).parameters.values())
            target = inspect.unwrap(function)
            self._hints = typing.get_type_hints(target, include_extras=True)
        except Exception as error:  # noqa: BLE001 - a hint may be any expression
            raise UnusableError(f"{name}: its type hints cannot be read: {name_error(error)}", "") from None
        for parameter in self._parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                message = f"{name}: {stars}{parameter.name} cannot be described to a model"
                raise UnusableError(message, "name each parameter, or begin the function's name with _")

    def describe(self) -> Schema:
        """Return the name, the description and the JSON Schema of the parameters."""
        text = inspect.cleandoc(self._function.__doc__ or "")
        notes = find_parameter_notes(text)
        properties = {each.name: self._describe_parameter(each, notes) for each in self._parameters}
        required = [each.name for each in self._parameters if each.default is each.empty]
        schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return {"name": self.name, "description": find_summary(text), "parameters": schema}

    def _describe_parameter(self, parameter: inspect.Parameter, notes: dict[str, str]) -> Schema:
        try:
            schema = describe_type(self._hints.get(parameter.name, typing.Any))
        except TypeError as error:
            hint = "use str, int, float, bool, list, dict, Literal, Enum, TypedDict or a dataclass"
            raise UnusableError(f"{self.name}: {parameter.name}: {error}", hint) from None
        if parameter.name in notes:
            schema = {"description": notes[parameter.name], **schema}
        default = parameter.default.value if isinstance(parameter.default, enum.Enum) else parameter.default
        has_default = isinstance(default, str | int) or (isinstance(default, float) and math.isfinite(default))
        return {**schema, "default": default} if has_default else schema

    def call(self, arguments: Schema) -> typing.Any:
        """Call the function with values of JSON, and return its result."""
        values: dict[str, typing.Any] = {}
        for name, value in arguments.items():
            try:
                values[name] = convert(self._hints.get(name, typing.Any), value)
            except (TypeError, ValueError, ArithmeticError) as error:
                raise ValueError(f"the argument {name}: {error}") from None
        only = [each for each in self._parameters if each.kind is each.POSITIONAL_ONLY]
        result = self._function(*[values.pop(each.name, each.default) for each in only], **values)
        if inspect.isawaitable(result):
            import asyncio  # takes 30 ms

            return asyncio.run(wait_for(result))
        return list(itertools.islice(result, MAX_ITEMS)) if inspect.isgenerator(result) else result


async def wait_for(result: abc.Awaitable[typing.Any]) -> typing.Any:
    """Return what an awaitable returns; asyncio.run takes coroutines only."""
    return await result


GOOGLE_HEADER = re.compile(r"(?:Args|Arguments|Parameters):")
GOOGLE_NOTE = re.compile(r"(\w+) ?(?:\([^()]*\))?: ?(.*)")
NUMPY_NOTE = re.compile(r"(\w+)(?: ?:.*)?")
SPHINX_NOTE = re.compile(r":param (?:[^:]* )?(\w+): ?(.*)")


def find_summary(text: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    lines = itertools.takewhile(lambda line: line.strip() and not line.startswith(":"), text.split("\n"))
    return " ".join(
        " ".join(itertools.takewhile(lambda line: not GOOGLE_HEADER.fullmatch(line.strip()), lines)).split()
    )


def find_parameter_notes(text: str) -> dict[str, str]:
    """Return what a docstring says of each parameter, in the style of Google, numpy or Sphinx."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if GOOGLE_HEADER.fullmatch(line.rstrip()):
            return collect_notes(take_section(lines[index + 1 :]), GOOGLE_NOTE)
        if line.rstrip() == "Parameters" and lines[index + 1 : index + 2] and set(lines[index + 1].strip()) == {"-"}:
            section = itertools.takewhile(lambda each: not each.startswith("---"), lines[index + 2 :])
            return collect_notes(list(section), NUMPY_NOTE)
    first = next((index for index, line in enumerate(lines) if line.startswith(":param ")), len(lines))
    return collect_notes(lines[first:], SPHINX_NOTE)


def take_section(lines: list[str]) -> list[str]:
    """Return the indented lines at the start, with their own indent removed."""
    section = list(itertools.takewhile(lambda line: not line or line[0].isspace(), lines))
    return inspect.cleandoc("\n".join(["", *section])).split("\n")


def collect_notes(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return the notes that begin with a match at the start of a line, and go on in the indented lines after it."""
    notes: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if line[:1].isspace():
            current.append(line.strip())
        else:
            match = pattern.fullmatch(line.rstrip())
            current = [match[2]] if match and match.re.groups > 1 else []
            if match:
                notes[match[1]] = current
    return {name: " ".join(filter(None, words)) for name, words in notes.items() if any(words)}


def describe_type(hint: typing.Any, depth: int = 0) -> Schema:
    """Return the JSON Schema of a type hint; raise TypeError for one that JSON cannot express."""
    hint, note = strip_annotations(hint)
    return {**_describe_plain(hint, depth), **({"description": note} if note else {})}


def _describe_plain(hint: typing.Any, depth: int) -> Schema:
    if hint in ANY_TYPES or depth > MAX_DEPTH:
        return {}
    if hint is None or hint in JSON_TYPES:
        return {"type": JSON_TYPES[NONE if hint is None else hint]}
    if hint is Decimal:
        return {"type": "number"}
    if hint in TEXT_TYPES:
        return {"type": "string", **({"format": TEXT_TYPES[hint][0]} if TEXT_TYPES[hint][0] else {})}
    if is_enum(hint):
        return describe_values(list(enum_values(hint)))
    if (fields := find_fields(hint)) is not None:
        return describe_fields(fields, depth + 1)
    return _describe_generic(hint, depth + 1)


def _describe_generic(hint: typing.Any, depth: int) -> Schema:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return describe_values([value.value if isinstance(value, enum.Enum) else value for value in arguments])
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [describe_type(each, depth) for each in arguments]}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [describe_type(each, depth) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is tuple or origin in ARRAY_TYPES:
        return {"type": "array", **({"items": describe_type(arguments[0], depth)} if arguments else {})}
    if origin in MAPPING_TYPES:
        if arguments and strip_annotations(arguments[0])[0] not in (str, *ANY_TYPES):
            raise TypeError("the keys of a JSON object are texts")
        return {"type": "object", **({"additionalProperties": describe_type(arguments[1], depth)} if arguments else {})}
    raise TypeError(f"{getattr(hint, '__name__', hint)} is not a type that JSON can express")


def describe_values(values: list[typing.Any]) -> Schema:
    """Return the schema of a few values, with their type if they have one in common."""
    kinds = {JSON_TYPES.get(type(value)) for value in values}
    if None in kinds:
        raise TypeError("its values are not all texts, numbers or truth values")
    return {"enum": values} if len(kinds) > 1 else {"type": kinds.pop(), "enum": values}


def describe_fields(fields: dict[str, tuple[typing.Any, bool]], depth: int) -> Schema:
    """Return the schema of an object; each field has a type hint, and is required or not."""
    properties = {name: describe_type(hint, depth) for name, (hint, _) in fields.items()}
    required = [name for name, (_, is_required) in fields.items() if is_required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def strip_annotations(hint: typing.Any) -> tuple[typing.Any, str]:
    """Return the type in a hint, and the text of its Annotated or ""."""
    note = ""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            note = note or next(filter(None, map(read_note, hint.__metadata__)), "")
            hint = hint.__origin__
        elif typing.get_origin(hint) in (typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # `type City = str`, since Python 3.12
            hint = hint.__value__
        elif isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or typing.Any
        else:
            return hint, note


def read_note(value: typing.Any) -> str:
    """Return the text of an annotation: a str, or an object with a description, such as pydantic's Field."""
    text = value if isinstance(value, str) else getattr(value, "description", getattr(value, "documentation", ""))
    return text if isinstance(text, str) else ""


def is_enum(hint: typing.Any) -> bool:
    """True for an Enum class."""
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def enum_values(hint: type[enum.Enum]) -> dict[typing.Any, enum.Enum]:
    """Return the members by what they are in JSON: their values, or their names if JSON cannot express those."""
    members = list(hint)
    has_values = all(type(member.value) in JSON_TYPES for member in members)
    return {member.value if has_values else member.name: member for member in members}


def find_fields(hint: typing.Any) -> dict[str, tuple[typing.Any, bool]] | None:
    """Return the type hint of each field of a dataclass, a TypedDict or a NamedTuple, and whether it is required."""
    if not isinstance(hint, type):
        return None
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        missing = dataclasses.MISSING
        fields = [each for each in dataclasses.fields(hint) if each.init]
        return {
            each.name: (hints[each.name], each.default is missing and each.default_factory is missing)
            for each in fields
        }
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return {name: (each, is_required_key(hint, name, each)) for name, each in hints.items()}
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint, include_extras=True)
        return {
            name: (hints.get(name, typing.Any), name not in vars(hint)["_field_defaults"])
            for name in vars(hint)["_fields"]
        }
    return None


def is_required_key(hint: type, name: str, annotation: typing.Any) -> bool:
    """True if a key of a TypedDict is required; Python does not see `Required` in annotations that are strings."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in vars(hint)["__required_keys__"]


# Convert values.


def convert(hint: typing.Any, value: typing.Any, depth: int = 0) -> typing.Any:
    """Return a value of JSON as its type hint wants it; raise TypeError or ValueError if it does not fit."""
    hint, _ = strip_annotations(hint)
    if hint in ANY_TYPES or depth > MAX_DEPTH:
        return value
    if hint is None or hint in JSON_TYPES:
        return convert_scalar(NONE if hint is None else hint, value)
    if hint is Decimal:
        return Decimal(str(value))
    if hint in TEXT_TYPES:
        return TEXT_TYPES[hint][1](convert_scalar(str, value))
    if is_enum(hint):
        return convert_member(enum_values(hint), value)
    if (fields := find_fields(hint)) is not None:
        given = {name: convert(fields[name][0], item, depth + 1) for name, item in require(dict, value).items()}
        return hint(**given)
    return _convert_generic(hint, value, depth + 1)


def _convert_generic(hint: typing.Any, value: typing.Any, depth: int) -> typing.Any:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return convert_member({each.value if isinstance(each, enum.Enum) else each: each for each in arguments}, value)
    if origin in (typing.Union, types.UnionType):
        return convert_union(arguments, value, depth)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return tuple(convert(each, item, depth) for each, item in zip(arguments, require(list, value), strict=True))
    if origin is tuple or origin in ARRAY_TYPES:
        items = [convert(arguments[0], item, depth) if arguments else item for item in require(list, value)]
        return tuple(items) if origin is tuple else ARRAY_TYPES[origin](items)
    if arguments:
        return {name: convert(arguments[1], item, depth) for name, item in require(dict, value).items()}
    return require(dict, value)


def convert_scalar(kind: type, value: typing.Any) -> typing.Any:
    """Return a scalar of a type; an integer may be written as 3.0, and a float as 3."""
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    return require(kind, value)


def convert_member(members: dict[typing.Any, typing.Any], value: typing.Any) -> typing.Any:
    """Return the member with a value; True is not 1."""
    for key, member in members.items():
        if key == value and isinstance(key, bool) == isinstance(value, bool):
            return member
    raise ValueError(f"{value!r} is not one of {list(members)}")


def convert_union(hints: abc.Sequence[typing.Any], value: typing.Any, depth: int) -> typing.Any:
    """Return a value as the first type that it fits, or unchanged if its own type is one of them."""
    if type(value) in hints:
        return value
    for hint in hints:
        with contextlib.suppress(TypeError, ValueError, ArithmeticError, KeyError):
            return convert(hint, value, depth)
    raise TypeError(f"{value!r} fits none of its types")


def require(kind: type, value: typing.Any) -> typing.Any:
    """Return the value; raise TypeError if it is not of this type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    return value


def to_text(result: typing.Any) -> str:
    """Return a result as text: a str as it is, other values as JSON, and what JSON cannot express as its repr."""
    result = result.value if isinstance(result, enum.Enum) else result
    if isinstance(result, str):
        return str(result)
    try:
        return json.dumps(result, ensure_ascii=False, default=to_json)
    except (TypeError, ValueError, RecursionError):
        return repr(result)


def to_json(value: typing.Any) -> typing.Any:
    """Return a value in a form that JSON can express; raise TypeError if there is none."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, Path | UUID | Decimal):
        return str(value)
    if isinstance(value, set | frozenset | abc.Mapping | abc.KeysView | abc.ValuesView):
        return dict(value) if isinstance(value, abc.Mapping) else list(value)
    raise TypeError(type(value).__name__)


# Serve calls.


def serve(channel: Channel, limit: int) -> None:
    """Load the file of the first message, then run the calls, each in a thread, until aiml closes the channel."""
    messages = channel.receive()
    first = next(messages)
    try:
        module = load_file(first["source"], first["path"], first["folder"])
        functions = {name: Function(name, value) for name, value in find_functions(module).items()}
        tools = [function.describe() for function in functions.values()]
        channel.send({"tools": tools, "timeout": read_timeout(module)})
    except UnusableError as error:
        channel.send({"failure": error.args[0], "hint": error.args[1]})
        return
    for message in messages:
        arguments = (channel, functions[message["name"]], message, first["path"], limit)
        threading.Thread(target=run_call, args=arguments, daemon=True).start()


def run_call(channel: Channel, function: Function, message: Schema, path: str, limit: int) -> None:
    """Call a function and send its result, or its error with the line of the file."""
    is_error = False
    try:
        text = to_text(function.call(message["arguments"]))
    except BaseException as error:  # noqa: BLE001 - also a SystemExit ends only the call
        line = find_line(error, path)
        place = f"\n{Path(path).name}, line {line}" if line else ""
        text, is_error = name_error(error) + place, True
    data = text.encode("utf-8", "replace")
    head = data[:limit].decode("utf-8", "ignore")
    channel.send({"id": message["id"], "text": head, "size": len(data), "is_error": is_error})


def main() -> None:
    """Serve until aiml closes the channel or dies; then end all processes that the tools have started."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        serve(Channel(int(sys.argv[1])), int(sys.argv[2]))
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
