"""The wire of `POST /v1/chat/completions`: its question, its JSON, its stream."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from aiml_cli.demo.answers import DemoAnswer, split_tokens
from aiml_cli.demo.exchange import DemoExchange, fake_logprob, sse_event
from aiml_cli.demo.question import DeclaredTool, DemoRequest, Json, content_text, list_attachments


def parse_request(body: Mapping[str, Json]) -> DemoRequest:
    """Read a request that was found valid."""
    messages = body["messages"]
    last = messages[-1]
    return DemoRequest(
        model=body["model"],
        prompt=next((content_text(each["content"]) for each in reversed(messages) if each["role"] == "user"), ""),
        system="\n".join(content_text(each["content"]) for each in messages if each["role"] in {"system", "developer"}),
        turns=len(messages),
        heard=sum(len(content_text(each.get("content"))) for each in messages),
        attachments=tuple(name for each in messages for name in list_attachments(each.get("content"))),
        tools=tuple(
            DeclaredTool(each["function"]["name"], each["function"]["parameters"]) for each in body.get("tools", [])
        ),
        tool_choice=_choice(body.get("tool_choice")),
        result=last["content"] if last["role"] == "tool" else None,
        schema=_schema(body.get("response_format", {})),
        cap=min((int(body[name]) for name in ("max_tokens", "max_completion_tokens") if name in body), default=None),
        choices=body.get("n") or 1,
        logprobs=bool(body.get("logprobs")),
        top_logprobs=int(body.get("top_logprobs") or 0),
    )


def _choice(choice: Json) -> str:
    """Name the function that must be called, or "none"; anything else leaves it open."""
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    return "none" if choice == "none" else ""


def _schema(form: Json) -> Json:
    if form.get("type") == "json_schema":
        return form["json_schema"].get("schema", {})
    return {} if form.get("type") == "json_object" else None


def json_answer(exchange: DemoExchange) -> Json:
    """Write the answer as one JSON object."""
    choices = [_choice_of(exchange, index) for index in range(len(exchange.answers))]
    meta = _meta(exchange)
    return {**_head(exchange, "chat.completion"), "choices": choices, "usage": usage_object(exchange), "meta": meta}


def _head(exchange: DemoExchange, kind: str) -> dict[str, Json]:
    identity = f"chatcmpl-demo-{exchange.identity}"
    return {"id": identity, "object": kind, "created": exchange.created, "model": exchange.question.model}


def _choice_of(exchange: DemoExchange, index: int) -> Json:
    answer = exchange.answers[index]
    return {
        "index": index,
        "message": _message(exchange, index),
        "logprobs": _logprobs(exchange.question, split_tokens(answer.text)),
        "finish_reason": answer.reason,
    }


def _message(exchange: DemoExchange, index: int) -> Json:
    answer = exchange.answers[index]
    message: dict[str, Json] = {
        "role": "assistant",
        "content": None if answer.call or answer.refusal else answer.text,
        "refusal": answer.refusal or None,
        "annotations": [],
    }
    if answer.thoughts:
        message["reasoning_content"] = answer.thoughts
    if answer.call:
        function = {"name": answer.call.name, "arguments": answer.arguments}
        message["tool_calls"] = [{"id": _call_id(exchange, index), "type": "function", "function": function}]
    return message


def _call_id(exchange: DemoExchange, index: int) -> str:
    return f"call_demo_{exchange.identity[:24]}_{index}"


def _logprobs(question: DemoRequest, pieces: list[str]) -> Json:
    if not question.logprobs or not pieces:
        return None
    return {"content": [fake_logprob(piece, question.top_logprobs) for piece in pieces], "refusal": None}


def usage_object(exchange: DemoExchange) -> Json:
    """Count the tokens in chat's words."""
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


def _meta(exchange: DemoExchange) -> Json:
    return {"usage": {"credits_used": exchange.credits, "usd_spent": exchange.usd}}


def stream_answer(exchange: DemoExchange) -> Iterator[bytes]:
    """Write the answer as server-sent events; several choices take turns."""
    counted = bool((exchange.body.get("stream_options") or {}).get("include_usage"))
    # OpenAI's form: every chunk but the last then says that it has no usage.
    head = {**_head(exchange, "chat.completion.chunk"), **({"usage": None} if counted else {})}
    turns = zip_longest(*(_parts(exchange, index) for index in range(len(exchange.answers))))
    for part in (part for turn in turns for part in turn if part is not None):
        yield sse_event({**head, "choices": [part]})
    if counted:
        # The tracing page of the documentation promises `meta` in the last chunk; no schema has it.
        yield sse_event({**head, "choices": [], "usage": usage_object(exchange), "meta": _meta(exchange)})
    yield b"data: [DONE]\n\n"


def _parts(exchange: DemoExchange, index: int) -> Iterator[Json]:
    """Give one choice piece by piece, the last one with its reason."""
    answer = exchange.answers[index]
    for delta in _deltas(answer, _call_id(exchange, index)):
        logprobs = _logprobs(exchange.question, [delta["content"]] if delta.get("content") else [])
        yield {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
    yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": answer.reason}


def _deltas(answer: DemoAnswer, call_id: str) -> Iterator[dict[str, Json]]:
    yield {"role": "assistant", "content": None if answer.call or answer.refusal else ""}
    yield from ({"reasoning_content": piece} for piece in split_tokens(answer.thoughts))
    yield from ({"content": piece} for piece in split_tokens(answer.text))
    yield from ({"refusal": piece} for piece in split_tokens(answer.refusal))
    if answer.call:
        function = {"name": answer.call.name, "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]}
    for piece in split_tokens(answer.arguments):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def failed_answer(_exchange: DemoExchange) -> Json:
    """Write an answer that failed under status 200."""
    return {"error": _FAILURE}


def failure_event(_number: int) -> bytes:
    """Write the event of a failure in mid-stream."""
    return sse_event({"error": _FAILURE})


_FAILURE = {
    "message": "The provider failed while answering, because demo/error was asked",
    "type": "server_error",
    "param": None,
    "code": "demo_error",
}
