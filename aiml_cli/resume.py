"""Go on with a conversation of the history: find it, and settle what of it is sent again."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from aiml_cli.api.messages import Conversation, Given, Message
from aiml_cli.asking import BY_ID, WHOLE, WITHOUT_REASONING, Asking
from aiml_cli.errors import Misuse, RequestRefused
from aiml_cli.hosts import host_of
from aiml_cli.question import Question
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.store import exchange, history, past
from aiml_cli.store.place import place

GO_ON = "Your answer was cut off. Go on exactly where it stops, and repeat nothing of it."
REST = Conversation((Message("user", (GO_ON,)),))
CUT = "\n\n[The answer was cut off here.]"
# What servers say when they do not have, or no longer have, what a request refers to.
_UNKNOWN_RESPONSE = re.compile(
    r"previous.?response|\bresp_|\bresponse\b.*\b(not found|not exist|expired)", re.IGNORECASE | re.DOTALL
)
_UNKNOWN_ITEM = re.compile(r"\brs_|\bpersisted|\bitem\b.*\bnot found|'reasoning' item", re.IGNORECASE | re.DOTALL)
_OF_CHAT = ("message", "function_call", "function_call_output")


@dataclass(frozen=True, slots=True)
class Before:
    """Hold what was said before.

    `by_id` is the response that goes for all of it, where the server keeps it; `root` is the response that the
    conversation was begun behind, which is not here.
    """

    id: int | None
    turns: tuple[Given, ...]
    system: str | None
    by_id: str | None
    is_cut: bool
    root: str | None = None

    def joined(self, said: Conversation, options: Options, endpoint: str, how: int) -> tuple[Conversation, Options]:
        """Put what is said now behind it."""
        if self.by_id and endpoint == "responses" and how == BY_ID:
            return said, replace(options, previous_response_id=self.by_id)
        turns = [_told(turn, how) for turn in self.turns if _is_sent(turn.item, endpoint, how)]
        if said.turns[:1] == REST.turns and turns:
            turns[-1] = Given({**turns[-1].item, "content": turns[-1].item["content"].removesuffix(CUT)})
        if self.root and endpoint == "responses":
            options = replace(options, previous_response_id=self.root)
        return Conversation((*turns, *said.turns)), options

    def left_out(self, endpoint: str) -> list[str]:
        """List the types of what an endpoint does not know."""
        types = [turn.item.get("type", "") for turn in self.turns if not _is_sent(turn.item, endpoint, WHOLE)]
        return list(dict.fromkeys([*([self.root] if self.root and endpoint != "responses" else []), *types]))

    def go_on(self) -> Conversation:
        """Ask for the rest of an answer that was cut; raise Misuse where nothing was."""
        if not self.is_cut:
            raise Misuse("the last answer was not cut: there is no rest to ask for", "type what to say next")
        return REST

    def instead(self, error: RequestRefused, endpoint: str, how: int) -> str:
        """Say why another way to send it is tried after a refusal; "" where none would help."""
        if endpoint != "responses":
            return ""
        about = f"{error.message} {error.details.get('code')} {error.details.get('type')}"
        if how == BY_ID and self.by_id and _UNKNOWN_RESPONSE.search(about):
            return "the server no longer has the last answer; sending the whole conversation instead"
        bare = any(_is_bare(turn.item) for turn in self.turns)
        if how < WITHOUT_REASONING and bare and _UNKNOWN_ITEM.search(about):
            return "the server no longer has the reasoning of earlier answers; sending the rest of the conversation"
        return ""


def gone_on(question: Question, environ: Mapping[str, str]) -> Question:
    """Give the question its conversation, with the model and the system text of that where none are said now.

    The conversation is this process's to write from now on. Raises Misuse when there is none, or another live
    process writes it.
    """
    options = question.options
    if options.previous_response_id or (options.continue_ and options.resume):
        other = "--resume" if options.continue_ and options.resume else "--previous-response-id"
        raise Misuse(f"--{'continue' if options.continue_ else 'resume'} and {other} exclude each other")
    store = history.existing()
    if store is None:
        raise Misuse("there is no conversation to go on with: the history is empty")
    if store.moved:
        question.tell(f"the history was damaged and is kept as {store.moved}; a new one is begun")
    with closing(store), history.in_words(store.path):
        found = _found(store, options, place(environ))
        exchange.mend(store)
        exchange.own(store, found.id)
        messages = past.messages(store, found.id)
    question.tell(f"going on with {found.name}, “{found.title}”, {past.age(found.changed)} old")
    before = _before(found, messages, question)
    if left := before.left_out(question.endpoint.name):
        question.tell(f"{question.endpoint.name} cannot be told all of it; left out: {', '.join(left)}")
    return replace(question, before=before, settings=_settled(question.settings, messages))


def hold(asking: Asking) -> None:
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


def _found(store: history.History, options: Options, here: str) -> past.Conversation:
    if options.resume:
        return past.named(store, options.resume.removeprefix("="))  # of -r=…
    found = past.of_place(store, here)
    if found is None:
        hint = "--resume goes on with one from elsewhere; AIML_SESSION names a session of your own"
        raise Misuse("this terminal has no conversation to go on with", hint)
    return found


def _before(found: past.Conversation, messages: Sequence[past.Message], question: Question) -> Before:
    if any(message.facts.get("cut") for message in messages):
        raise Misuse(f"{found.name} cannot be gone on with: a question in it was too large to be kept whole")
    messages = standing(messages)
    last = messages[-1] if messages else None
    here = host_of(question.url)
    kept = last and last.response_id and last.stored and last.endpoint == "responses" and last.host == here
    by_id = last.response_id if last and kept and last.state == exchange.COMPLETE else None
    turns = tuple(Given(item) for message in messages for item in items_of(message))
    return Before(found.id, turns, found.system, by_id, bool(last and _is_cut(last) and last.text), root_of(messages))


def standing(messages: Sequence[past.Message]) -> list[past.Message]:
    """Leave out what was asked and never answered, and answers that were not as asked and followed by others."""
    failed = {message.at for message in messages if message.state == exchange.FAILED}
    return [message for message in messages if message.at not in failed and not message.facts.get("rejected")]


def items_of(message: past.Message) -> Iterator[Mapping[str, Any]]:
    """Give what says a message again; an answer that was cut is marked as such."""
    if not _is_cut(message):
        yield from message.items
    elif message.text:
        yield {"role": "assistant", "content": message.text + CUT}


def root_of(messages: Sequence[past.Message]) -> str | None:
    """Give the response that the first question followed, which is none of these."""
    ours = {message.response_id for message in messages}
    named = (message.facts.get("previous_response_id") for message in messages)
    return next((name for name in named if isinstance(name, str) and name not in ours), None)


def _is_cut(message: past.Message) -> bool:
    return message.state in (exchange.INCOMPLETE, exchange.INTERRUPTED) and not message.facts.get("refusal")


def _is_sent(item: Mapping[str, Any], endpoint: str, how: int) -> bool:
    """Say whether an item is sent: chat knows no reasoning items and no calls of the server's own tools."""
    if how == WITHOUT_REASONING and _is_bare(item):
        return False
    return endpoint == "responses" or item.get("type", "message") in _OF_CHAT


def _told(turn: Given, how: int) -> Given:
    """Take its id off what was said with reasoning that is left out: the server would ask for that."""
    if how != WITHOUT_REASONING or turn.item.get("type") not in _OF_CHAT:
        return turn
    return Given({name: value for name, value in turn.item.items() if name != "id"})


def _is_bare(item: Mapping[str, Any]) -> bool:
    """Say whether an item only names reasoning that the server had."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _settled(settings: Settings, messages: Sequence[past.Message]) -> Settings:
    """Take the model of the conversation where nobody types another, and this server may have it."""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_typed = settings.sources.get("model") in (Source.TEMPLATE, Source.FLAG)
    if not model or is_typed or model.startswith("demo/") != bool(settings.options.demo):
        return settings
    return replace(settings, options=replace(settings.options, model=model))
