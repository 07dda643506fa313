"""Answers for the loopback server, and the messages that it received."""

from typing import Any

from support.loopback import Loopback, delta, event, json_response, response_object, stream, text_events


def stream_text(endpoint: str, text: str, finish: str = "stop") -> bytes:
    """Return a stream of a text in pieces of three characters."""
    pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
    if endpoint == "chat":
        return stream(*map(delta, pieces), delta(finish=finish), event("[DONE]"))
    reason = {"incomplete_details": {"reason": "max_output_tokens"}} if finish == "length" else {}
    final = response_object(text, "incomplete" if finish == "length" else "completed", **reason)
    return stream(*text_events(*pieces), event({"type": f"response.{final['status']}", "response": final}))


def build_answer_with_cost(text: str, finish: str, cost: float) -> bytes:
    """Return an answer with its tokens and its price."""
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "chat-1", "model": "m", "choices": [choice], "usage": usage}
    return json_response(body, "200 OK", f"x-aimlapi-usd-spent: {cost}")


def get_last_messages(server: Loopback) -> Any:
    """Return the messages, or the input, of the last request."""
    body = server.requests[-1].json
    return body["messages"] if "messages" in body else body["input"]


def queue_answers(server: Loopback, *answers: bytes) -> None:
    """Answer the next requests with these; the last one serves all that follow."""
    for answer in answers:
        server.answer_with(answer)


def build_json_error(message: str, status: str = "400 Bad Request") -> bytes:
    """Return an error response of the API."""
    return json_response({"error": {"message": message, "type": "invalid_request_error"}}, status)
