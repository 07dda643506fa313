"""Go on with a conversation of the history: find it, and settle what of it is sent again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiml_cli.api.messages import Conversation, RawMessage
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import CUT, GO_ON, HistoryMode, PreviousTurns
from aiml_cli.errors import RequestRejected, UsageError
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import database, reader, writer
from aiml_cli.store.paths import session_name

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import TurnContext


def load_previous_turns(question: ChatRequest, environ: Mapping[str, str]) -> ChatRequest:
    """Give the question its conversation, with the model and the system text of that where none are said now.

    The conversation is this process's to write from now on. Raises UsageError when there is none, or another live
    process writes it.
    """
    options = question.options
    store = database.open_existing()
    if store is None:
        raise UsageError("there is no conversation to go on with: the history is empty")
    if store.moved:
        question.notify(f"the history was damaged and is kept as {store.moved}; a new one is begun")
    with closing(store), database.translate_errors(store.path):
        found = _found(store, options, session_name(environ))
        writer.recover_interrupted(store)
        writer.acquire_conversation(store, found.id)
        messages = reader.read_messages(store, found.id)
    question.notify(f"going on with {found.name}, “{found.title}”, {reader.format_age(found.changed)} old")
    before = _before(found, messages, question)
    if left := before.unsupported_items(question.endpoint.name):
        question.notify(f"{question.endpoint.name} cannot be told all of it; left out: {', '.join(left)}")
    return replace(question, previous_turns=before, settings=_settled(question.settings, messages))


def send_with_history(context: "TurnContext") -> None:
    """Send a request, and send it in another way if the server no longer has what it refers to."""
    before, how = context.request.previous_turns, HistoryMode.BY_ID
    while True:
        try:
            context.send(context.build_body(history=how))
        except RequestRejected as error:
            words = before.retry_reason(error, context.request.endpoint.name, how) if before else ""
            if not words:
                raise
            context.request.notify(words)
            how = (
                HistoryMode.FULL
                if how == HistoryMode.BY_ID and before and before.by_id
                else HistoryMode.WITHOUT_REASONING
            )
            context.sender.start_next_answer()
        else:
            return


def ask_to_continue(said: Conversation, text: str) -> Conversation:
    """Add the answer as far as it came, and the wish for its rest."""
    return said.add_message("assistant", text).add_message("user", GO_ON)


def _found(store: database.History, options: Options, here: str) -> reader.StoredConversation:
    if options.resume:
        return reader.find_conversation(store, options.resume.removeprefix("="))  # of -r=…
    found = reader.last_in_session(store, here)
    if found is None:
        hint = "--resume goes on with one from elsewhere; AIML_SESSION names a session of your own"
        raise UsageError("this terminal has no conversation to go on with", hint)
    return found


def _before(
    found: reader.StoredConversation, messages: Sequence[reader.StoredMessage], question: ChatRequest
) -> PreviousTurns:
    if any(message.facts.get("cut") for message in messages):
        raise UsageError(f"{found.name} cannot be gone on with: a question in it was too large to be kept whole")
    messages = live_messages(messages)
    last = messages[-1] if messages else None
    here = host_of(question.url)
    kept = last and last.response_id and last.stored and last.endpoint == "responses" and last.host == here
    by_id = last.response_id if last and kept and last.state == writer.COMPLETE else None
    turns = tuple(RawMessage(item) for message in messages for item in message_items(message))
    return PreviousTurns(
        found.id, turns, found.system, by_id, bool(last and _is_cut(last) and last.text), root_response_id(messages)
    )


def live_messages(messages: Sequence[reader.StoredMessage]) -> list[reader.StoredMessage]:
    """Leave out what was asked and never answered, and answers that were not as asked and followed by others."""
    failed = {message.at for message in messages if message.state == writer.FAILED}
    return [message for message in messages if message.at not in failed and not message.facts.get("rejected")]


def message_items(message: reader.StoredMessage) -> Iterator[Mapping[str, Any]]:
    """Give what says a message again; an answer that was cut is marked as such."""
    if not _is_cut(message):
        yield from message.items
    elif message.text:
        yield {"role": "assistant", "content": message.text + CUT}


def root_response_id(messages: Sequence[reader.StoredMessage]) -> str | None:
    """Give the response that the first question followed, which is none of these."""
    ours = {message.response_id for message in messages}
    named = (message.facts.get("previous_response_id") for message in messages)
    return next((name for name in named if isinstance(name, str) and name not in ours), None)


def _is_cut(message: reader.StoredMessage) -> bool:
    return message.state in (writer.INCOMPLETE, writer.INTERRUPTED) and not message.facts.get("refusal")


def _settled(settings: Settings, messages: Sequence[reader.StoredMessage]) -> Settings:
    """Take the model of the conversation where nobody types another, and this server may have it."""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_typed = settings.sources.get("model") in (Source.TEMPLATE, Source.FLAG)
    if not model or is_typed or model.startswith("demo/") != bool(settings.options.demo):
        return settings
    return replace(settings, options=replace(settings.options, model=model))
