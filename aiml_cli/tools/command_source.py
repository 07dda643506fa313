"""Run the command of a tool file: without a shell, with limited time and output, without the API key."""

import json
import shlex
from collections.abc import Mapping, Sequence
from subprocess import PIPE
from threading import Lock
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.system import child_process
from aiml_cli.system.child_process import ProcessGroup, ProgramFailed, ProgramOutput, collect_output, explain_failure
from aiml_cli.tools.tool import (
    MAX_RESULT_BYTES,
    ArgumentChecker,
    Arguments,
    CallResult,
    Definition,
    ToolError,
    build_environment,
    cut_result,
)
from aiml_cli.tools.tool_files import PLACEHOLDER, ToolFile, load_tool_file

OPTIONS_END = "--"


class CommandTool:
    """The command of a tool file. It starts in the current directory, as if it were typed there."""

    def __init__(self, tool_file: ToolFile) -> None:
        """Find the program, and build its environment; raise UsageError if it cannot run."""
        self.definition = Definition(tool_file.name, tool_file.description, tool_file.parameters)
        self._file = tool_file
        self._environment = build_environment(tool_file.env, str(tool_file.path))
        self._program = find_program(tool_file)
        self._checker = ArgumentChecker(tool_file.parameters)
        self._lock = Lock()
        self._running: set[ProcessGroup] = set()
        self._is_closed = False

    def preview(self, arguments: Arguments) -> str:
        """Return the command as it will run, quoted for a shell, with the names of the variables that the file adds."""
        command = shlex.join(self._build_command(self._check(arguments)))
        return f"{command}\nwith the environment variables {', '.join(self._file.env)}" if self._file.env else command

    def call(self, arguments: Arguments) -> CallResult:
        """Run the command; its standard output is the result."""
        try:
            given = self._check(arguments)
            words = [word.encode() for word in self._build_command(given)]
            data = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace")
            return self._run(words, data)
        except (ToolError, ProgramFailed) as error:
            return CallResult(str(error), is_error=True)

    def cancel_calls(self) -> None:
        """Kill the running commands."""
        with self._lock:
            for group in self._running:
                group.kill()
            self._running.clear()

    def close(self) -> None:
        """Kill the running commands, and start no more."""
        self._is_closed = True
        self.cancel_calls()

    def _check(self, arguments: Arguments) -> dict[str, Any]:
        """Return the arguments and the defaults of those that are missing."""
        given = self._checker.check(arguments)
        properties = self._file.parameters.get("properties", {}).items()
        defaults = {name: part["default"] for name, part in properties if isinstance(part, dict) and "default" in part}
        return {**defaults, **given}

    def _build_command(self, given: Mapping[str, Any]) -> list[str]:
        words = fill_placeholders(self._file.run[1:], given)
        for word in words:
            _refuse_unsafe(word)
        return [self._program, *words]

    def _run(self, command: Sequence[bytes], data: bytes) -> CallResult:
        group = self._start(command)
        try:
            output = collect_output(group, data, seconds=self._file.timeout_s, limit=MAX_RESULT_BYTES)
        finally:
            group.end()
            with self._lock:
                was_cancelled = group not in self._running
                self._running.discard(group)
        if was_cancelled:
            return CallResult("the call was stopped by the user", is_error=True)
        return format_output(output, self._file.timeout_s)

    def _start(self, command: Sequence[bytes]) -> ProcessGroup:
        with self._lock:
            if self._is_closed:
                raise ToolError("the tools are closed")
            try:
                group = ProcessGroup(command, self._environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            except ProgramFailed as error:
                raise ProgramFailed(f"{self._file.run[0]} {error.reason}") from None
            self._running.add(group)
            return group


class CommandSource:
    """The tool of a tool file."""

    def __init__(self, name: str) -> None:
        self.label = name
        self._file: ToolFile | None = None
        self._tools: tuple[CommandTool, ...] = ()

    @classmethod
    def from_file(cls, tool_file: ToolFile) -> "CommandSource":
        """Return the source of a tool that is not on disk under its name."""
        source = cls(tool_file.name)
        source._file = tool_file
        return source

    def start(self) -> None:
        """Do nothing: a command starts when it is called."""

    def wait_until_ready(self) -> None:
        """Read the file and find its program; raise UsageError if it cannot run."""
        if not self._tools:
            self._tools = (CommandTool(self._file or load_tool_file(self.label)),)

    def list_tools(self) -> Sequence[CommandTool]:
        """Return the tool."""
        return self._tools

    def cancel_calls(self) -> None:
        """Kill the running commands."""
        for tool in self._tools:
            tool.cancel_calls()

    def close(self) -> None:
        """Kill the running commands, and start no more."""
        for tool in self._tools:
            tool.close()


def find_program(tool_file: ToolFile) -> str:
    """Return the full path of a tool's program, which never depends on the current directory.

    Raises UsageError if the program is not found.
    """
    name = tool_file.run[0]
    program = child_process.find_program(name)
    if program is None:
        where = "is not a program" if "/" in name else "is not in PATH"
        raise UsageError(f"the tool {tool_file.name}: {name} {where}", f"it is named in {tool_file.path}")
    return program


def fill_placeholders(words: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Return the words with their placeholders filled in; words whose argument is missing are left out.

    Raises ToolError for a word that would become an option, unless `--` is before it.
    """
    filled = []
    for index, word in enumerate(words):
        names = [match[2] for match in PLACEHOLDER.finditer(word) if match[2]]
        if any(given.get(name) is None for name in names):
            continue
        text = PLACEHOLDER.sub(lambda match: f"{{{match[1]}}}" if match[1] else _to_word(given[match[2]]), word)
        if text.startswith("-") and not word.startswith("-") and OPTIONS_END not in words[:index]:
            raise ToolError(f"{text!r} begins with -, so the command would read it as an option")
        filled.append(text)
    return filled


def _to_word(value: Any) -> str:
    """Return a text as it is, and any other value as JSON; 3.0 is the integer 3 in JSON Schema."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _refuse_unsafe(word: str) -> None:
    if "\0" in word:
        raise ToolError("an argument has a zero byte, which a command cannot take")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise ToolError("an argument has half of a surrogate pair, which a command cannot take") from None


def format_output(output: ProgramOutput, seconds: float) -> CallResult:
    """Return the result of a command: its standard output, or how it failed, its last errors and its output."""
    problem = explain_failure(output, seconds)
    text = output.out.decode("utf-8", "replace")
    if not problem:
        return CallResult(cut_result(text, output.size))
    errors = output.err.decode("utf-8", "replace").strip()
    parts = [
        problem,
        *([f"standard error:\n{errors}"] if errors else []),
        *([f"standard output:\n{text}"] if text else []),
    ]
    message = "\n".join(parts)
    return CallResult(cut_result(message, len(message.encode()) + output.size - len(output.out)), is_error=True)
