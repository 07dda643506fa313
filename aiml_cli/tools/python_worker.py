"""Run in a child process: load a Python file, describe its public functions, and call them in threads.

It imports nothing of aiml except `python_types`. Messages are JSON, one per line, on the file descriptor in the first
argument; the second argument is the maximum size of a result in bytes.
"""

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
from pathlib import Path

from aiml_cli.tools.python_types import Schema, convert, describe_type, to_text

MODULE_NAME = "aiml_tool_file"
PIECE_BYTES = 64 * 1024
MAX_ITEMS = 10_000  # of a generator, which may be infinite
MAX_TIMEOUT_S = 86400
CLOSED_EXIT_CODE = 70  # the tool has closed the descriptor to aiml


class UnusableError(Exception):
    """A file that cannot be used; `args` are the message and a hint."""


class Channel:
    """The descriptor for messages from and to aiml; nothing else may be sent on it."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()
        os.set_inheritable(fd, False)
        self._identity = self._identify()

    def receive(self) -> abc.Iterator[Schema]:
        """Yield the messages from aiml."""
        rest = b""
        while piece := self._read():
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            yield from map(json.loads, lines)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, PIECE_BYTES)
        except OSError:
            os._exit(CLOSED_EXIT_CODE)

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
                os._exit(CLOSED_EXIT_CODE)

    def _identify(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino


def load_file(source: str, path: str, folder: str) -> types.ModuleType:
    """Run a file as a module and return it; its folder is the last entry of the module search path."""
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = path
    sys.modules[MODULE_NAME] = module  # dataclasses look the module up there
    sys.argv = [path]
    sys.dont_write_bytecode = True
    if folder:
        sys.path.append(folder)
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user named the file
    except BaseException as error:  # noqa: BLE001 - also a SystemExit
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = f"install it for aiml's Python ({sys.executable} -m pip install …), or add the tool as a command"
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
    """True for a function of the file, decorated or not; not for a class or an imported function."""
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


class Function:
    """A function of the file: its description for the model, and calls with JSON arguments."""

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
        """Call the function with JSON values, and return its result."""
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
PARAGRAPH_END = re.compile(r"^(?:\s*$|:|(?:Args|Arguments|Parameters|Returns|Raises|Yields):\s*$)")
GOOGLE_NOTE = re.compile(r"^(\w+) ?(?:\([^()]*\))?: ?(.*)")
NUMPY_NOTE = re.compile(r"^(\w+)(?: ?:.*)?")
SPHINX_NOTE = re.compile(r"^:param (?:[^:]* )?(\w+): ?(.*)")


def find_summary(text: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    lines = itertools.takewhile(lambda line: not PARAGRAPH_END.match(line), text.split("\n"))
    return " ".join(" ".join(lines).split())


def find_parameter_notes(text: str) -> dict[str, str]:
    """Return the description of each parameter in a docstring, in the style of Google, numpy or Sphinx."""
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
    """Return the notes that begin with a match at the start of a line and continue in the indented lines after it."""
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


def serve(channel: Channel, limit: int) -> None:
    """Load the file of the first message, then run the calls, each in a thread, until aiml closes the channel."""
    messages = channel.receive()
    first = next(messages)
    try:
        module = load_file(first["source"], first["path"], first["folder"])
        functions = {name: Function(name, value) for name, value in find_functions(module).items()}
        if not functions:
            raise UnusableError("it has no public function", "a function is public if its name does not begin with _")
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
