"""Load a conversation of the history into the REPL."""

import os
from collections.abc import Sequence

from aiml_cli.api.messages import RawMessage
from aiml_cli.cli.repl import conversation_lock
from aiml_cli.cli.repl.session import LOADED, Session
from aiml_cli.cli.repl.turns import Turn, TurnCost, join_turns
from aiml_cli.core.previous_turns import GO_ON
from aiml_cli.core.resume import live_messages, message_items, root_response_id
from aiml_cli.core.transcript import format_conversation
from aiml_cli.errors import UsageError
from aiml_cli.settings.resolve import RawValue
from aiml_cli.store.history import database, reader, writer
from aiml_cli.store.paths import session_name
from aiml_cli.system.stdio import print_err, print_out


def load_conversation(session: Session, words: str | None) -> None:
    """Take a conversation by its name or words of it, or (None) the last one of this terminal; show it.

    Raises UsageError where there is none, another live process writes it, or it was not kept whole.
    """
    with conversation_lock.open_or_empty() as store:
        found = reader.find_conversation(store, words) if words else _last(session, store)
        writer.recover_interrupted(store)
        messages = reader.read_messages(store, found.id)
        if any(message.facts.get("cut") for message in messages):
            raise UsageError(f"{found.name} cannot be gone on with: a question in it was too large to be kept whole")
        if not conversation_lock.ensure_held(found.id):
            writer.acquire_conversation(store, found.id)  # which says so
    if found.id != session.row:
        session.reset()
    _fill(session, found, messages)
    print_out(format_conversation(found, live_messages(messages), verbose=False) + "\n")
    print_err(f"aiml: going on with {found.name}")


def to_turns(messages: Sequence[reader.StoredMessage]) -> list[Turn]:
    """Put questions and answers together, and answers that were cut and their rest."""
    found: list[Turn] = []
    said: list[reader.StoredMessage] = []
    for message in live_messages(messages):
        if message.role != "assistant":
            said.append(message)
            continue
        new = _exchange(said, message)
        if new.asked == GO_ON and found and found[-1].is_cut:
            found[-1] = join_turns(found[-1], new)
        elif new.answer_messages:  # what was stopped before its first word is no answer
            found.append(new)
        said = []
    return found


def _last(session: Session, store: database.History) -> reader.StoredConversation:
    """Give the last conversation of this terminal that is not the one in hand, else of any."""
    others = [each for each in reader.list_conversations(store) if each.id != session.row]
    here = session_name(os.environ)
    ours = [each for each in others if each.place == here]
    if not others and session.row is None:
        raise UsageError("there is no conversation to go on with: the history is empty")
    if not ours and session.row is None and not session.turns:
        raise UsageError(
            "this terminal has no conversation to go on with", "/resume last goes on with the latest of all"
        )
    if not others:
        raise UsageError("there is no other conversation to go on with", "/history lists those there are")
    return (ours or others)[-1]


def _fill(session: Session, found: reader.StoredConversation, messages: Sequence[reader.StoredMessage]) -> None:
    session.turns = to_turns(messages)
    session.row, session.system, session.root = found.id, found.system, root_response_id(live_messages(messages))
    session.costs = [_spent(message) for message in messages if message.usage or message.cost_usd is not None]
    session.prompt = session.turns[-1].asked if session.turns else ""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_fit = model and model.startswith("demo/") == (session.url is not None)
    if is_fit and "model" not in session.flags and "model" not in session.set:
        session.set["model"] = RawValue((model,), LOADED)


def _exchange(said: Sequence[reader.StoredMessage], answer: reader.StoredMessage) -> Turn:
    is_cut = answer.state != writer.COMPLETE and not answer.facts.get("refusal")
    by_id = answer.response_id if answer.stored and answer.endpoint == "responses" and not is_cut else None
    return Turn(
        "\n\n".join(each.text for each in said),
        answer.text,
        tuple(RawMessage(item) for each in said for item in each.items),
        tuple(map(RawMessage, message_items(answer))),
        is_cut,
        by_id,
        answer.host,
        answer.id,
        answer.model,
    )


def _spent(message: reader.StoredMessage) -> TurnCost:
    usage = message.usage or {}
    asked, answered, total = (usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    return TurnCost(message.model, asked, answered, total, message.cost_usd)
