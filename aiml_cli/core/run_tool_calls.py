"""Run the tool calls of one answer: ask for approval, run them in parallel, and collect the results."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from types import MappingProxyType
from typing import NamedTuple

from aiml_cli.api.answer import RanCall, ToolRound
from aiml_cli.api.completion_builder import Completion, ToolCall
from aiml_cli.api.messages import AnyMessage, Image, Message, RawMessage, Sound, ToolResult
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import DECLINED_CALL_TEXT
from aiml_cli.core.tool_session import ToolSession
from aiml_cli.output.plain_text import collapse_whitespace
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.system.questions import BAR
from aiml_cli.system.stdio import print_err
from aiml_cli.tools.approval import CallRequest
from aiml_cli.tools.tool import Arguments, CallResult, ToolError
from aiml_cli.tools.toolbox import OpenTool, parse_arguments, run_call
from aiml_cli.transport.key_masking import mask_text

NO_OUTPUT = "(no output)"
MAX_LINE_LENGTH = 160
MAX_PARALLEL = 32
# How long cancelled calls may take to end, and how often they are checked.
STOP_S, JOIN_S = 2.0, 0.02


class _PlannedCall(NamedTuple):
    """A call that will run, or that has a result already."""

    call: ToolCall
    name: str
    tool: OpenTool | None = None
    arguments: Arguments = MappingProxyType({})
    result: CallResult | None = None
    allowed_by: str = ""
    is_refused: bool = False


def run_round(session: ToolSession, request: ChatRequest, completion: Completion, key: ApiKey | None) -> ToolRound:
    """Run the calls of an answer; raise Interrupted if the user quits at a question."""
    report = _Report(request)
    tools = {tool.wire_name: tool for tool in session.toolbox.list_enabled()}
    plans = [_plan_call(session, request, report, call, tools) for call in completion.first.tool_calls]
    approvals, refused = _answer_approvals(session, request, completion)
    results = _run_parallel(session, plans, report, key.value if key else "")
    calls = [_to_ran_call(plan, result) for plan, result in zip(plans, results, strict=True)]
    messages = (*approvals, *(ToolResult(call.id, call.result) for call in calls), *_media_messages(plans, results))
    return ToolRound(completion, (*calls, *refused), messages)


def _plan_call(
    session: ToolSession, request: ChatRequest, report: "_Report", call: ToolCall, tools: Mapping[str, OpenTool]
) -> _PlannedCall:
    """Announce a call, and decide whether it runs."""
    tool = tools.get(call.name)
    name = tool.name if tool else call.name
    report.print_call(name, call.arguments)
    if tool is None:
        return _PlannedCall(call, name, result=CallResult(_explain_unknown(call.name, tools), is_error=True))
    try:
        arguments = parse_arguments(call.arguments)
        definition = tool.definition
        preview = tool.tool.preview(arguments)
    except ToolError as error:
        return _PlannedCall(call, name, result=CallResult(str(error), is_error=True))
    wanted = CallRequest(name, preview, definition.hints, definition.fingerprint)
    if allowed_by := session.approvals.decide(wanted, request.options.allow or ()):
        return _PlannedCall(call, name, tool, arguments, allowed_by=allowed_by)
    return _PlannedCall(call, name, result=CallResult(DECLINED_CALL_TEXT, is_error=True), is_refused=True)


def _explain_unknown(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"There is no tool {name}. " + (f"Did you mean {near[0]}?" if near else f"Available: {', '.join(known)}.")


def _run_parallel(session: ToolSession, plans: Sequence[_PlannedCall], report: "_Report", key: str) -> list[CallResult]:
    """Return the results in the order of the calls, with the API key masked; cancel the calls on an interruption."""
    results: dict[int, CallResult] = {}
    workers = _Workers(plans)
    try:
        workers.start()
        while len(results) < len(plans):
            index, result, seconds = workers.done.get()
            results[index] = result._replace(text=mask_text(result.text, key))
            report.print_result(_to_ran_call(plans[index], results[index]), f" ({seconds:.1f} s)", results[index].media)
    except BaseException:
        workers.stop(session.cancel_calls)
        raise
    return [results[index] for index in range(len(plans))]


class _Workers:
    """Threads that run the calls of one answer. `done` gets the index, the result and the seconds of each call."""

    def __init__(self, plans: Sequence[_PlannedCall]) -> None:
        self.done: Queue[tuple[int, CallResult, float]] = Queue()
        self._waiting: Queue[tuple[int, OpenTool]] = Queue()
        self._plans = plans
        for index, plan in enumerate(plans):
            if plan.tool:
                self._waiting.put((index, plan.tool))
            else:
                self.done.put((index, plan.result or CallResult(""), 0.0))
        count = min(self._waiting.qsize(), MAX_PARALLEL)
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(count)]

    def start(self) -> None:
        """Run the calls."""
        for thread in self._threads:
            thread.start()

    def stop(self, cancel_calls: Callable[[], None]) -> None:
        """Cancel the calls that are running or starting, and start no others."""
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()
        deadline = monotonic() + STOP_S
        while (running := [thread for thread in self._threads if thread.is_alive()]) and monotonic() < deadline:
            cancel_calls()
            running[0].join(JOIN_S)

    def _work(self) -> None:
        with suppress(Empty):
            while True:
                index, tool = self._waiting.get_nowait()
                began = monotonic()
                result = run_call(tool.tool, self._plans[index].arguments)
                self.done.put((index, result, monotonic() - began))


def _to_ran_call(plan: _PlannedCall, result: CallResult) -> RanCall:
    text = result.text if result.text.strip() else NO_OUTPUT
    call = plan.call
    return RanCall(call.id, plan.name, call.arguments, text, result.is_error, plan.allowed_by, plan.is_refused)


def _media_messages(plans: Sequence[_PlannedCall], results: Sequence[CallResult]) -> Iterator[Message]:
    """Yield messages with the images and audio of the results: a tool result itself is text on both endpoints."""
    for plan, result in zip(plans, results, strict=True):
        if result.media:
            yield Message("user", (f"What {plan.name} returned:", *result.media))


def _answer_approvals(
    session: ToolSession, request: ChatRequest, completion: Completion
) -> tuple[list[AnyMessage], list[RanCall]]:
    """Answer the server's approval requests for its own tools; return the answers and the refused calls."""
    answers, refused = list[AnyMessage](), list[RanCall]()
    for item in completion.output:
        if item.get("type") != "mcp_approval_request":
            continue
        name, arguments = f"{item.get('server_label')}.{item.get('name')}", str(item.get("arguments") or "")
        preview = f"{format_call(name, arguments)}\non the server {item.get('server_label')}, which the API calls"
        approve = bool(session.approvals.decide(CallRequest(name, preview), request.options.allow or ()))
        request_id = str(item.get("id"))
        answer = {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}
        answers.append(RawMessage(answer))
        if not approve:
            refused.append(RanCall(request_id, name, arguments, is_refused=True))
    return answers, refused


def report_recorded(request: ChatRequest, tool_round: ToolRound) -> None:
    """Print the calls of a recording and their results, as when they ran."""
    report = _Report(request)
    for call in tool_round.calls:
        report.print_call(call.name, call.arguments)
    for call in tool_round.calls:
        report.print_result(call, " (recorded)")


class _Report:
    """Reports tool calls on stderr: a line for each call and each result, in full with --verbose."""

    def __init__(self, request: ChatRequest) -> None:
        self._is_quiet, self._is_verbose = bool(request.options.quiet), bool(request.options.verbose)

    def print_call(self, name: str, arguments: str) -> None:
        """Print a call."""
        self._print(format_call(name, arguments))

    def print_result(self, call: RanCall, end: str = "", media: Sequence[Image | Sound] = ()) -> None:
        """Print what a call returned; `end` is appended in full, even if the result is shortened."""
        if call.is_refused:
            self._print(f"{call.name}: not allowed")
            return
        failed = " failed" if call.is_error else ""
        kinds = "".join(f" [{type(part).__name__.lower()}]" for part in media)
        self._print(f"{call.name}{failed}: {call.result.strip()}", kinds + end)

    def _print(self, text: str, end: str = "") -> None:
        if self._is_quiet:
            return
        line = text.replace("\n", f"\n{BAR}") if self._is_verbose else collapse_whitespace(text[: 8 * MAX_LINE_LENGTH])
        if len(line) > MAX_LINE_LENGTH and not self._is_verbose:
            line = line[: MAX_LINE_LENGTH - 1] + "…"
        print_err(f"aiml: {line}{end}")


def format_call(name: str, arguments: str) -> str:
    """Return a call as it is written in a program; arguments that are not JSON are shown unchanged."""
    try:
        values = parse_arguments(arguments)
    except ToolError:
        return f"{name}({arguments})"
    return f"{name}({', '.join(f'{key}={_format_value(value)}' for key, value in values.items())})"


def _format_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
