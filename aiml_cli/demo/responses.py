"""The output items of a Responses answer, and the events in which each is streamed."""

from collections.abc import Iterator, Mapping

from aiml_cli.demo.answers import DemoAnswer, split_tokens
from aiml_cli.demo.exchange import DemoExchange, fake_logprob, sse_event
from aiml_cli.demo.question import DeclaredTool, DemoRequest, Json, content_text, list_attachments

Named = tuple[str, dict[str, Json]]
# What an item lacks while it is being streamed.
_HOLLOW: Mapping[str, Mapping[str, Json]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What the response repeats of the request, with what the gateway puts where nothing was asked.
_ECHOES: Mapping[str, Json] = {
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


def output_items(exchange: DemoExchange) -> list[Json]:
    """List the items of the answer: what was thought, then what was said or called."""
    answer, identity = exchange.answers[0], exchange.identity
    listed: list[Json] = []
    if answer.thoughts:
        summary = [{"type": "summary_text", "text": answer.thoughts}]
        listed.append({"id": f"rs_demo_{identity}", "type": "reasoning", "summary": summary, "status": "completed"})
    if answer.call:
        listed.append(_call(answer, identity))
    elif answer.text or answer.refusal:
        listed.append(_message(answer, exchange.question, identity))
    return listed


def _call(answer: DemoAnswer, identity: str) -> Json:
    return {
        "id": f"fc_demo_{identity}",
        "type": "function_call",
        "status": "incomplete" if answer.reason == "length" else "completed",
        "call_id": f"call_demo_{identity[:24]}_0",
        "name": answer.call.name if answer.call else "",
        "arguments": answer.arguments,
    }


def _message(answer: DemoAnswer, question: DemoRequest, identity: str) -> Json:
    part = {"type": "refusal", "refusal": answer.refusal} if answer.refusal else _text(answer.text, question)
    status = "completed" if answer.reason == "stop" else "incomplete"
    return {
        "id": f"msg_demo_{identity}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


def _text(text: str, question: DemoRequest) -> Json:
    logprobs = [fake_logprob(piece, question.top_logprobs) for piece in split_tokens(text)] if question.logprobs else []
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def item_events(item: Mapping[str, Json], index: int) -> Iterator[Named]:
    """Stream one finished item: added empty, filled piece by piece, done."""
    place = {"item_id": item["id"], "output_index": index}
    added = {**item, "status": "in_progress", **_HOLLOW[item["type"]]}
    yield "response.output_item.added", {"output_index": index, "item": added}
    match item["type"]:
        case "reasoning":
            yield from _summary_events(item, place)
        case "function_call":
            yield from _call_events(item, place)
        case _:
            yield from _message_events(item, place)
    yield "response.output_item.done", {"output_index": index, "item": item}


def _summary_events(item: Mapping[str, Json], place: Mapping[str, Json]) -> Iterator[Named]:
    for index, part in enumerate(item["summary"]):
        here = {**place, "summary_index": index}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        for piece in split_tokens(part["text"]):
            yield "response.reasoning_summary_text.delta", {**here, "delta": piece}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}


def _call_events(item: Mapping[str, Json], place: Mapping[str, Json]) -> Iterator[Named]:
    for piece in split_tokens(item["arguments"]):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}


def _message_events(item: Mapping[str, Json], place: Mapping[str, Json]) -> Iterator[Named]:
    for index, part in enumerate(item["content"]):
        here = {**place, "content_index": index}
        refused = part["type"] == "refusal"
        empty = {**part, "refusal": ""} if refused else {**part, "text": "", "logprobs": []}
        yield "response.content_part.added", {**here, "part": empty}
        yield from _refusal_events(part, here) if refused else _text_events(part, here)
        yield "response.content_part.done", {**here, "part": part}


def _refusal_events(part: Mapping[str, Json], here: Mapping[str, Json]) -> Iterator[Named]:
    for piece in split_tokens(part["refusal"]):
        yield "response.refusal.delta", {**here, "delta": piece}
    yield "response.refusal.done", {**here, "refusal": part["refusal"]}


def _text_events(part: Mapping[str, Json], here: Mapping[str, Json]) -> Iterator[Named]:
    for number, piece in enumerate(split_tokens(part["text"])):
        logprobs = part["logprobs"][number : number + 1]
        yield "response.output_text.delta", {**here, "delta": piece, "logprobs": logprobs}
    yield "response.output_text.done", {**here, "text": part["text"], "logprobs": part["logprobs"]}


def parse_request(body: Mapping[str, Json]) -> DemoRequest:
    """Read a request that was found valid."""
    spoken = body["input"]
    items = [{"role": "user", "content": spoken}] if isinstance(spoken, str) else spoken
    said = [each for each in items if "role" in each]
    systems = [each for each in said if each["role"] in {"system", "developer"}]
    system = "\n".join([body.get("instructions") or "", *(content_text(each["content"]) for each in systems)]).strip()
    last = items[-1]
    return DemoRequest(
        model=body["model"],
        prompt=next((content_text(each["content"]) for each in reversed(said) if each["role"] == "user"), ""),
        system=system,
        turns=len(items),
        heard=sum(len(content_text(each["content"])) for each in said) + len(body.get("instructions") or ""),
        attachments=tuple(name for each in said for name in list_attachments(each["content"])),
        tools=tuple(DeclaredTool(each["name"], each["parameters"]) for each in _functions(body)),
        tool_choice=_choice(body.get("tool_choice")),
        result=last["output"] if last.get("type") == "function_call_output" else None,
        schema=_schema(body.get("text", {}).get("format", {})),
        cap=body.get("max_output_tokens"),
        logprobs="message.output_text.logprobs" in (body.get("include") or ()),
    )


def _functions(body: Mapping[str, Json]) -> list[Json]:
    return [tool for tool in body.get("tools", []) if tool["type"] == "function"]


def _choice(choice: Json) -> str:
    """Name the function that must be called, or "none"; anything else leaves it open."""
    if isinstance(choice, dict):
        return str(choice.get("name", ""))
    return "none" if choice == "none" else ""


def _schema(form: Json) -> Json:
    if form.get("type") == "json_schema":
        return form["schema"]
    return {} if form.get("type") == "json_object" else None


def json_answer(exchange: DemoExchange) -> Json:
    """Write the answer as one JSON object."""
    answer = exchange.answers[0]
    reason = _REASONS.get(answer.reason)
    return {
        **_head(exchange, "incomplete" if reason else "completed"),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output_items(exchange),
        # The specification calls it a convenience of the SDK, the sample of the documentation has it filled.
        "output_text": answer.text,
        "usage": usage_object(exchange),
    }


def queued_response(exchange: DemoExchange) -> Json:
    """Write what a request with `background` is answered at once."""
    return _head(exchange, "queued")


def working_response(exchange: DemoExchange) -> Json:
    """Write a response that is being answered in the background."""
    return _head(exchange, "in_progress")


def failed_answer(exchange: DemoExchange) -> Json:
    """Write an answer that failed under status 200."""
    return {**_head(exchange, "failed"), "error": {"code": _FAILURE["code"], "message": _FAILURE["message"]}}


def _head(exchange: DemoExchange, status: str) -> dict[str, Json]:
    """Write a response that has no output yet."""
    body = exchange.body
    return {
        "id": f"resp_demo_{exchange.identity}",
        "object": "response",
        "created_at": exchange.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": exchange.question.model,
        "output": [],
        "usage": None,
        "metadata": {},
        "service_tier": "default",
        **{name: default if body.get(name) is None else body[name] for name, default in _ECHOES.items()},
    }


def usage_object(exchange: DemoExchange) -> Json:
    """Count the tokens in the words of this endpoint."""
    return {
        "input_tokens": exchange.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": exchange.output_tokens,
        "output_tokens_details": {"reasoning_tokens": exchange.reasoning_tokens},
        "total_tokens": exchange.input_tokens + exchange.output_tokens,
    }


def stream_answer(exchange: DemoExchange) -> Iterator[bytes]:
    """Write the answer as server-sent events, each with its name, its type and its number."""
    for number, (name, fields) in enumerate(_events(exchange)):
        yield sse_event({"type": name, "sequence_number": number, **fields}, name)


def _events(exchange: DemoExchange) -> Iterator[Named]:
    started = _head(exchange, "in_progress")
    yield "response.created", {"response": started}
    yield "response.in_progress", {"response": started}
    for index, item in enumerate(output_items(exchange)):
        yield from item_events(item, index)
    done = json_answer(exchange)
    yield f"response.{done['status']}", {"response": done}


def failure_event(number: int) -> bytes:
    """Write the event of a failure in mid-stream, the `number`th of its stream."""
    return sse_event({"type": "error", "sequence_number": number, **_FAILURE}, "error")
