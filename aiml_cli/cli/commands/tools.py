"""Run `aiml tools`: list, show, check and call the tools that run on this machine."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Queue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple

from aiml_cli.api.messages import Sound
from aiml_cli.errors import AimlError, AnswerMismatch, UsageError
from aiml_cli.output.table import Column, format_details, format_table, format_tsv, table_width
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.settings.value_types import suggest
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.sanitize import escape_json
from aiml_cli.system.stdio import make_notifier, print_err, print_out, write_out
from aiml_cli.system.terminal import is_terminal
from aiml_cli.tools import mcp_config, tool_files
from aiml_cli.tools.tool import CallResult, Definition, Tool, ToolError, ToolSource
from aiml_cli.tools.toolbox import MCP_PREFIX, make_source, parse_arguments, run_call, split_mcp_name

_COLUMNS = (
    Column("NAME", 0), Column("KIND", 2), Column("RUNS", 1, min_width=20), Column("DESCRIPTION", 3, min_width=20),
)  # fmt: skip
_CHECK_COLUMNS = (Column("NAME", 0), Column("STATUS", 0), Column("SECONDS", 2, right=True), Column("", 1, min_width=24))
NO_TOOLS = "aiml: there are no tools yet; to add one: aiml tools add NAME -- COMMAND"
_MAX_NAMES = 20  # of tools in an error message


def list_all(flags: Flags) -> int:
    """Print the tool files and the MCP servers, and then the errors of those that cannot be read."""
    options = _resolve_options(flags)
    found, errors = _describe_all(demo=bool(options.demo))
    if options.json:
        _print_json(found)
    elif found:
        fields = ("name", "kind", "runs", "description")
        rows = [[str(entry[field]) for field in fields] for entry in found]
        print_out(format_table(_COLUMNS, rows, table_width()) if is_terminal(1) else format_tsv([fields, *rows]))
    elif not errors and not options.quiet:
        print_err(NO_TOOLS)
    return _raise_last(errors)


def _describe_all(*, demo: bool) -> tuple[list[dict[str, Any]], list[UsageError]]:
    entries: list[dict[str, Any]] = []
    errors: list[UsageError] = []
    for name in tool_files.list_tool_files():
        try:
            entries.append(_describe_file(tool_files.load_tool_file(name)))
        except UsageError as error:
            errors.append(error)
    if demo:
        known = {entry["name"] for entry in entries}
        entries += [_describe_file(sample) for sample in _list_samples() if sample.name not in known]
    try:
        entries += [_describe_server(server) for server in mcp_config.load_servers().values()]
    except UsageError as error:
        errors.append(error)
    return entries, errors


def _list_samples() -> list[tool_files.ToolFile]:
    from aiml_cli.demo.tool_calls import SAMPLE_TOOLS, SAMPLES_PATH  # for --demo only

    return [tool_files.parse_tool_file(name, SAMPLES_PATH, table) for name, table in SAMPLE_TOOLS.items()]


def _describe_file(tool_file: tool_files.ToolFile) -> dict[str, Any]:
    import shlex  # few calls list tools

    return {
        "name": tool_file.name,
        "kind": "command",
        "description": tool_file.description,
        "runs": shlex.join(tool_file.run),
        "run": list(tool_file.run),
        "timeout": tool_file.timeout_s,
        "env": list(tool_file.env),
        "path": str(tool_file.path),
    }


def _describe_server(server: mcp_config.McpServer) -> dict[str, Any]:
    """Describe a server with only the names of its variables and headers: the values may be secrets."""
    return {
        "name": f"{MCP_PREFIX}{server.name}",
        "kind": "MCP server" if server.command else "MCP server (HTTP)",
        "description": "disabled" if server.other.get("disabled") is True else "",
        "runs": server.describe(),
        "timeout": server.timeout,
        "env": list(server.env),
        "headers": list(server.headers),
        "path": str(mcp_config.config_path()),
    }


def _raise_last(errors: Sequence[UsageError]) -> int:
    """Print all errors but the last, and raise that one; return 0 if there are none."""
    for error in errors[:-1]:
        print_err(f"aiml: {error.message}")
    if errors:
        raise errors[-1]
    return 0


def show(words: Sequence[str], flags: Flags) -> int:
    """Print a tool file, the functions of a Python file, or the tools of a server, which is started."""
    options = _resolve_options(flags)
    if len(words) != 1:
        raise UsageError("exactly one tool can be shown at a time", "aiml tools list lists them all")
    name = _find_name(words[0], options)
    entry = _describe(name, options)
    with _open(name, options) as tools:
        definitions = [tool.definition for tool in tools]
    if options.json:
        return _print_json({**entry, "tools": [_to_json(definition) for definition in definitions]})
    facts = {**entry, "env": ", ".join(entry.get("env", ())), "headers": ", ".join(entry.get("headers", ()))}
    shown = ("name", "kind", "runs", "timeout", "env", "headers", "path")
    pairs = [(key, _format_fact(key, facts[key])) for key in shown if facts.get(key) not in (None, "")]
    print_out(format_details(pairs, table_width()))
    for definition in definitions:
        print_out("\n" + _format_definition(definition))
    return 0


def _describe(name: str, options: Options) -> dict[str, Any]:
    """Return what is known about a tool or server without starting it."""
    if name.startswith(MCP_PREFIX):
        return _describe_server(mcp_config.load_server(split_mcp_name(name)[0]))
    if name.endswith(".py"):
        return {"name": name, "kind": "Python file", "path": os.path.abspath(os.path.expanduser(name))}  # noqa: PTH100, PTH111
    samples = {sample.name: sample for sample in (_list_samples() if options.demo else ())}
    is_sample = name in samples and name not in tool_files.list_tool_files()
    return _describe_file(samples[name] if is_sample else tool_files.load_tool_file(name))


def _format_fact(key: str, value: Any) -> str:
    return f"{value:g} s" if key == "timeout" else str(value)


def _format_definition(definition: Definition) -> str:
    """Return the details of a tool: name, description and parameters as the model gets them, and its author's hints."""
    schema = json.dumps(definition.parameters, ensure_ascii=False)
    pairs = [
        ("tool", definition.name), ("description", definition.description), ("parameters", schema),
        ("author's hints", "; ".join(definition.hints)),
    ]  # fmt: skip
    return format_details([(key, value) for key, value in pairs if value], table_width())


def _to_json(definition: Definition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "description": definition.description,
        "parameters": definition.parameters,
        "hints": list(definition.hints),
    }


class _Check(NamedTuple):
    """The result of starting one tool file or server."""

    name: str
    seconds: float
    tools: Sequence[str]
    error: AimlError | None

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        failed = {"error": self.error.message, "hint": self.error.hint} if self.error else {}
        shared = {"name": self.name, "ready": self.error is None, "seconds": round(self.seconds, 3)}
        return {**shared, "tools": list(self.tools), **failed}

    def to_row(self) -> list[str]:
        """Return the result as a row of the table."""
        count = f"{len(self.tools)} tool{'' if len(self.tools) == 1 else 's'}"
        text = self.error.message if self.error else "" if self.tools == [self.name] else count
        return [self.name, "failed" if self.error else "ready", f"{self.seconds:.2f}", text]


def check(words: Sequence[str], flags: Flags) -> int:
    """Start some or all tools at the same time, and print each result; raise UsageError if one does not start."""
    options = _resolve_options(flags)
    names = list(dict.fromkeys(_find_name(word, options) for word in words)) or _list_names(options)
    if not names and not options.quiet:
        print_err(NO_TOOLS)
    checks = _run_checks(names, options)
    if options.json:
        _print_json([one.to_json() for one in checks])
    elif checks:
        rows = [one.to_row() for one in checks]
        head = ("name", "status", "seconds", "details")
        print_out(format_table(_CHECK_COLUMNS, rows, table_width()) if is_terminal(1) else format_tsv([head, *rows]))
    return _raise_failures(checks)


def _list_names(options: Options) -> list[str]:
    """Return the names of all tool files and of all servers that are not disabled."""
    files = tool_files.list_tool_files()
    samples = [sample.name for sample in (_list_samples() if options.demo else ())]
    servers = mcp_config.load_servers().values()
    enabled = [f"{MCP_PREFIX}{server.name}" for server in servers if server.other.get("disabled") is not True]
    return list(dict.fromkeys([*files, *samples, *enabled]))


def _run_checks(names: Sequence[str], options: Options) -> list[_Check]:
    """Check all names at the same time, each in its own thread; all processes are ended, even after Ctrl-C."""
    done: Queue[_Check] = Queue()
    sources: list[ToolSource] = []

    def work(name: str) -> None:
        done.put(_check_one(name, options, sources))

    for name in names:
        Thread(target=work, args=[name], daemon=True).start()
    try:
        checks = {one.name: one for one in (done.get() for _ in names)}
    finally:
        for source in sources:
            source.close()
    return [checks[name] for name in names]


def _check_one(name: str, options: Options, sources: list[ToolSource]) -> _Check:
    began = monotonic()
    tools: list[str] = []
    error: AimlError | None = None
    try:
        source = _make_source(name, options)
        sources.append(source)
        source.start()
        source.wait_until_ready()
        tools = [tool.definition.name for tool in source.list_tools()]
    except AimlError as problem:
        error = problem
    except Exception as problem:  # noqa: BLE001 - one failure must not prevent the report of the others
        error = UsageError(f"{type(problem).__name__}: {problem}")
    return _Check(name, monotonic() - began, tools, error)


def _raise_failures(checks: Sequence[_Check]) -> int:
    failed = [one for one in checks if one.error]
    if not failed:
        return 0
    for one in failed:
        if one.error and one.error.hint:
            print_err(f"hint: {one.name}: {one.error.hint}")
    names = ", ".join(one.name for one in failed)
    raise UsageError(f"not ready: {names}" if len(checks) > 1 else f"{names} is not ready: {failed[0].error}")


def call(words: Sequence[str], flags: Flags) -> int:
    """Call one tool with JSON arguments and print its result; raise AnswerMismatch if that is an error."""
    options = _resolve_options(flags)
    if not words or len(words) > 2:  # noqa: PLR2004 - a name and JSON
        hint = """for example: aiml tools call weather '{"city": "Paris"}'"""
        raise UsageError("one tool is required, followed by its arguments as one JSON object", hint)
    arguments = _read_arguments(words[1] if len(words) > 1 else "{}")
    source_name, function = _split_function(words[0], options)
    with _open(source_name, options) as tools:
        tool = _find_tool(tools, function, words[0])
        result = run_call(tool, arguments)
    _print_result(result, options)
    if result.is_error:
        raise AnswerMismatch(f"{words[0]} failed" + ("" if options.json else f": {result.text.strip()}"))
    return 0


def _read_arguments(text: str) -> Mapping[str, Any]:
    if text == "-":
        from aiml_cli.prompt import stdin  # few calls read it
        from aiml_cli.prompt.decode_text import decode_text

        text = decode_text(stdin.read_stdin(lambda text: print_err(f"aiml: {text}")), "standard input")[0]
    try:
        return parse_arguments(text)
    except ToolError as error:
        raise UsageError(str(error), """write an object: '{"city": "Paris"}', or {} for no arguments""") from None


def _split_function(word: str, options: Options) -> tuple[str, str]:
    """Split FILE.py:FUNCTION or mcp:SERVER.TOOL into source and tool; the tool is "" if none is named."""
    if not word.startswith(MCP_PREFIX) and ".py:" in word:
        path, _, function = word.rpartition(":")
        return path, function
    name = _find_name(word, options)
    if not name.startswith(MCP_PREFIX):
        return name, ""
    server, tool = split_mcp_name(name)
    return f"{MCP_PREFIX}{server}", tool and f"{server}.{tool}"


def _find_tool(tools: Sequence[Tool], name: str, word: str) -> Tool:
    names = [tool.definition.name for tool in tools]
    if not name and len(tools) == 1:
        return tools[0]
    if name in names:
        return tools[names.index(name)]
    listed = ", ".join(names[:_MAX_NAMES]) + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")
    if not name:
        separator = "." if word.startswith(MCP_PREFIX) else ":"
        raise UsageError(f"{word} has {len(names)} tools", f"choose one with {word}{separator}NAME: {listed}")
    raise UsageError(f"there is no tool {word}", f"{suggest(name, names)} available: {listed}".lstrip())


def _print_result(result: CallResult, options: Options) -> None:
    """Print the text, unchanged in a pipe; describe images and audio on standard error."""
    if options.json:
        media = [{"type": type(part).__name__.lower(), **part._asdict()} for part in result.media]
        _print_json({"text": result.text, "is_error": result.is_error, "media": media})
        return
    for part in result.media:
        kind, data = ("audio", part.data) if isinstance(part, Sound) else ("image", part.url)
        print_err(f"aiml: {kind} of {len(data):,} characters; --json prints it")
    if result.is_error:
        return
    if is_terminal(1):
        print_out(result.text if result.text.endswith("\n") or not result.text else f"{result.text}\n")
    else:
        write_out(result.text.encode("utf-8", "replace"))


def _resolve_options(flags: Flags) -> Options:
    """Resolve the flags that these commands share with others."""
    return resolve(read_sources(flags, os.environ)).options


def _find_name(word: str, options: Options) -> str:
    """Return the name of a tool for -T; `mcp:` may be omitted for a server if no tool file has its name."""
    if word.startswith(MCP_PREFIX) or word.endswith(".py") or word in tool_files.list_tool_files():
        return word
    if options.demo and word in {sample.name for sample in _list_samples()}:
        return word
    return f"{MCP_PREFIX}{word}" if split_mcp_name(f"{MCP_PREFIX}{word}")[0] in mcp_config.load_servers() else word


def _make_source(name: str, options: Options) -> ToolSource:
    return make_source(
        name, report=make_notifier(options.quiet), verbose=bool(options.verbose), demo=bool(options.demo)
    )


@contextmanager
def _open(name: str, options: Options) -> Iterator[Sequence[Tool]]:
    """Start a tool file or server, yield its tools, and end it after the block."""
    source = _make_source(name, options)
    try:
        source.start()
        source.wait_until_ready()
        yield source.list_tools()
    finally:
        source.close()


def _print_json(value: Any) -> int:
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    return print_out(escape_json(text) if is_terminal(1) else text)
