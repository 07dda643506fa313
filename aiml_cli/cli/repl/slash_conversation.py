"""Slash commands that begin, change, name or leave a conversation, from /new to /undo."""

from aiml_cli.api.messages import Conversation
from aiml_cli.cli.repl import load_conversation
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import parse_count, slash, unquote
from aiml_cli.cli.repl.slash_content import build_transcript
from aiml_cli.cli.repl.slash_settings import check_model
from aiml_cli.cli.repl.turns import split_sent
from aiml_cli.core import browse_history
from aiml_cli.core.previous_turns import CONTINUE_REQUEST
from aiml_cli.errors import UsageError
from aiml_cli.prompt.mentions import LiteralText
from aiml_cli.settings.resolve import RawValue
from aiml_cli.store.history import edits, find_conversations
from aiml_cli.system.stdio import print_err

GROUP = "Conversation"
MAX_PROMPT_SHOWN = 60


@slash()
def new(session: Session, _words: str) -> None:
    """Start over; /compact keeps a summary.

    The settings are kept, and queued files are removed. The old conversation stays in the history; /resume continues
    it.
    """
    session.reset()
    session.files, session.shell_outputs = [], []


@slash("[words]")
def compact(session: Session, words: str) -> None:
    """Replace older turns with a summary.

    The model writes the summary, which is then sent instead of all turns except the last. The words say what it must
    contain. The history keeps the turns, and /undo brings them back. /set fit=compact does this automatically when
    the conversation becomes too long for the model; /set fit=oldest leaves out the oldest turns instead.
    """
    session.compact(unquote(words))


@slash()
def continue_(session: Session, _words: str) -> None:
    """Request the rest of an incomplete answer."""
    _, turns = split_sent(session.turns)
    if not turns or not (turns[-1].is_truncated and turns[-1].text):
        raise UsageError("the last answer is complete; there is nothing to continue", "type the next message")
    session.run_turn(session.resolve_settings(), repeated=CONTINUE_REQUEST)


@slash()
def exit(session: Session, _words: str) -> None:  # noqa: A001 - named after what is typed
    """Leave; the history keeps the conversation.

    `aiml chat -i -c` continues it in this terminal.
    """
    edits.unlock_conversation(session.conversation_id)
    session.is_over = True


@slash("[name]")
def fork(session: Session, words: str) -> None:
    """Continue in a copy of the conversation.

    The original is not changed. The name of the copy consists of letters, digits, - and _; without one, a name is
    generated.
    """
    words = unquote(words)
    if not session.turns:
        raise UsageError("there is no answer yet to copy")
    if session.conversation_id is None:
        session.warn_not_saved()
        return
    with edits.open_history() as history:
        copy, new_ids = edits.copy_conversation(history, session.conversation_id, words)
    edits.unlock_conversation(session.conversation_id)
    session.conversation_id = copy.id
    session.turns = [turn._replace(answer_id=new_ids.get(turn.answer_id, 0)) for turn in session.turns]
    print_err(f"aiml: continuing in the copy {copy.name}")


@slash("[id or words]", completes="conversations")
def resume(session: Session, words: str) -> None:
    """Continue another conversation.

    It is chosen by its id or name, the beginning of one, or words in its text; without these, it is the last one of
    this terminal. Its last turns are shown; /show all shows the others too.
    """
    load_conversation.load_conversation(session, unquote(words) or None)


@slash("[-m other]")
def retry(session: Session, words: str) -> None:
    """Ask the last question again.

    The new answer replaces the old one. -m asks another model, only this time. After a failure, the failed question is
    sent again.
    """
    flag, _, name = words.partition(" ")
    name = unquote(name.strip())
    if words and (flag not in ("-m", "--model") or not name):
        raise UsageError(f"/retry does not accept {words!r}", "use /retry, or /retry -m MODEL")
    if name:
        check_model(session, name)
    model = {"model": RawValue((name,), "/retry -m")} if name else {}
    settings = session.resolve_settings({**model, "cache": RawValue(("off",), "/retry")})
    if session.unanswered:
        session.run_turn(settings, [LiteralText(session.last_prompt)], session.unanswered)
    elif session.turns and session.turns[-1].replaced_turns:
        raise UsageError("the last turn is a summary", "/undo removes it, and /compact writes another one")
    elif session.turns:
        last = session.turns[-1]
        session.run_turn(settings, [LiteralText(last.prompt)], Conversation(last.messages), replaced=1)
    else:
        raise UsageError("there is no question to ask again")


@slash("[name]")
def save(session: Session, words: str) -> None:
    """Name the conversation; /fork copies it.

    Without a name, it shows the current one. A name consists of letters, digits, - and _; /resume NAME continues the
    conversation.
    """
    if words := unquote(words):
        edits.check_name(words)
    if not session.turns and session.conversation_id is None:
        raise UsageError("there is no answer yet; there is nothing to name")
    if session.conversation_id is None:
        session.warn_not_saved()
        return
    with edits.open_history() as history:
        if words:
            edits.rename_conversation(history, session.conversation_id, words)
        name = find_conversations.get_by_id(history, session.conversation_id).name
    print_err(f"aiml: saved as {name}; /resume {name} continues it")


@slash("[n or all]")
def show(session: Session, words: str) -> None:
    """Show the last turns of the conversation.

    With a number, show the last n turns; with all, show every turn.
    """
    transcript = build_transcript(session)
    count = len(transcript.messages) if words == "all" else parse_count(words or str(browse_history.SHOWN_TURNS))
    browse_history.draw_turns(transcript.messages, session.resolve_settings().options, count)


def _count_questions(count: int) -> str:
    return f"{count} question{'' if count == 1 else 's'}"


@slash("[n]")
def undo(session: Session, words: str) -> None:
    """Undo the last question and its answer.

    With a number, undo the last n of them. They are no longer sent to the model; the history still shows them, marked
    as undone. A summary of /compact counts as one: when it is undone, the turns before it are sent again.
    """
    count, total = parse_count(words or "1"), len(session.turns)
    if count > total:
        raise UsageError(f"cannot undo {count}: there {'is' if total == 1 else 'are'} only {_count_questions(total)}")
    first = session.turns[total - count]
    prompt = " ".join(first.prompt.split())
    session.turns, session.unanswered = session.turns[: total - count], None
    after_id = max((turn.answer_id for turn in session.turns), default=0)
    edits.undo_in_history(session.conversation_id, after_id)
    more = "…" if len(prompt) > MAX_PROMPT_SHOWN else ""
    if first.replaced_turns:
        print_err("aiml: the summary is undone; the turns before it are sent again")
    else:
        print_err(f'aiml: undone: "{prompt[:MAX_PROMPT_SHOWN]}{more}" ({_count_questions(len(session.turns))} left)')
    session.warn_not_saved()
