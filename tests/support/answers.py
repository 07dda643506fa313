"""Answers that the loopback server gives, and what it was asked."""

from typing import Any

from support.loopback import Loopback, as_json, delta, event, response, spoken, stream


def stream_text(endpoint: str, text: str, finish: str = "stop") -> bytes:
    """Make a stream that says a text in pieces of three characters."""
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    if endpoint == "chat":
        return stream(*map(delta, pieces), delta(finish=finish), event("[DONE]"))
    reason = {"incomplete_details": {"reason": "max_output_tokens"}} if finish == "length" else {}
    ended = response(text, "incomplete" if finish == "length" else "completed", **reason)
    return stream(*spoken(*pieces), event({"type": f"response.{ended['status']}", "response": ended}))


def priced_answer(text: str, finish: str, cost: float) -> bytes:
    """Make an answer that tells its tokens and its price."""
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "chat-1", "model": "m", "choices": [choice], "usage": usage}
    return as_json(body, "200 OK", f"x-aimlapi-usd-spent: {cost}")


def last_messages(server: Loopback) -> Any:
    """Give what the last request said: messages, or input."""
    body = server.requests[-1].json
    return body["messages"] if "messages" in body else body["input"]


def answer_in_turn(server: Loopback, *found: bytes) -> None:
    """Answer the next requests with these, the last one for all that follow."""
    server.scripts = [*server.scripts, *([each] for each in found)]


def refusal(words: str, status: str = "400 Bad Request") -> bytes:
    return as_json({"error": {"message": words, "type": "invalid_request_error"}}, status)
