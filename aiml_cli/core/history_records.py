"""Turn a request and its answer into the rows that the history stores."""

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice
from aiml_cli.api.message_conversion import answer_to_items, get_role_and_text, is_longer_than, to_raw_items
from aiml_cli.api.messages import Conversation
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import STOP_ERRORS
from aiml_cli.output.json_output import answer_to_dict
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage

MAX_TITLE_LENGTH = 80
NOT_STORED = ("model", "messages", "input", "instructions", "stream", "stream_options")
FACTS = (
    "model", "finish_reason", "refusal", "tool_calls", "citations", "files", "timing", "previous_response_id", "error",
)  # fmt: skip
# Of larger messages only the first characters are stored.
MAX_MESSAGES_SIZE = 16 * 1024 * 1024
CUT_TEXT_LENGTH = 64 * 1024


def to_new_exchange(
    request: ChatRequest, conversation: Conversation, session: str, response_id: str | None
) -> NewExchange:
    """Return the row of a request; `session` names the terminal session."""
    messages = _to_messages(conversation)
    text = " ".join(request.words) or (messages[-1].text if messages else f"response {response_id}")
    title = " ".join(text[: MAX_TITLE_LENGTH * 4].split())[:MAX_TITLE_LENGTH]
    body = request.endpoint.build_body(Conversation(), request.options)
    return NewExchange(
        request.previous_turns.id if request.previous_turns else None,
        title or "(no words)",
        session,
        request.system,
        messages,
        request.endpoint.name,
        host_of(request.url),
        request.options.model or "",
        {name: value for name, value in body.items() if name not in NOT_STORED},
        response_id,
        is_replayed=bool(request.options.replay),
    )


def _to_messages(conversation: Conversation) -> list[NewMessage]:
    texts = [get_role_and_text(message) for message in conversation.messages]
    if is_longer_than(conversation, MAX_MESSAGES_SIZE):
        return [NewMessage(role, text[:CUT_TEXT_LENGTH], (), {"cut": True}) for role, text in texts]
    items = map(to_raw_items, conversation.messages)
    return [NewMessage(role, text, item) for (role, text), item in zip(texts, items, strict=True)]


def to_answer_end(answer: Answer, exchange: NewExchange, *, is_last: bool = True) -> AnswerEnd:
    """Return the row of an answer; `is_last` is False if it was rejected and another one follows."""
    completion, data = answer.completion, answer_to_dict(answer)
    facts = {name: data[name] for name in FACTS if data[name]}
    if not is_last:
        facts["rejected"] = True
    if exchange.is_replayed:
        facts["replayed"] = True  # nothing was paid for it
    if others := [[choice.index, choice.output_text] for choice in completion.choices[1:]]:
        facts["others"] = others
    return AnswerEnd(
        _state_of(answer),
        completion.first.output_text,
        completion.first.reasoning,
        answer_to_items(answer.endpoint, completion),
        data["usage"],
        answer.cost_usd,
        answer.cost_source,
        answer.request_id,
        completion.started.id,
        stored=bool(exchange.response_id or exchange.options.get("store")),
        facts=facts,
    )


def _state_of(answer: Answer) -> str:
    if answer.completion.is_complete:
        return writer.COMPLETE
    if isinstance(answer.error, STOP_ERRORS):
        return writer.INTERRUPTED
    has_output = answer.error is None or answer.completion.status or any(map(_has_output, answer.completion.choices))
    return writer.INCOMPLETE if has_output else writer.FAILED


def _has_output(choice: Choice) -> bool:
    return bool(choice.output_text or choice.reasoning or choice.refusal or choice.tool_calls)
