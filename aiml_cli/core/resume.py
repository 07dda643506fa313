"""Go on with a conversation of the history: find it, and settle what of it is sent again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiml_cli.api.messages import Conversation, Given
from aiml_cli.core.chat_request import Question
from aiml_cli.core.previous_turns import BY_ID, CUT, GO_ON, WHOLE, WITHOUT_REASONING, Before
from aiml_cli.errors import Misuse, RequestRefused
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import host_of
from aiml_cli.store.history import database, reader, writer
from aiml_cli.store.paths import place

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import Asking


def gone_on(question: Question, environ: Mapping[str, str]) -> Question:
    """Give the question its conversation, with the model and the system text of that where none are said now.

    The conversation is this process's to write from now on. Raises Misuse when there is none, or another live
    process writes it.
    """
    options = question.options
    if options.previous_response_id or (options.continue_ and options.resume):
        other = "--resume" if options.continue_ and options.resume else "--previous-response-id"
        raise Misuse(f"--{'continue' if options.continue_ else 'resume'} and {other} exclude each other")
    store = database.existing()
    if store is None:
        raise Misuse("there is no conversation to go on with: the history is empty")
    if store.moved:
        question.tell(f"the history was damaged and is kept as {store.moved}; a new one is begun")
    with closing(store), database.in_words(store.path):
        found = _found(store, options, place(environ))
        writer.mend(store)
        writer.own(store, found.id)
        messages = reader.messages(store, found.id)
    question.tell(f"going on with {found.name}, “{found.title}”, {reader.age(found.changed)} old")
    before = _before(found, messages, question)
    if left := before.left_out(question.endpoint.name):
        question.tell(f"{question.endpoint.name} cannot be told all of it; left out: {', '.join(left)}")
    return replace(question, before=before, settings=_settled(question.settings, messages))


def hold(asking: "Asking") -> None:
    """Ask, and ask in another way when the server no longer has what the first one refers to."""
    before, how = asking.question.before, BY_ID
    while True:
        try:
            asking.send(asking.request(how=how))
        except RequestRefused as error:
            words = before.instead(error, asking.question.endpoint.name, how) if before else ""
            if not words:
                raise
            asking.question.tell(words)
            how = WHOLE if how == BY_ID and before and before.by_id else WITHOUT_REASONING
            asking.talk.begin_anew()
        else:
            return


def rest(said: Conversation, text: str) -> Conversation:
    """Add the answer as far as it came, and the wish for its rest."""
    return said.said("assistant", text).said("user", GO_ON)


def _found(store: database.History, options: Options, here: str) -> reader.Conversation:
    if options.resume:
        return reader.named(store, options.resume.removeprefix("="))  # of -r=…
    found = reader.of_place(store, here)
    if found is None:
        hint = "--resume goes on with one from elsewhere; AIML_SESSION names a session of your own"
        raise Misuse("this terminal has no conversation to go on with", hint)
    return found


def _before(found: reader.Conversation, messages: Sequence[reader.Message], question: Question) -> Before:
    if any(message.facts.get("cut") for message in messages):
        raise Misuse(f"{found.name} cannot be gone on with: a question in it was too large to be kept whole")
    messages = standing(messages)
    last = messages[-1] if messages else None
    here = host_of(question.url)
    kept = last and last.response_id and last.stored and last.endpoint == "responses" and last.host == here
    by_id = last.response_id if last and kept and last.state == writer.COMPLETE else None
    turns = tuple(Given(item) for message in messages for item in items_of(message))
    return Before(found.id, turns, found.system, by_id, bool(last and _is_cut(last) and last.text), root_of(messages))


def standing(messages: Sequence[reader.Message]) -> list[reader.Message]:
    """Leave out what was asked and never answered, and answers that were not as asked and followed by others."""
    failed = {message.at for message in messages if message.state == writer.FAILED}
    return [message for message in messages if message.at not in failed and not message.facts.get("rejected")]


def items_of(message: reader.Message) -> Iterator[Mapping[str, Any]]:
    """Give what says a message again; an answer that was cut is marked as such."""
    if not _is_cut(message):
        yield from message.items
    elif message.text:
        yield {"role": "assistant", "content": message.text + CUT}


def root_of(messages: Sequence[reader.Message]) -> str | None:
    """Give the response that the first question followed, which is none of these."""
    ours = {message.response_id for message in messages}
    named = (message.facts.get("previous_response_id") for message in messages)
    return next((name for name in named if isinstance(name, str) and name not in ours), None)


def _is_cut(message: reader.Message) -> bool:
    return message.state in (writer.INCOMPLETE, writer.INTERRUPTED) and not message.facts.get("refusal")


def _settled(settings: Settings, messages: Sequence[reader.Message]) -> Settings:
    """Take the model of the conversation where nobody types another, and this server may have it."""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_typed = settings.sources.get("model") in (Source.TEMPLATE, Source.FLAG)
    if not model or is_typed or model.startswith("demo/") != bool(settings.options.demo):
        return settings
    return replace(settings, options=replace(settings.options, model=model))
