"""Continue a conversation or an incomplete answer: find it, and decide how its turns are sent again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from aiml_cli.api.answer import can_continue
from aiml_cli.api.messages import Conversation, HistoryMode, RawMessage
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.history_journal import session_name
from aiml_cli.core.previous_turns import CONTINUE_PROMPT, CUT_MARK, PreviousTurns, find_turn_starts
from aiml_cli.core.send_with_retries import TurnContext
from aiml_cli.errors import IncompleteAnswer, RequestRejected, UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import database, edits, find_conversations, reader, writer
from aiml_cli.store.history.find_conversations import StoredConversation
from aiml_cli.store.history.reader import StoredMessage


def load_previous_turns(request: ChatRequest, environ: Mapping[str, str]) -> ChatRequest:
    """Return the request with the turns and the model of its conversation; one set for this call takes precedence.

    Lock the conversation for this process. Raises UsageError if it does not exist or another process has locked it.
    """
    history = database.open_existing()
    if history is None:
        raise UsageError("there is no conversation to continue: the history is empty")
    if history.damaged_copy:
        request.notify(f"the history was damaged; it was moved to {history.damaged_copy}, and a new one was started")
    with closing(history), database.translate_errors(history.path):
        conversation = _find_conversation(history, request.options, session_name(environ))
        writer.recover_interrupted(history)
        messages = reader.read_messages(history, conversation.id)
        if not request.options.fork or any(message.state == writer.STREAMING for message in messages):
            writer.acquire_conversation(history, conversation.id)  # raises an error with the reason
            messages = reader.read_messages(history, conversation.id)
    age, is_copied = reader.format_age(conversation.changed), bool(request.options.fork)
    what = f"a copy of {conversation.name}" if is_copied else conversation.name
    request.notify(f"continuing {what}, “{conversation.title}”, {age} old")
    previous = _build_previous_turns(conversation, messages, request)
    if is_copied and messages:
        previous = replace(previous, copied_until=messages[-1].id)
    if unsupported := previous.list_unsupported_items(request.endpoint.name):
        request.notify(f"{request.endpoint.name} does not support everything in it; left out: {', '.join(unsupported)}")
    return replace(request, previous_turns=previous, settings=_use_last_model(request.settings, messages))


def copy_turns(previous: PreviousTurns) -> PreviousTurns:
    """Copy the conversation of previous turns now, and return the turns of the copy; raise errors of the history."""
    with closing(database.open_history()) as history, database.translate_errors(history.path):
        copy, new_ids = edits.copy_conversation(history, previous.id or 0, until=previous.copied_until)
    return replace(previous, id=copy.id, older_until=new_ids.get(previous.older_until, 0), copied_until=0)


def send_with_history(context: TurnContext) -> None:
    """Send a request, and send it in another way if the server no longer has what it refers to."""
    previous, history = context.request.previous_turns, HistoryMode.BY_ID
    while True:
        try:
            context.send(context.build_body(history=history))
        except RequestRejected as error:
            reason = previous.retry_reason(error, context.request.endpoint.name, history) if previous else ""
            if not reason:
                raise
            context.request.notify(reason)
            was_sent_by_id = history == HistoryMode.BY_ID and previous and previous.response_id
            history = HistoryMode.FULL if was_sent_by_id else HistoryMode.WITHOUT_REASONING
            context.sender.start_next_answer()
        else:
            return


def ask_to_continue(conversation: Conversation, text: str) -> Conversation:
    """Return the conversation with the answer so far and a message that asks to continue it."""
    return conversation.add_message("assistant", text).add_message("user", CONTINUE_PROMPT)


def _find_conversation(history: database.History, options: Options, session: str) -> StoredConversation:
    if options.resume:
        return find_conversations.find_conversation(history, options.resume.removeprefix("="))  # the = of -r=…
    if conversation := find_conversations.last_in_session(history, session):
        return conversation
    hint = "--resume continues one from another terminal; AIML_SESSION names a session"
    raise UsageError("this terminal has no conversation to continue", hint)


def _build_previous_turns(
    conversation: StoredConversation, messages: Sequence[StoredMessage], request: ChatRequest
) -> PreviousTurns:
    if any(message.facts.get("cut") for message in messages):
        name = conversation.name
        raise UsageError(f"{name} cannot be continued: a message in it was too large to be stored completely")
    live = drop_failed_exchanges(messages)
    head, turns = _select_sent(live)
    last = turns[-1] if turns else None
    items = [(message, RawMessage(item)) for message in (*head, *turns) for item in message_items(message)]
    head_count = sum(1 for message in head for _ in message_items(message))
    last_start, older_until = _find_last_turn(items, head_count)
    return PreviousTurns(
        conversation.id,
        tuple(item for _, item in items),
        conversation.system,
        _find_response_id(live, host_of(request.url)),
        bool(last and _is_truncated(last) and last.text),
        None if head else root_response_id(live),
        head_count,
        last_start,
        older_until,
    )


def _select_sent(live: Sequence[StoredMessage]) -> tuple[list[StoredMessage], list[StoredMessage]]:
    """Return the last summary, with instructions that it does not replace, and the messages that follow it.

    Without a summary, these are all messages.
    """
    summary = next((message for message in reversed(live) if is_summary(message) and message.role == "assistant"), None)
    until = reader.get_summary_until(summary.facts) if summary else None
    if summary is None or until is None:
        return [], list(live)
    instructions = [message for message in live if message.id <= until and message.role in ("system", "developer")]
    pair = [message for message in live if is_summary(message) and message.at == summary.at]
    return [*instructions, *pair], [message for message in live if message.id > until and not is_summary(message)]


def _find_last_turn(items: Sequence[tuple[StoredMessage, RawMessage]], head_count: int) -> tuple[int, int]:
    """Return where the last turn begins, and the last message before it in the history that is not a summary."""
    starts = find_turn_starts([item for _, item in items], head_count)
    if not starts or starts[-1] == head_count:
        return head_count, 0
    older = (message for message, _ in items[: starts[-1]] if not is_summary(message))
    return starts[-1], max((message.id for message in older), default=0)


def _find_response_id(live: Sequence[StoredMessage], host: str) -> str | None:
    """Return the id of the last answer if the server stores it, with all before it."""
    last = live[-1] if live else None
    if last is None or is_summary(last) or not (last.stored and last.endpoint == "responses" and last.host == host):
        return None
    return (last.response_id or None) if last.state == writer.COMPLETE else None


def is_summary(message: StoredMessage) -> bool:
    """True for the request for a summary of older turns, and for the answer to it."""
    return reader.get_summary_until(message.facts) is not None


def drop_failed_exchanges(messages: Sequence[StoredMessage]) -> list[StoredMessage]:
    """Return the messages without failed exchanges, without rejected answers, and without summaries that failed.

    Tool results are kept, like the calls before them.
    """
    failed = {message.at for message in messages if message.state == writer.FAILED or _is_failed_summary(message)}
    return [
        message
        for message in messages
        if (message.at not in failed or message.role == "tool") and not message.facts.get("rejected")
    ]


def _is_failed_summary(message: StoredMessage) -> bool:
    """True for the answer to a request for a summary that replaces nothing."""
    is_answer = is_summary(message) and message.role == "assistant"
    is_usable = message.state == writer.COMPLETE and message.text.strip() and not message.facts.get("refusal")
    return is_answer and (not is_usable or reader.PART_OF_SUMMARY in message.facts[reader.SUMMARY])


def message_items(message: StoredMessage) -> Iterator[Mapping[str, Any]]:
    """Yield the items that send a message again; a truncated answer is marked, and a summary is plain text."""
    if is_summary(message):
        yield {"role": message.role, "content": message.text}
    elif not _is_truncated(message):
        yield from message.items
    elif message.text:
        yield {"role": "assistant", "content": message.text + CUT_MARK}


def root_response_id(messages: Sequence[StoredMessage]) -> str | None:
    """Return the id of the response that the first message followed and that is not among the messages."""
    own_ids = {message.response_id for message in messages}
    ids = (message.facts.get("previous_response_id") for message in messages)
    return next((id_ for id_ in ids if isinstance(id_, str) and id_ not in own_ids), None)


def _is_truncated(message: StoredMessage) -> bool:
    return message.state in (writer.INCOMPLETE, writer.INTERRUPTED) and not message.facts.get("refusal")


def _use_last_model(settings: Settings, messages: Sequence[StoredMessage]) -> Settings:
    """Return the settings with the conversation's model, unless this call sets one or the server cannot have it."""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_typed = settings.sources.get("model") in (Source.TEMPLATE, Source.FLAG)
    if not model or is_typed or model.startswith("demo/") != bool(settings.options.demo):
        return settings
    return replace(settings, options=replace(settings.options, model=model))


def send_and_continue(context: TurnContext) -> None:
    """Send a request, then ask for a continuation as often as allowed; raise the error of the last request."""
    limit, reservation = context.request.options.auto_continue or 0, context.reservation
    error = _send(context)
    for count in range(1, limit + 1):
        completion = context.sender.completion()
        if not can_continue(completion):
            break
        body = context.build_body(ask_to_continue(context.conversation, completion.first.text), HistoryMode.FULL)
        if context.budget and reservation:
            from aiml_cli.core.budget import reserve_next  # few users set a limit

            reservation = reserve_next(context.budget, reservation, context.sender.segment(), body)
            if reservation is None:
                break
        reason = error.message if error else completion.incomplete_reason
        context.request.notify(f"{reason}; asking for the rest ({count} of {limit})")
        context.sender.continue_answer()
        error = _send(context, body)
    if error:
        raise error


def _send(context: TurnContext, body: Mapping[str, Any] | None = None) -> IncompleteAnswer | None:
    """Send one request; return how its answer was cut off, if it was."""
    try:
        if body is None:
            send_with_history(context)
        else:
            context.send(body)
    except IncompleteAnswer as error:
        return error
    return None
