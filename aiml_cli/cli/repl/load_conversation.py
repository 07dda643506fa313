"""Load a conversation of the history into the REPL."""

import os
from collections.abc import Sequence

from aiml_cli.api.messages import Given
from aiml_cli.cli.repl import conversation_lock
from aiml_cli.cli.repl.session import LOADED, Session
from aiml_cli.cli.repl.turns import Exchange, Spent, joined
from aiml_cli.core.previous_turns import GO_ON
from aiml_cli.core.resume import items_of, root_of, standing
from aiml_cli.core.transcript import spoken
from aiml_cli.errors import Misuse
from aiml_cli.settings.resolve import Said
from aiml_cli.store.history import database, reader, writer
from aiml_cli.store.paths import place
from aiml_cli.system.stdio import print_err, print_out


def load(session: Session, words: str | None) -> None:
    """Take a conversation by its name or words of it, or (None) the last one of this terminal; show it.

    Raises Misuse where there is none, another live process writes it, or it was not kept whole.
    """
    with conversation_lock.opened() as store:
        found = reader.named(store, words) if words else _last(session, store)
        writer.mend(store)
        messages = reader.messages(store, found.id)
        if any(message.facts.get("cut") for message in messages):
            raise Misuse(f"{found.name} cannot be gone on with: a question in it was too large to be kept whole")
        if not conversation_lock.own(found.id):
            writer.own(store, found.id)  # which says so
    if found.id != session.row:
        session.renew()
    _fill(session, found, messages)
    print_out(spoken(found, standing(messages), verbose=False) + "\n")
    print_err(f"aiml: going on with {found.name}")


def exchanges(messages: Sequence[reader.Message]) -> list[Exchange]:
    """Put questions and answers together, and answers that were cut and their rest."""
    found: list[Exchange] = []
    said: list[reader.Message] = []
    for message in standing(messages):
        if message.role != "assistant":
            said.append(message)
            continue
        new = _exchange(said, message)
        if new.asked == GO_ON and found and found[-1].is_cut:
            found[-1] = joined(found[-1], new)
        elif new.answered:  # what was stopped before its first word is no answer
            found.append(new)
        said = []
    return found


def _last(session: Session, store: database.History) -> reader.Conversation:
    """Give the last conversation of this terminal that is not the one in hand, else of any."""
    others = [each for each in reader.everything(store) if each.id != session.row]
    here = place(os.environ)
    ours = [each for each in others if each.place == here]
    if not others and session.row is None:
        raise Misuse("there is no conversation to go on with: the history is empty")
    if not ours and session.row is None and not session.exchanges:
        raise Misuse("this terminal has no conversation to go on with", "/resume last goes on with the latest of all")
    if not others:
        raise Misuse("there is no other conversation to go on with", "/history lists those there are")
    return (ours or others)[-1]


def _fill(session: Session, found: reader.Conversation, messages: Sequence[reader.Message]) -> None:
    session.exchanges = exchanges(messages)
    session.row, session.system, session.root = found.id, found.system, root_of(standing(messages))
    session.spent = [_spent(message) for message in messages if message.usage or message.cost_usd is not None]
    session.prompt = session.exchanges[-1].asked if session.exchanges else ""
    model = next((message.model for message in reversed(messages) if message.model), "")
    is_fit = model and model.startswith("demo/") == (session.url is not None)
    if is_fit and "model" not in session.flags and "model" not in session.set:
        session.set["model"] = Said((model,), LOADED)


def _exchange(said: Sequence[reader.Message], answer: reader.Message) -> Exchange:
    is_cut = answer.state != writer.COMPLETE and not answer.facts.get("refusal")
    by_id = answer.response_id if answer.stored and answer.endpoint == "responses" and not is_cut else None
    return Exchange(
        "\n\n".join(each.text for each in said),
        answer.text,
        tuple(Given(item) for each in said for item in each.items),
        tuple(map(Given, items_of(answer))),
        is_cut,
        by_id,
        answer.host,
        answer.id,
        answer.model,
    )


def _spent(message: reader.Message) -> Spent:
    usage = message.usage or {}
    asked, answered, total = (usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens"))
    return Spent(message.model, asked, answered, total, message.cost_usd)
