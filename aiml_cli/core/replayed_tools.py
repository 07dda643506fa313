"""Take tools and their results from a recording: a replay runs nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import dropwhile, groupby
from typing import Any

from aiml_cli.api.answer import RanCall, ToolRound
from aiml_cli.api.completion_builder import Completion, ToolCall
from aiml_cli.api.json_values import as_list
from aiml_cli.api.messages import RawMessage
from aiml_cli.api.tool_formats import list_function_names, list_tools
from aiml_cli.core.open_calls import NOT_ALLOWED
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import Options
from aiml_cli.transport.replay import load_recording

Item = Mapping[str, Any]
_APPROVAL_TYPE = "mcp_approval_response"


class ReplayedTools:
    """The tools of the calls that were recorded, and what they returned then."""

    def __init__(self, path: str) -> None:
        bodies = [body for body in load_recording(path).list_bodies() if isinstance(body, Mapping)]
        self._path, self._bodies = path, bodies

    def add_to(self, options: Options) -> Options:
        """Return the options with the definitions of the tools that the recorded call had."""
        given = list_function_names(options.tools)
        models = [name.strip() for name in (options.model or "").split(",")]
        same_model = [body for body in self._bodies if body.get("model") in models]
        recorded: Any = next((body["tools"] for body in same_model or self._bodies if body.get("tools")), [])
        tools = [tool for tool in as_list(recorded) if _is_ours(tool, given, options)]
        servers = {} if any(tool.get("type") == "mcp" for tool in tools) else options.mcp_server
        return replace(options, tools=[*list_tools(options.tools), *tools] or None, mcp_server=servers or None)

    def warm_up(self) -> None:
        """Do nothing: no arguments are checked."""

    def cancel_calls(self) -> None:
        """Do nothing: no call runs."""

    def find_round(self, completion: Completion) -> ToolRound:
        """Return what the calls of an answer returned; raise UsageError if the recording does not have it."""
        calls = completion.first.tool_calls
        ids = {call.id for call in calls} | {
            str(item.get("id")) for item in completion.output if item.get("type") == "mcp_approval_request"
        }
        results = next((self._results[call_id] for call_id in ids if call_id in self._results), [])
        if not results:
            hint = "record the command again: --record in the place of --replay"
            raise UsageError(f"{self._path} has no results of the tools that this answer calls", hint)
        outputs = {_result_id(item): str(item.get("content") or item.get("output") or "") for item in results}
        ran = [_to_ran_call(call, outputs.get(call.id, "")) for call in calls]
        ran += [
            RanCall(_result_id(item), "an MCP server's tool", "", is_refused=True)
            for item in results
            if item.get("approve") is False
        ]
        return ToolRound(completion, tuple(ran), tuple(map(RawMessage, results)))

    @cached_property
    def _results(self) -> dict[str, Sequence[Item]]:
        """The results of each round, by the id of each of its calls."""
        found: dict[str, Sequence[Item]] = {}
        for body in self._bodies:
            for results in _list_rounds(as_list(body.get("messages") or body.get("input"))):
                for item in filter(_is_result, results):
                    found.setdefault(_result_id(item), results)
        return found


def _to_ran_call(call: ToolCall, result: str) -> RanCall:
    if result == NOT_ALLOWED:
        return RanCall(*call, result, is_error=True, is_refused=True)
    return RanCall(*call, result, allowed_by="recording")


def _is_ours(tool: Any, given: set[str], options: Options) -> bool:
    """True if a recorded tool is neither in --tools nor one that another option adds again."""
    if not isinstance(tool, Mapping):
        return False
    if tool.get("type") == "mcp":
        return tool.get("require_approval") != "never" and tool.get("server_label") in (options.mcp_server or {})
    function = tool.get("function") or tool
    return tool.get("type") == "function" and function.get("name") not in given


def _list_rounds(items: Sequence[Any]) -> Iterator[Sequence[Item]]:
    """Yield the results between two answers, with the messages of the user that follow them."""
    for _, group in groupby(items, lambda item: _is_result(item) or _is_of_user(item)):
        if results := list(dropwhile(lambda item: not _is_result(item), group)):
            yield results


def _is_of_user(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") == "user"


def _is_result(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    return item.get("role") == "tool" or item.get("type") in ("function_call_output", _APPROVAL_TYPE)


def _result_id(item: Item) -> str:
    return str(item.get("tool_call_id") or item.get("call_id") or item.get("approval_request_id"))
