"""Slash commands that begin, change, name or leave a conversation, from /new to /undo."""

from aiml_cli.api.messages import Conversation
from aiml_cli.cli.repl import conversation_lock, load_conversation
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import parse_count, slash
from aiml_cli.cli.repl.slash_settings import check_model
from aiml_cli.core.previous_turns import CONTINUE_REQUEST
from aiml_cli.errors import UsageError
from aiml_cli.prompt.mentions import LiteralText
from aiml_cli.settings.resolve import RawValue
from aiml_cli.store.history import edits, find_conversations
from aiml_cli.system.stdio import print_err

MAX_PROMPT_SHOWN = 60


@slash()
def new(session: Session, _words: str) -> None:
    """Begin a new conversation; the settings stay.

    The old one is kept in the history: /resume goes on with it. Files that wait are not sent.
    """
    session.reset()
    session.files, session.shell_outputs = [], []


@slash()
def continue_(session: Session, _words: str) -> None:
    """Ask for the rest of an answer that was cut, and join the two."""
    last = session.turns[-1] if session.turns else None
    if last is None or not (last.is_truncated and last.text):
        raise UsageError("the last answer was not cut: there is no rest to ask for", "type what to say next")
    session.run_turn(session.resolve_settings(), repeated=CONTINUE_REQUEST)


@slash()
def exit(session: Session, _words: str) -> None:  # noqa: A001 - named after what is typed
    """Leave; the conversation is kept in the history.

    `aiml chat -i -c` goes on with it in this terminal.
    """
    conversation_lock.release(session.conversation_id)
    session.is_over = True


@slash("[name]")
def fork(session: Session, words: str) -> None:
    """Go on in a copy of the conversation; the original stays as it is now.

    A name of letters, digits, - and _ is the copy's; without one it gets one.
    """
    if not session.turns:
        raise UsageError("there is nothing to copy: nothing was answered yet")
    if session.conversation_id is None:
        session.warn_not_saved()
        return
    with conversation_lock.open_history() as history:
        copy, new_ids = edits.copy_conversation(history, session.conversation_id, words)
    conversation_lock.release(session.conversation_id)
    session.conversation_id = copy.id
    session.turns = [turn._replace(answer_id=new_ids.get(turn.answer_id, 0)) for turn in session.turns]
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

    -m asks another model this once. After a failure it asks the failed question again.
    """
    flag, _, name = words.partition(" ")
    name = name.strip()
    if words and (flag not in ("-m", "--model") or not name):
        raise UsageError(f"/retry does not take {words!r}", "/retry, or /retry -m MODEL")
    if name:
        check_model(session, name)
    settings = session.resolve_settings({"model": RawValue((name,), "/retry -m")} if name else None)
    if session.unanswered:
        session.run_turn(settings, [LiteralText(session.last_prompt)], session.unanswered)
    elif session.turns:
        last = session.turns[-1]
        session.run_turn(settings, [LiteralText(last.prompt)], Conversation(last.messages), replaced=1)
    else:
        raise UsageError("there is nothing to ask again: nothing was asked yet")


@slash("[name]")
def save(session: Session, words: str) -> None:
    """Name the conversation in the history, or say what it is called.

    Letters, digits, - and _ make a name; /resume NAME goes on with it.
    """
    if words:
        edits.check_name(words)
    if not session.turns and session.conversation_id is None:
        raise UsageError("there is nothing to name: nothing was answered yet")
    if session.conversation_id is None:
        session.warn_not_saved()
        return
    with conversation_lock.open_history() as history:
        if words:
            edits.rename_conversation(history, session.conversation_id, words)
        name = find_conversations.get_by_id(history, session.conversation_id).name
    print_err(f"aiml: kept as {name}; /resume {name} goes on with it")


@slash("[n]")
def undo(session: Session, words: str) -> None:
    """Take the last question and its answer back, or the last n of them.

    They are not sent again, by nobody; the history still shows them, marked as undone.
    """
    count, total = parse_count(words or "1"), len(session.turns)
    if count > total:
        raise UsageError(f"there is nothing to take back: the conversation has {total} questions with answers")
    prompt = " ".join(session.turns[total - count].prompt.split())
    session.turns, session.unanswered = session.turns[: total - count], None
    after_id = max((turn.answer_id for turn in session.turns), default=0)
    conversation_lock.undo_in_history(session.conversation_id, after_id)
    more = "…" if len(prompt) > MAX_PROMPT_SHOWN else ""
    print_err(f"aiml: taken back to before: {prompt[:MAX_PROMPT_SHOWN]}{more}")
    session.warn_not_saved()
