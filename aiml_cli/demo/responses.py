"""The endpoint `POST /v1/responses`: its request, its JSON answer and its stream of events."""

from collections.abc import Iterator, Mapping

from aiml_cli.demo.answers import DemoAnswer, split_tokens
from aiml_cli.demo.exchange import DemoExchange, fake_logprob, format_sse_event
from aiml_cli.demo.parsed_request import (
    DemoRequest,
    DemoServer,
    DemoTool,
    HostedCall,
    Json,
    join_text,
    list_attachments,
    parse_choice,
    parse_schema,
)
from aiml_cli.demo.tool_calls import read_tool_history

NamedEvent = tuple[str, dict[str, Json]]
# The properties that are empty when the stream of an item begins.
_EMPTY_PROPERTIES: Json = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}
_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The request properties that the response repeats, with their defaults.
_REPEATED_DEFAULTS: Mapping[str, Json] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
_FAILURE = {
    "code": "demo_error",
    "message": "The provider failed while answering, because demo/error was asked",
    "param": None,
}


def _list_items(exchange: DemoExchange) -> list[Json]:
    answer, unique_id = exchange.answers[0], exchange.unique_id
    items: list[Json] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        items.append({"id": f"rs_demo_{unique_id}", "type": "reasoning", "summary": summary, "status": "completed"})
    hosted = [_build_hosted_call(call, f"{unique_id}_{number}") for number, call in enumerate(answer.hosted_calls)]
    items += [item for item in hosted if item["type"] == "mcp_call"]  # calls that ran come before the text about them
    if answer.text or answer.refusal:
        items.append(_build_message(answer, exchange.request, unique_id))
    items += [_build_call(answer, number, unique_id) for number in range(len(answer.calls))]
    return items + [item for item in hosted if item["type"] != "mcp_call"]


def _build_call(answer: DemoAnswer, number: int, unique_id: str) -> Json:
    return {
        "id": f"fc_demo_{unique_id}_{number}",
        "type": "function_call",
        "status": "incomplete" if answer.finish_reason == "length" else "completed",
        "call_id": f"call_demo_{unique_id[:24]}_{number}",
        **answer.calls[number]._asdict(),
    }


def _build_hosted_call(call: HostedCall, unique_id: str) -> Json:
    """Build a call of a server-side tool or, if it waits for approval, the approval request."""
    shared = {"server_label": call.label, "name": call.name, "arguments": call.arguments}
    if call.output is None:
        return {"id": f"mcpr_demo_{unique_id}", "type": "mcp_approval_request", **shared}
    result = {"approval_request_id": call.request_id or None, "output": call.output, "error": None}
    return {"id": f"mcp_demo_{unique_id}", "type": "mcp_call", **shared, **result}


def _build_message(answer: DemoAnswer, request: DemoRequest, unique_id: str) -> Json:
    refusal = {"type": "refusal", "refusal": answer.refusal}
    return {
        "id": f"msg_demo_{unique_id}",
        "type": "message",
        "role": "assistant",
        "status": "incomplete" if answer.finish_reason in _INCOMPLETE_REASONS else "completed",
        "content": [refusal if answer.refusal else _build_text(answer.text, request)],
    }


def _build_text(text: str, request: DemoRequest) -> Json:
    tokens = split_tokens(text) if request.logprobs else []
    logprobs = [fake_logprob(token, request.top_logprobs) for token in tokens]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _stream_item(item: Mapping[str, Json], index: int) -> Iterator[NamedEvent]:
    """Yield the events of one item, which is added empty, filled token by token, and done."""
    position = {"item_id": item["id"], "output_index": index}
    status = {"status": "in_progress"} if "status" in item else {}
    added = {**item, **status, **_EMPTY_PROPERTIES.get(item["type"], {})}
    yield "response.output_item.added", {"output_index": index, "item": added}
    match item["type"]:
        case "reasoning":
            yield from _stream_summary(item, position)
        case "function_call":
            yield from _stream_tokens("response.function_call_arguments", "arguments", item, position)
        case "message":
            yield from _stream_message(item, position)
    yield "response.output_item.done", {"output_index": index, "item": item}


def _stream_summary(item: Mapping[str, Json], position: Mapping[str, Json]) -> Iterator[NamedEvent]:
    for index, part in enumerate(item["summary"]):
        here = {**position, "summary_index": index}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        yield from _stream_tokens("response.reasoning_summary_text", "text", part, here)
        yield "response.reasoning_summary_part.done", {**here, "part": part}


def _stream_message(item: Mapping[str, Json], position: Mapping[str, Json]) -> Iterator[NamedEvent]:
    for index, part in enumerate(item["content"]):
        here = {**position, "content_index": index}
        is_refusal = part["type"] == "refusal"
        empty = {**part, "refusal": ""} if is_refusal else {**part, "text": "", "logprobs": []}
        yield "response.content_part.added", {**here, "part": empty}
        yield from _stream_tokens("response.refusal", "refusal", part, here) if is_refusal else _stream_text(part, here)
        yield "response.content_part.done", {**here, "part": part}


def _stream_tokens(
    event: str, key: str, source: Mapping[str, Json], position: Mapping[str, Json]
) -> Iterator[NamedEvent]:
    """Yield the deltas of `source[key]`, then the complete text."""
    for token in split_tokens(source[key]):
        yield f"{event}.delta", {**position, "delta": token}
    yield f"{event}.done", {**position, key: source[key]}


def _stream_text(part: Mapping[str, Json], position: Mapping[str, Json]) -> Iterator[NamedEvent]:
    for number, token in enumerate(split_tokens(part["text"])):
        logprobs = part["logprobs"][number : number + 1]
        yield "response.output_text.delta", {**position, "delta": token, "logprobs": logprobs}
    yield "response.output_text.done", {**position, "text": part["text"], "logprobs": part["logprobs"]}


def parse_request(body: Mapping[str, Json]) -> DemoRequest:
    """Parse the body of a valid request."""
    items, instructions = list_items(body), body.get("instructions") or ""
    messages = [item for item in items if "role" in item]
    systems = [message for message in messages if message["role"] in {"system", "developer"}]
    functions = [tool for tool in body.get("tools", []) if tool["type"] == "function"]
    servers = [tool for tool in body.get("tools", []) if tool["type"] == "mcp"]
    history = read_tool_history(items)
    return DemoRequest(
        model=body["model"],
        prompt=history.prompt,
        system="\n".join([instructions, *(join_text(message["content"]) for message in systems)]).strip(),
        message_count=len(items),
        input_chars=sum(len(join_text(message["content"])) for message in messages) + len(instructions),
        attachments=tuple(name for message in messages for name in list_attachments(message["content"])),
        tools=tuple(DemoTool(function["name"], function["parameters"]) for function in functions),
        tool_choice=parse_choice(body.get("tool_choice")),
        tool_result=items[-1]["output"] if items[-1].get("type") == "function_call_output" else None,
        schema=parse_schema(body.get("text", {}).get("format", {})),
        max_tokens=int(body["max_output_tokens"]) if body.get("max_output_tokens") is not None else None,
        logprobs="message.output_text.logprobs" in (body.get("include") or ()),
        is_parallel=body.get("parallel_tool_calls") is not False,
        has_effort=(body.get("reasoning") or {}).get("effort") not in (None, "none"),
        servers=tuple(_parse_server(server) for server in servers),
        history=history,
    )


def list_items(body: Mapping[str, Json]) -> list[Json]:
    """Return the input of a request as items."""
    value = body["input"]
    return [{"role": "user", "content": value}] if isinstance(value, str) else [*value]


def list_input_items(body: Mapping[str, Json], unique_id: str) -> list[Json]:
    """Return the input of a request as the API lists it: each item with an id, each text as a part."""
    return [_complete_item(item, f"{unique_id}_{number}") for number, item in enumerate(list_items(body))]


def _complete_item(item: Mapping[str, Json], unique_id: str) -> Json:
    item_type, content = item.get("type", "message"), item.get("content")
    if isinstance(content, str):
        part_type = "output_text" if item.get("role") == "assistant" else "input_text"
        item = {**item, "content": [{"type": part_type, "text": content}]}
    return {"id": f"{'msg' if item_type == 'message' else 'item'}_demo_{unique_id}", "type": item_type, **item}


def _parse_server(tool: Mapping[str, Json]) -> DemoServer:
    """Parse a hosted MCP server; its calls need approval unless the request says otherwise."""
    allowed = tool.get("allowed_tools") or ()
    names = allowed.get("tool_names") or () if isinstance(allowed, dict) else allowed
    name, approval = str(next(iter(names), "lookup")), tool.get("require_approval", "always")
    never = approval.get("never") or {} if isinstance(approval, dict) else {}
    is_free = approval == "never" or name in (never.get("tool_names") or ())
    return DemoServer(tool["server_label"], name, not is_free)


def build_answer(exchange: DemoExchange) -> Json:
    """Return the answer as one JSON object."""
    answer = exchange.answers[0]
    reason = _INCOMPLETE_REASONS.get(answer.finish_reason)
    return {
        **build_response(exchange, "incomplete" if reason else "completed"),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _list_items(exchange),
        # The specification describes it as a convenience of the SDK; the sample in the documentation contains it.
        "output_text": answer.text,
        "usage": _build_usage(exchange),
    }


def build_failure(exchange: DemoExchange) -> Json:
    """Return an answer that failed with status 200."""
    error = {"code": _FAILURE["code"], "message": _FAILURE["message"]}
    return {**build_response(exchange, "failed"), "error": error}


def build_response(exchange: DemoExchange, status: str) -> dict[str, Json]:
    """Return a response with this status and no output yet."""
    repeated = ((name, exchange.body.get(name), default) for name, default in _REPEATED_DEFAULTS.items())
    return {
        "id": f"resp_demo_{exchange.unique_id}",
        "object": "response",
        "created_at": exchange.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": exchange.request.model,
        "output": [],
        "usage": None,
        "metadata": {},
        "service_tier": "default",
        **{name: default if value is None else value for name, value, default in repeated},
    }


def _build_usage(exchange: DemoExchange) -> Json:
    return {
        "input_tokens": exchange.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": exchange.output_tokens,
        "output_tokens_details": {"reasoning_tokens": exchange.reasoning_tokens},
        "total_tokens": exchange.input_tokens + exchange.output_tokens,
    }


def stream_answer(exchange: DemoExchange) -> Iterator[bytes]:
    """Yield the answer as server-sent events, each with its name, its type and its number."""
    for number, (name, fields) in enumerate(_list_events(exchange)):
        yield format_sse_event({"type": name, "sequence_number": number, **fields}, name)


def _list_events(exchange: DemoExchange) -> Iterator[NamedEvent]:
    started = build_response(exchange, "in_progress")
    yield "response.created", {"response": started}
    yield "response.in_progress", {"response": started}
    for index, item in enumerate(_list_items(exchange)):
        yield from _stream_item(item, index)
    done = build_answer(exchange)
    yield f"response.{done['status']}", {"response": done}


def format_failure(number: int) -> bytes:
    """Return the event of a failure in the middle of a stream; `number` is its place in the stream."""
    return format_sse_event({"type": "error", "sequence_number": number, **_FAILURE}, "error")
