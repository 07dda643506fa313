"""The tools of a call: what the user allows, how they become part of a request, and those of a recording."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from itertools import dropwhile, takewhile
from operator import itemgetter
from threading import Thread
from typing import Any, NamedTuple

from aiml_cli.api.answer import RanCall, ToolRound
from aiml_cli.api.completion_builder import Completion, ToolCall
from aiml_cli.api.json_values import as_list
from aiml_cli.api.messages import RawMessage
from aiml_cli.api.tool_formats import build_mcp_servers, list_function_names, list_tools
from aiml_cli.core.previous_turns import DECLINED_CALL_TEXT
from aiml_cli.errors import RequestRejected, UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import make_notifier
from aiml_cli.tools.approval import Approvals
from aiml_cli.tools.toolbox import Toolbox, open_toolbox
from aiml_cli.transport.key_masking import mask_credentials
from aiml_cli.transport.replay import load_recording

NEEDS_ALLOW = "no question can be asked here: --allow NAME runs a tool without asking, --allow '*' runs them all"
Item = Mapping[str, Any]
_APPROVAL_TYPE = "mcp_approval_response"


class ToolSession:
    """The tools of a call, or of a conversation in turns, and the approvals so far."""

    def __init__(self, toolbox: Toolbox, approvals: Approvals, *, approves_server_calls: bool) -> None:
        self.toolbox, self.approvals = toolbox, approvals
        self._approves_server_calls = approves_server_calls

    def build_body(self, options: Options, build: Callable[[Options], dict[str, Any]]) -> dict[str, Any]:
        """Return the request body that `build` returns for the options with the tools.

        Raises UsageError for two tools with the same name.
        """
        return build(self._add_to(options))

    def _add_to(self, options: Options) -> Options:
        tools = self.toolbox.list_enabled()
        if same := {tool.wire_name for tool in tools} & list_function_names(options.tools):
            raise UsageError(f"--tools and -T both define {', '.join(sorted(same))}")
        added = [tool.to_request() for tool in tools]
        if self._approves_server_calls and options.mcp_server:
            added += [{**server, "require_approval": "always"} for server in build_mcp_servers(options)]
            options = replace(options, mcp_server=None)
        return replace(options, tools=[*list_tools(options.tools), *added]) if added else options

    def warm_up(self) -> None:
        """Import the module that checks arguments while the request waits for its answer."""
        if self.toolbox.list_enabled():
            Thread(target=_import_checker, daemon=True).start()

    def cancel_calls(self) -> None:
        """End the calls that run in other threads."""
        self.toolbox.cancel_calls()


def _import_checker() -> None:
    import jsonschema  # noqa: F401 - takes 100 ms, so it is imported early


@contextmanager
def open_tools(settings: Settings, *, asks: bool = True, repl: bool = False) -> Iterator["ToolSession | ReplayedTools"]:
    """Start the tools of the options, and stop them after the block.

    They start while the request is prepared. `asks`: the user can be asked on the terminal, if there is one. With
    neither `repl` nor --allow, the server runs its own tools without approval.
    """
    options = settings.options
    if options.replay:
        yield ReplayedTools(options.replay)
        return
    report = make_notifier(options.quiet)
    toolbox = open_toolbox(
        options.run_tool or (), report=report, verbose=bool(options.verbose), demo=bool(options.demo), asks=asks
    )
    try:
        toolbox.start()
        if not asks:
            toolbox.wait_until_ready()  # before the first of many requests
        approvals = Approvals(can_ask=asks)
        yield ToolSession(toolbox, approvals, approves_server_calls=repl or bool(options.allow))
    finally:
        toolbox.close()


def open_shared_tools(settings: Settings) -> "AbstractContextManager[ToolSession | ReplayedTools]":
    """Start the tools that several concurrent requests share; the user cannot be asked, so only --allow counts."""
    options = settings.options
    if options.run_tool and not options.allow and not options.replay:
        raise UsageError("-T with several requests at once needs --allow", NEEDS_ALLOW)
    if options.run_tool and options.max_cost is not None:
        message = "--max-cost cannot be used with -T and several requests at once"
        raise UsageError(message, "the number of rounds is unknown; --max-rounds N limits it")
    return open_tools(settings, asks=False)


class ReplayedTools:
    """The tools of the calls that were recorded, and what they returned then."""

    def __init__(self, path: str) -> None:
        bodies = [body for body in load_recording(path).list_bodies() if isinstance(body, Mapping)]
        self._path, self._bodies = path, bodies

    def build_body(self, options: Options, build: Callable[[Options], dict[str, Any]]) -> dict[str, Any]:
        """Return the request body that `build` returns for the options with the tools of the recorded call."""
        bodies = [build(_add_tools(options, tools)) for tools in self._list_tool_sets(options)]
        return next((body for body in bodies if len(bodies) > 1 and _to_key(body) in self._keys), bodies[0])

    def _list_tool_sets(self, options: Options) -> list[Sequence[Any]]:
        """Return the distinct sets of tools in the recorded calls, those of the same model first."""
        models = [name.strip() for name in (options.model or "").split(",")]
        sets = [(body.get("model") not in models, as_list(body.get("tools"))) for body in self._bodies]
        distinct = {_to_key(tools): tools for _, tools in sorted(sets, key=itemgetter(0)) if tools}
        return list(distinct.values()) or [[]]

    def warm_up(self) -> None:
        """Do nothing: no arguments are checked."""

    def cancel_calls(self) -> None:
        """Do nothing: no call runs."""

    def find_round(self, completion: Completion, body: Item) -> ToolRound:
        """Return what the calls of the answer to a request returned; raise RequestRejected if that was not recorded."""
        calls = completion.first.tool_calls
        ids = {call.id for call in calls} | {
            str(item.get("id")) for item in completion.output if item.get("type") == "mcp_approval_request"
        }
        results = self._find_results(ids, body, completion.started.id)
        if not results:
            hint = "record the command again, with --record instead of --replay"
            raise RequestRejected(f"{self._path} has no results of the tools that this answer calls", hint)
        outputs = {_result_id(item): str(item.get("content") or item.get("output") or "") for item in results}
        ran = [_to_ran_call(call, outputs.get(call.id, "")) for call in calls]
        ran += [
            RanCall(_result_id(item), "an MCP server's tool", "", is_refused=True)
            for item in results
            if item.get("approve") is False
        ]
        return ToolRound(completion, tuple(ran), tuple(map(RawMessage, results)))

    def _find_results(self, ids: Iterable[str], body: Item, response_id: str | None) -> Sequence[Item]:
        """Return the results of calls; other calls with the same ids may be in the recording."""
        rounds = [found for call_id in ids for found in self._rounds.get(call_id, ())]
        if len(rounds) > 1:
            sent = _list_items(mask_credentials(body))
            rounds.sort(key=lambda found: not found.follows(sent, response_id))
        return rounds[0].results if rounds else ()

    @cached_property
    def _keys(self) -> set[str]:
        return set(map(_to_key, self._bodies))

    @cached_property
    def _rounds(self) -> dict[str, list["_RecordedRound"]]:
        """Return the recorded rounds by the ids of the calls that they have results for."""
        found: dict[str, list[_RecordedRound]] = {}
        for body in self._bodies:
            recorded = _find_round(body)
            for item in filter(_is_result, recorded.results):
                found.setdefault(_result_id(item), []).append(recorded)
        return found


class _RecordedRound(NamedTuple):
    """The results in a recorded request from `start` on, with the user messages that follow them."""

    body: Item
    start: int
    results: Sequence[Item]

    def follows(self, sent: Sequence[Any], response_id: str | None) -> bool:
        """True if these are results of the calls in the answer to a request that sent these items."""
        if response_id and self.body.get("previous_response_id") == response_id:
            return True
        return len(sent) < self.start and _list_items(self.body)[: len(sent)] == sent


def _to_key(value: Any) -> str:
    """Return a string that is the same for equal JSON values."""
    text = json.dumps(mask_credentials(value), sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _list_items(body: Item) -> list[Any]:
    items = body.get("messages") or body.get("input")
    return [{"role": "user", "content": items}] if isinstance(items, str) else as_list(items)


def _add_tools(options: Options, recorded: Sequence[Any]) -> Options:
    given = list_function_names(options.tools)
    tools = [tool for tool in recorded if _is_ours(tool, given, options)]
    servers = {} if any(tool.get("type") == "mcp" for tool in tools) else options.mcp_server
    return replace(options, tools=[*list_tools(options.tools), *tools] or None, mcp_server=servers or None)


def _to_ran_call(call: ToolCall, result: str) -> RanCall:
    if result == DECLINED_CALL_TEXT:
        return RanCall(*call, result, is_error=True, is_refused=True)
    return RanCall(*call, result, allowed_by="recording")


def _is_ours(tool: Any, given: set[str], options: Options) -> bool:
    """True if a recorded tool must be added, because neither --tools nor another option adds it."""
    if not isinstance(tool, Mapping):
        return False
    if tool.get("type") == "mcp":
        return tool.get("require_approval") != "never" and tool.get("server_label") in (options.mcp_server or {})
    function = tool.get("function") or tool
    return tool.get("type") == "function" and function.get("name") not in given


def _find_round(body: Item) -> _RecordedRound:
    """Return the results at the end of a request."""
    items = _list_items(body)
    last = list(takewhile(lambda item: _is_result(item) or _is_of_user(item), reversed(items)))
    results = list(dropwhile(lambda item: not _is_result(item), reversed(last)))
    return _RecordedRound(body, len(items) - len(results), results)


def _is_of_user(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") == "user"


def _is_result(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    return item.get("role") == "tool" or item.get("type") in ("function_call_output", _APPROVAL_TYPE)


def _result_id(item: Item) -> str:
    return str(item.get("tool_call_id") or item.get("call_id") or item.get("approval_request_id"))
