"""Turn a question and its answer into the rows that the history stores."""

from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice
from aiml_cli.api.message_conversion import answer_to_items, exceeds_size, role_and_text, to_items
from aiml_cli.api.messages import Conversation
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import STOPS
from aiml_cli.output.json_output import answer_to_dict
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage

LONGEST_TITLE = 80
NO_OPTIONS = ("model", "messages", "input", "instructions", "stream", "stream_options")
FACTS = (
    "model", "finish_reason", "refusal", "tool_calls", "citations", "files", "timing", "previous_response_id", "error",
)  # fmt: skip
# Of a question that is larger only the beginning of its words is kept.
LARGEST = 16 * 1024 * 1024
BEGINNING = 64 * 1024


def to_new_exchange(question: ChatRequest, said: Conversation, here: str, response_id: str | None) -> NewExchange:
    """Give what is asked of whom; `here` is the place that the user works in."""
    turns = _turns(said)
    last = turns[-1].text if turns else f"response {response_id}"
    title = " ".join((" ".join(question.words) or last)[: LONGEST_TITLE * 4].split())[:LONGEST_TITLE]
    return NewExchange(
        question.previous_turns.id if question.previous_turns else None,
        title or "(no words)",
        here,
        question.system,
        turns,
        question.endpoint.name,
        host_of(question.url),
        question.options.model or "",
        _options(question),
        response_id,
        is_replayed=bool(question.options.replay),
    )


def _turns(said: Conversation) -> list[NewMessage]:
    """Give what is said, or the beginning of its words where it is too large to be kept."""
    words = [role_and_text(turn) for turn in said.messages]
    if exceeds_size(said, LARGEST):
        return [NewMessage(role, text[:BEGINNING], (), {"cut": True}) for role, text in words]
    return [NewMessage(role, text, to_items(turn)) for (role, text), turn in zip(words, said.messages, strict=True)]


def _options(question: ChatRequest) -> dict[str, Any]:
    """Give the request's properties without what is said and who is asked."""
    body = question.endpoint.build_body(Conversation(), question.options)
    return {name: value for name, value in body.items() if name not in NO_OPTIONS}


def to_answer_end(answer: Answer, what: NewExchange, *, is_last: bool = True) -> AnswerEnd:
    """Give how an answer ended; the server has what it was asked for by its id.

    `is_last` is False for one that was not as asked, and that another one follows.
    """
    completion = answer.completion
    told = answer_to_dict(answer)
    more: dict[str, Any] = {} if is_last else {"rejected": True}
    if what.is_replayed:
        more["replayed"] = True  # nothing was paid for it
    if others := [[choice.index, choice.output_text] for choice in completion.choices[1:]]:
        more["others"] = others
    return AnswerEnd(
        _state(answer),
        completion.first.output_text,
        completion.first.reasoning,
        answer_to_items(answer.endpoint, completion),
        told["usage"],
        answer.cost_usd,
        answer.cost_source,
        answer.request_id,
        completion.started.id,
        stored=bool(what.response_id or what.options.get("store")),
        facts={**{name: told[name] for name in FACTS if told[name]}, **more},
    )


def _state(answer: Answer) -> str:
    if answer.completion.is_complete:
        return writer.COMPLETE
    if isinstance(answer.error, STOPS):
        return writer.INTERRUPTED
    has_come = answer.error is None or answer.completion.status or any(map(_has_come, answer.completion.choices))
    return writer.INCOMPLETE if has_come else writer.FAILED


def _has_come(choice: Choice) -> bool:
    return bool(choice.output_text or choice.reasoning or choice.refusal or choice.tool_calls)
