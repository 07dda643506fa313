"""The tool calls of demo/tools: choose the calls, describe their results, and provide sample tools."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiml_cli.demo.parsed_request import (
    DemoApproval,
    DemoRequest,
    DemoResult,
    DemoTool,
    FunctionCall,
    GatewayError,
    HostedCall,
    Json,
    ToolHistory,
    join_text,
    list_attachments,
)
from aiml_cli.demo.schema_samples import make_sample, resolve_reference

_REPEATS = re.compile(r"\b(again|forever)\b", re.IGNORECASE)
_QUOTED = re.compile("\"([^\"]{0,200})\"|“([^“”]{0,200})”|(?<!\\w)'([^']{0,200})'(?!\\w)")
_NUMBER = re.compile(r"(?<![\w.])-?\d++(?:\.\d++)?+(?!\.?\w)")
_PAIR = re.compile(r"(?<!\w)([A-Za-z_]\w*+)=(\"[^\"]{0,999}\"|'[^']{0,999}'|\S++)")
_WORD = re.compile(r"\S++")
_NAME = re.compile(r"[\w.-]++")
_PATH_NAMES = ("path", "file", "dir", "folder", "url", "uri")
_ENDS = ".,;:!?()[]{}<>\"'“”"
_RESULT_LENGTH = 400
SAMPLES_PATH = Path(__file__)
SAMPLE_TOOLS: Mapping[str, Mapping[str, Any]] = {
    "weather": {
        "description": "Say what the weather is like in a city. This is a sample: nothing is measured.",
        "params": "city",
        "run": [
            "printf",
            "--",
            "It is sunny in %s, with 18 degrees. (This is a sample; nothing was measured.)\\n",
            "{city}",
        ],
    },
    "time": {"description": "Say what time it is on this machine.", "run": ["date"]},
}
Items = Sequence[Mapping[str, Json]]


class _Named(NamedTuple):
    """A tool that the prompt names, and its position; `arguments` is the JSON after the name, or ""."""

    tool: DemoTool
    start: int = 0
    end: int = 0
    arguments: str = ""


def choose_calls(request: DemoRequest) -> tuple[FunctionCall, ...]:
    """Return the calls of this round, or () when it is time to answer."""
    if request.tool_choice == "none" or not request.tools:
        return ()
    rounds = request.history.round_count
    named = _list_named(request)
    calls = [_make_call(one, named, request.prompt) for one in named]
    if not request.is_parallel:
        if rounds < len(calls) or _REPEATS.search(request.prompt):
            return (calls[rounds % len(calls)],)
        return ()
    return tuple(calls) if rounds == 0 or _REPEATS.search(request.prompt) else ()


def choose_hosted_calls(request: DemoRequest) -> tuple[HostedCall, ...]:
    """Return the calls of server-side tools: those that wait for approval, and those that ran."""
    if request.tool_choice == "none":
        return ()
    if request.history.round_count == 0:
        calls = [HostedCall(server.label, server.tool, _ask_server(request.prompt)) for server in request.servers]
        asking = [server.needs_approval for server in request.servers]
        return tuple(call if asks else _run_hosted(call) for call, asks in zip(calls, asking, strict=True))
    approved = [approval for approval in request.history.approvals if approval.approve]
    return tuple(
        _run_hosted(HostedCall(given.label, given.name, given.arguments, request_id=given.request_id))
        for given in approved
    )


def _ask_server(prompt: str) -> str:
    return json.dumps({"query": prompt}, ensure_ascii=False)


def _run_hosted(call: HostedCall) -> HostedCall:
    return call._replace(output=f"{call.label} has nothing about it, for no server was asked")


def describe_results(request: DemoRequest) -> str:
    """Return a sentence for each result so far, or "" if there are none."""
    refused = [approval for approval in request.history.approvals if not approval.approve]
    words = [f"{result.name or 'A tool'} returned “{_shorten(result.output)}”." for result in request.history.results]
    words += [f"{call.label}.{call.name} returned “{call.output}”." for call in choose_hosted_calls(request)]
    words += [f"{approval.label}.{approval.name} was not approved." for approval in refused]
    return " ".join(words)


def _shorten(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _RESULT_LENGTH else flat[: _RESULT_LENGTH - 1] + "…"


def _list_named(request: DemoRequest) -> list[_Named]:
    """Return the tools in the order in which the prompt names them, else the forced tool, or the first one."""
    tools = [tool for tool in request.tools if tool.name == request.tool_choice] or request.tools
    found = sorted((named for tool in tools for named in _find_tool(tool, request.prompt)), key=lambda one: one.start)
    with_arguments = {named.tool.name for named in found if named.arguments}
    first = {named.tool.name: named.start for named in reversed(found)}
    is_first = [first[named.tool.name] == named.start and named.tool.name not in with_arguments for named in found]
    chosen = [named for named, is_new in zip(found, is_first, strict=True) if named.arguments or is_new]
    return chosen or [_Named(tools[0])]


def _find_tool(tool: DemoTool, prompt: str) -> Iterator[_Named]:
    """Yield the places where a prompt names a tool: as in the request, or with a dot after the name of its server."""
    names = (tool.name, tool.name.replace("__", "."))
    for match in _NAME.finditer(prompt):
        if (name := match[0].rstrip(".-")) in names:
            end = match.start() + len(name)
            rest = prompt[end:]
            arguments = _read_json(rest.lstrip(" \t:=("))
            yield _Named(tool, match.start(), end + rest.index(arguments) + len(arguments), arguments)


def _read_json(text: str) -> str:
    """Return the JSON object at the start of a text, even if it is not valid, or "" if there is none."""
    if not text.startswith("{"):
        return ""
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]]
    except (ValueError, RecursionError):
        line = text.partition("\n")[0]
        return line[: line.rfind("}") + 1] or line


def _make_call(named: _Named, others: Sequence[_Named], prompt: str) -> FunctionCall:
    if named.arguments:
        return FunctionCall(named.tool.name, named.arguments)
    try:
        values = _Filler(_cut_names(others, prompt), _cut_names(others, prompt, named.end), named.tool).fill()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise GatewayError(400, f"Body validation error\nInvalid schema: {error}") from None
    return FunctionCall(named.tool.name, json.dumps(values, ensure_ascii=False))


def _cut_names(found: Sequence[_Named], prompt: str, start: int | None = None) -> str:
    """Return a prompt without the calls in it; with `start` only the part from there to the next call."""
    ends = [0, *(named.end for named in found)]
    starts = [*(named.start for named in found), len(prompt)]
    parts = zip(ends, starts, strict=True)
    return " ".join(prompt[end:stop] for end, stop in parts if start in (None, end))


class _Filler:
    """Creates the arguments of a call from the schema of the tool and the words of the prompt.

    `nearby` is the text after the name of the tool, which is searched first.
    """

    def __init__(self, prompt: str, nearby: str, tool: DemoTool) -> None:
        self._prompt, self._root = prompt, tool.parameters
        self._pairs = {name: text.strip("\"'").rstrip(",;") for name, text in _PAIR.findall(prompt)}
        self._words = _split_words(nearby) or _split_words(prompt)
        self._quoted = ["".join(groups) for groups in _QUOTED.findall(nearby) or _QUOTED.findall(prompt)]
        numbers = _NUMBER.findall(nearby) or _NUMBER.findall(prompt)
        self._numbers = [float(number) if "." in number else int(number) for number in numbers]

    def fill(self) -> dict[str, Json]:
        """Return the required arguments, and those that the prompt names."""
        properties: Mapping[str, Json] = self._root.get("properties") or {}
        required = self._root.get("required") or ()
        wanted = {name: resolve_reference(schema, self._root) for name, schema in properties.items()}
        chosen = [name for name in wanted if name in required or self._is_named(name, wanted[name])]
        texts = [name for name in chosen if self._find_type(wanted[name]) == "string"]
        strings = dict(zip(texts, self._choose_texts(texts), strict=True))
        return {name: self._fill_one(name, wanted[name], strings) for name in chosen}

    def _is_named(self, name: str, schema: Json) -> bool:
        """True for `name=value` in the prompt, or a word of it that is a value of the enum."""
        return bool(self._pairs.get(name)) or self._find_choice(schema) is not None

    def _find_choice(self, schema: Json) -> Json:
        choices = schema.get("enum") or ()
        return next((choice for choice in choices if str(choice) in self._words), None)

    def _find_type(self, schema: Json) -> str:
        """Return the JSON type of a property; of several types, the first that is not null."""
        if schema.get("enum") or "const" in schema:
            return "choice"
        options = schema.get("anyOf") or schema.get("oneOf") or [schema]
        names = [name for option in options for name in _list(resolve_reference(option, self._root).get("type"))]
        return next((str(name) for name in names if name != "null"), "")

    def _choose_texts(self, names: Sequence[str]) -> list[str]:
        """Return text of the prompt for each of these properties: quoted, else capitalized, else the last word."""
        capitalised = [word for word in self._words if word[:1].isupper() and not self._prompt.startswith(word)]
        texts = self._quoted or capitalised[-len(names) :] or self._words[-1:] or [self._prompt]
        filled = [texts[min(index, len(texts) - 1)] for index in range(len(names))]
        return [self._find_path(name) or text for name, text in zip(names, filled, strict=True)]

    def _find_path(self, name: str) -> str:
        """Return the first word that looks like a path, for a property that is one."""
        if self._quoted or not any(part in name.lower() for part in _PATH_NAMES):
            return ""
        return next((word for word in self._words if "/" in word or "." in word), "")

    def _fill_one(self, name: str, schema: Json, strings: Mapping[str, str]) -> Json:
        pair, json_type = self._pairs.get(name), self._find_type(schema)
        if pair:
            return pair if json_type in ("string", "choice") else _parse(pair)
        if name in strings:
            return strings[name]
        if json_type in ("integer", "number") and self._numbers:
            number = self._numbers.pop(0)
            return int(number) if json_type == "integer" else number
        if json_type == "array" and (values := self._list_values(schema)):
            return values
        choice = self._find_choice(schema)
        return make_sample(schema, self._root) if choice is None else choice

    def _list_values(self, schema: Json) -> Sequence[Json]:
        """Return the values in the prompt for an array: all numbers, or all quoted strings."""
        item_type = self._find_type(resolve_reference(schema.get("items") or {}, self._root))
        if item_type in ("integer", "number"):
            return self._numbers
        return self._quoted or self._choose_texts([""]) if item_type == "string" else ()


def _split_words(text: str) -> list[str]:
    return [word for part in _WORD.findall(text) if (word := part.strip(_ENDS))]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value] if value else []


def _parse(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text


def convert_messages(messages: Items) -> list[Mapping[str, Json]]:
    """Convert the tool calls and results in chat messages to items of the Responses endpoint."""
    return [item for message in messages for item in _convert_message(message)]


def _convert_message(message: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    if message["role"] == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
        return
    yield message
    for call in message.get("tool_calls") or ():
        yield {"type": "function_call", "call_id": call["id"], "name": call["function"]["name"]}


def read_tool_history(items: Items) -> ToolHistory:
    """Return the last prompt and the results, approvals and rounds of calls after it."""
    start = max((index for index in range(len(items)) if _is_prompt(items, index)), default=-1)
    later = items[start + 1 :]
    names = {item["call_id"]: str(item["name"]) for item in _select(items, "function_call")}
    outputs = _select(later, "function_call_output")
    return ToolHistory(
        join_text(items[start]["content"]) if start >= 0 else "",
        tuple(DemoResult(names.get(item["call_id"], ""), join_text(item["output"])) for item in outputs),
        tuple(_read_approvals(items, later)),
        sum(_is_round_end(later, index) for index in range(len(later))),
    )


def _select(items: Iterable[Mapping[str, Json]], item_type: str) -> list[Mapping[str, Json]]:
    return [item for item in items if item.get("type") == item_type]


def _is_prompt(items: Items, index: int) -> bool:
    """True for a message of the user, unless it contains the images or audio of a result before it."""
    item = items[index]
    if item.get("role") != "user":
        return False
    is_after_result = index > 0 and items[index - 1].get("type") == "function_call_output"
    previous_is_media = index > 0 and items[index - 1].get("role") == "user" and not _is_prompt(items, index - 1)
    return not ((is_after_result or previous_is_media) and list_attachments(item["content"]))


def _is_round_end(items: Items, index: int) -> bool:
    """True for the last result or approval of a round."""
    ends = ("function_call_output", "mcp_approval_response")
    following = items[index + 1].get("type") if index + 1 < len(items) else None
    return items[index].get("type") in ends and following not in ends


def _read_approvals(items: Items, later: Items) -> Iterator[DemoApproval]:
    requests = {item["id"]: item for item in _select(items, "mcp_approval_request")}
    for response in _select(later, "mcp_approval_response"):
        if request := requests.get(response["approval_request_id"]):
            label, name, arguments = (str(request[key]) for key in ("server_label", "name", "arguments"))
            yield DemoApproval(label, name, arguments, str(request["id"]), bool(response["approve"]))


def check_tool_items(items: Items, endpoint: str) -> None:
    """Raise GatewayError for a call without a result, and for a result or an approval without a request."""
    waiting: dict[str, None] = {}
    requests = {item["id"] for item in _select(items, "mcp_approval_request")}
    for item in items:
        item_type = item.get("type")
        if endpoint == "chat" and waiting and item_type not in ("function_call", "function_call_output"):
            _raise_unanswered(waiting, endpoint)
        if item_type == "function_call":
            waiting[item["call_id"]] = None
        elif item_type == "function_call_output":
            if item["call_id"] not in waiting:
                _raise_unrequested_result(item["call_id"], endpoint)
            del waiting[item["call_id"]]
        elif item_type == "mcp_approval_response" and item["approval_request_id"] not in requests:
            request_id = item["approval_request_id"]
            raise GatewayError(400, f"No approval request found for approval response with id {request_id}.")
    if waiting:
        _raise_unanswered(waiting, endpoint)


def _raise_unanswered(call_ids: Iterable[str], endpoint: str) -> None:
    if endpoint == "chat":
        raise GatewayError(
            400,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(call_ids)}",
        )
    raise GatewayError(400, f"No tool output found for function call {next(iter(call_ids))}.")


def _raise_unrequested_result(call_id: str, endpoint: str) -> None:
    if endpoint == "chat":
        message = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with"
        raise GatewayError(400, f"{message} 'tool_calls'.")
    raise GatewayError(400, f"No tool call found for function call output with call_id {call_id}.")
