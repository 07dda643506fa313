"""Answer the slash command /new."""

from aiml_cli.api.messages import Conversation
from aiml_cli.cli.repl import conversation_lock, load_conversation
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import parse_count, slash
from aiml_cli.cli.repl.slash_settings import check_model
from aiml_cli.core.previous_turns import REST
from aiml_cli.errors import UsageError
from aiml_cli.settings.resolve import RawValue
from aiml_cli.system.stdio import print_err

SHOWN = 60


@slash()
def new(session: Session, _words: str) -> None:
    """Begin a new conversation; the settings stay.

    The old one is kept in the history: /resume goes on with it. Files that wait are not sent.
    """
    session.reset()
    session.files, session.outputs = [], []


@slash()
def continue_(session: Session, _words: str) -> None:
    """Ask for the rest of an answer that was cut, and join the two."""
    last = session.turns[-1] if session.turns else None
    if last is None or not (last.is_cut and last.text):
        raise UsageError("the last answer was not cut: there is no rest to ask for", "type what to say next")
    session.run_turn(session.settings(), again=REST)


@slash()
def exit(session: Session, _words: str) -> None:  # noqa: A001 - named after what is typed
    """Leave; the conversation is kept in the history.

    `aiml chat -i -c` goes on with it in this terminal.
    """
    conversation_lock.release(session.row)
    session.is_over = True


@slash("[name]")
def fork(session: Session, words: str) -> None:
    """Go on in a copy of the conversation; the original stays as it is now.

    A name of letters, digits, - and _ is the copy's; without one it gets one.
    """
    if not session.turns:
        raise UsageError("there is nothing to copy: nothing was answered yet")
    if session.row is None:
        session.warn_not_saved()
        return
    from aiml_cli.store.history import edits

    with conversation_lock.open_or_empty() as store:
        copy, rows = edits.copy_conversation(store, session.row, words)
    conversation_lock.release(session.row)
    session.row = copy.id
    session.turns = [each._replace(row=rows.get(each.row, 0)) for each in session.turns]
    print_err(f"aiml: going on with the copy {copy.name}")


@slash("[id or words]", completes="conversations")
def resume(session: Session, words: str) -> None:
    """Go on with another conversation, and show what was said in it.

    By its id or name, the beginning of one, or words of it; without, the last one of this terminal.
    """
    load_conversation.load_conversation(session, words or None)


@slash("[-m other]")
def retry(session: Session, words: str) -> None:
    """Ask the last question again, with its files; the new answer takes the place of the old one.

    -m asks another model this once. After a failure it asks what was asked in vain.
    """
    flag, _, name = words.partition(" ")
    name = name.strip()
    if words and (flag not in ("-m", "--model") or not name):
        raise UsageError(f"/retry does not take {words!r}", "/retry, or /retry -m MODEL")
    if name:
        check_model(session, name)
    settings = session.settings({"model": RawValue((name,), "/retry -m")} if name else None)
    if session.unanswered:
        session.run_turn(settings, session.prompt.split(" "), session.unanswered)
    elif session.turns:
        last = session.turns[-1]
        session.run_turn(settings, last.asked.split(" "), Conversation(last.messages), instead_of=1)
    else:
        raise UsageError("there is nothing to ask again: nothing was asked yet")


@slash("[name]")
def save(session: Session, words: str) -> None:
    """Name the conversation in the history, or say what it is called.

    Letters, digits, - and _ make a name; /resume NAME goes on with it.
    """
    from aiml_cli.store.history import edits, reader

    if words:
        edits.check_name(words)
    if not session.turns and session.row is None:
        raise UsageError("there is nothing to name: nothing was answered yet")
    if session.row is None:
        session.warn_not_saved()
        return
    with conversation_lock.open_or_empty() as store:
        if words:
            edits.rename_conversation(store, session.row, words)
        name = reader.get_by_id(store, session.row).name
    print_err(f"aiml: kept as {name}; /resume {name} goes on with it")


@slash("[n]")
def undo(session: Session, words: str) -> None:
    """Take the last question and its answer back, or the last n of them.

    They are not sent again, by nobody; the history still shows them, marked as undone.
    """
    count, there = parse_count(words or "1"), len(session.turns)
    if count > there:
        raise UsageError(f"there is nothing to take back: the conversation has {there} questions with answers")
    asked = session.turns[there - count].asked
    session.turns = session.turns[: there - count]
    session.unanswered = None
    conversation_lock.undo_in_history(session.row, max((each.row for each in session.turns), default=0))
    begins = " ".join(asked.split())
    print_err(f"aiml: taken back to before: {begins[:SHOWN]}{'…' if len(begins) > SHOWN else ''}")
    session.warn_not_saved()
