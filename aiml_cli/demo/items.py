"""The output items of a Responses answer, and the events in which each is streamed."""

from collections.abc import Iterator, Mapping

from aiml_cli.demo.answers import Answer, tokens
from aiml_cli.demo.exchange import Exchange, logprob
from aiml_cli.demo.question import Json, Question

Named = tuple[str, dict[str, Json]]

# What an item lacks while it is being streamed.
_HOLLOW: Mapping[str, Mapping[str, Json]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


def items_of(exchange: Exchange) -> list[Json]:
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


def _call(answer: Answer, identity: str) -> Json:
    return {
        "id": f"fc_demo_{identity}",
        "type": "function_call",
        "status": "incomplete" if answer.reason == "length" else "completed",
        "call_id": f"call_demo_{identity[:24]}_0",
        "name": answer.call.name if answer.call else "",
        "arguments": answer.arguments,
    }


def _message(answer: Answer, question: Question, identity: str) -> Json:
    part = {"type": "refusal", "refusal": answer.refusal} if answer.refusal else _text(answer.text, question)
    status = "completed" if answer.reason == "stop" else "incomplete"
    return {
        "id": f"msg_demo_{identity}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


def _text(text: str, question: Question) -> Json:
    logprobs = [logprob(piece, question.top_logprobs) for piece in tokens(text)] if question.logprobs else []
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def events_of(item: Mapping[str, Json], index: int) -> Iterator[Named]:
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
        for piece in tokens(part["text"]):
            yield "response.reasoning_summary_text.delta", {**here, "delta": piece}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}


def _call_events(item: Mapping[str, Json], place: Mapping[str, Json]) -> Iterator[Named]:
    for piece in tokens(item["arguments"]):
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
    for piece in tokens(part["refusal"]):
        yield "response.refusal.delta", {**here, "delta": piece}
    yield "response.refusal.done", {**here, "refusal": part["refusal"]}


def _text_events(part: Mapping[str, Json], here: Mapping[str, Json]) -> Iterator[Named]:
    for number, piece in enumerate(tokens(part["text"])):
        logprobs = part["logprobs"][number : number + 1]
        yield "response.output_text.delta", {**here, "delta": piece, "logprobs": logprobs}
    yield "response.output_text.done", {**here, "text": part["text"], "logprobs": part["logprobs"]}
