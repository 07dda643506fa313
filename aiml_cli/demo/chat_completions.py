"""The chat endpoint `POST /v1/chat/completions`: its request, its JSON answer and its stream."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from aiml_cli.demo.answers import DemoAnswer, split_tokens
from aiml_cli.demo.exchange import DemoExchange, fake_logprob, format_sse_event
from aiml_cli.demo.parsed_request import (
    DemoRequest,
    DemoTool,
    Json,
    join_text,
    list_attachments,
    parse_choice,
    parse_schema,
)
from aiml_cli.demo.tool_calls import convert_messages, read_tool_history

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
_FAILURE = {
    "message": "The provider failed while answering, because demo/error was asked",
    "type": "server_error",
    "param": None,
    "code": "demo_error",
}


def parse_request(body: Mapping[str, Json]) -> DemoRequest:
    """Parse the body of a valid request."""
    messages, last = body["messages"], body["messages"][-1]
    history = read_tool_history(convert_messages(messages))
    systems = [message for message in messages if message["role"] in {"system", "developer"}]
    functions = [tool["function"] for tool in body.get("tools", [])]
    return DemoRequest(
        model=body["model"],
        prompt=history.prompt,
        system="\n".join(join_text(message["content"]) for message in systems),
        message_count=len(messages),
        input_chars=sum(len(join_text(message.get("content"))) for message in messages),
        attachments=tuple(name for message in messages for name in list_attachments(message.get("content"))),
        tools=tuple(DemoTool(function["name"], function["parameters"]) for function in functions),
        tool_choice=parse_choice(body.get("tool_choice"), "function"),
        tool_result=last["content"] if last["role"] == "tool" else None,
        schema=parse_schema(body.get("response_format", {}), "json_schema"),
        max_tokens=min((int(body[key]) for key in _TOKEN_LIMITS if key in body), default=None),
        choice_count=body.get("n") or 1,
        logprobs=bool(body.get("logprobs")),
        top_logprobs=int(body.get("top_logprobs") or 0),
        is_parallel=body.get("parallel_tool_calls") is not False,
        has_effort=body.get("reasoning_effort") not in (None, "none"),
        history=history,
    )


def build_answer(exchange: DemoExchange) -> Json:
    """Return the answer as one JSON object."""
    choices = [_build_choice(exchange, index) for index in range(len(exchange.answers))]
    usage, meta = _build_usage(exchange), _build_meta(exchange)
    return {**_build_head(exchange, "chat.completion"), "choices": choices, "usage": usage, "meta": meta}


def _build_head(exchange: DemoExchange, object_name: str) -> dict[str, Json]:
    chat_id = f"chatcmpl-demo-{exchange.unique_id}"
    return {"id": chat_id, "object": object_name, "created": exchange.created, "model": exchange.request.model}


def _build_choice(exchange: DemoExchange, index: int) -> Json:
    answer = exchange.answers[index]
    return {
        "index": index,
        "message": _build_message(exchange, index),
        "logprobs": _build_logprobs(exchange.request, split_tokens(answer.text)),
        "finish_reason": answer.finish_reason,
    }


def _build_message(exchange: DemoExchange, index: int) -> Json:
    answer = exchange.answers[index]
    message: dict[str, Json] = {
        "role": "assistant",
        "content": answer.text or None if answer.calls or answer.refusal else answer.text,
        "refusal": answer.refusal or None,
        "annotations": [],
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call_id, call in zip(_make_call_ids(exchange, index), answer.calls, strict=True)
        ]
    return message


def _make_call_ids(exchange: DemoExchange, index: int) -> list[str]:
    """Return an id for each call of a choice."""
    count = len(exchange.answers[index].calls)
    return [f"call_demo_{exchange.unique_id[:24]}_{index}_{number}" for number in range(count)]


def _build_logprobs(request: DemoRequest, tokens: list[str]) -> Json:
    if not request.logprobs or not tokens:
        return None
    return {"content": [fake_logprob(token, request.top_logprobs) for token in tokens], "refusal": None}


def _build_usage(exchange: DemoExchange) -> Json:
    return {
        "prompt_tokens": exchange.input_tokens,
        "completion_tokens": exchange.output_tokens,
        "total_tokens": exchange.input_tokens + exchange.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": exchange.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _build_meta(exchange: DemoExchange) -> Json:
    return {"usage": {"credits_used": exchange.credits, "usd_spent": exchange.usd}}


def stream_answer(exchange: DemoExchange) -> Iterator[bytes]:
    """Yield the answer as server-sent events; the chunks of several choices alternate."""
    has_usage = bool((exchange.body.get("stream_options") or {}).get("include_usage"))
    # Like OpenAI: with usage in the last chunk, usage is null in all others.
    head = {**_build_head(exchange, "chat.completion.chunk"), **({"usage": None} if has_usage else {})}
    rounds = zip_longest(*(_stream_choice(exchange, index) for index in range(len(exchange.answers))))
    for choice in (choice for choices in rounds for choice in choices if choice is not None):
        yield format_sse_event({**head, "choices": [choice]})
    if has_usage:
        # The tracing page of the documentation promises `meta` in the last chunk; no schema contains it.
        yield format_sse_event({**head, "choices": [], "usage": _build_usage(exchange), "meta": _build_meta(exchange)})
    yield b"data: [DONE]\n\n"


def _stream_choice(exchange: DemoExchange, index: int) -> Iterator[Json]:
    """Yield the deltas of one choice; the last one is empty and has the finish reason."""
    answer = exchange.answers[index]
    for delta in _split_into_deltas(answer, _make_call_ids(exchange, index)):
        logprobs = _build_logprobs(exchange.request, [delta["content"]] if delta.get("content") else [])
        yield {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
    yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": answer.finish_reason}


def _split_into_deltas(answer: DemoAnswer, call_ids: Sequence[str]) -> Iterator[dict[str, Json]]:
    yield {"role": "assistant", "content": None if (answer.calls and not answer.text) or answer.refusal else ""}
    yield from ({"reasoning_content": token} for token in split_tokens(answer.reasoning))
    yield from ({"content": token} for token in split_tokens(answer.text))
    yield from ({"refusal": token} for token in split_tokens(answer.refusal))
    for index, (call_id, call) in enumerate(zip(call_ids, answer.calls, strict=True)):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}
        for token in split_tokens(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": token}}]}


def build_failure(_exchange: DemoExchange) -> Json:
    """Return an answer that failed with status 200."""
    return {"error": _FAILURE}


def format_failure(_number: int) -> bytes:
    """Return the event of a failure in the middle of a stream."""
    return format_sse_event({"error": _FAILURE})
