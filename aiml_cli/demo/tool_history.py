"""What the tools of a conversation returned since the last prompt, and whether each result answers a call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from aiml_cli.demo.errors import GatewayError
from aiml_cli.demo.parsed_request import DemoApproval, DemoResult, Json, ToolHistory, join_text, list_attachments

Items = Sequence[Mapping[str, Json]]


def convert_messages(messages: Items) -> list[Mapping[str, Json]]:
    """Convert the messages of the chat endpoint to items of the other one, as far as tools are concerned."""
    return [item for message in messages for item in _convert_message(message)]


def _convert_message(message: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    if message["role"] == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
        return
    yield message
    for call in message.get("tool_calls") or ():
        yield {"type": "function_call", "call_id": call["id"], "name": call["function"]["name"]}


def read_tool_history(items: Items) -> ToolHistory:
    """Return the last prompt, and what followed it: results, answers to approval requests, rounds of calls."""
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
    """True for a message of the user, unless it holds the images or sounds of a result before it."""
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
                _raise_unasked(item["call_id"], endpoint)
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


def _raise_unasked(call_id: str, endpoint: str) -> None:
    if endpoint == "chat":
        message = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with"
        raise GatewayError(400, f"{message} 'tool_calls'.")
    raise GatewayError(400, f"No tool call found for function call output with call_id {call_id}.")
