"""Answer the slash command /set."""

from difflib import get_close_matches
from typing import Any

from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Said, lasting, read


@slash("[key=value]", completes="settings")
def set(session: Session, words: str) -> None:  # noqa: A001 - named after what is typed
    """Change a setting from now on, or show what is set here.

    Every setting that a config file can hold: /set temperature=0.2, /set effort=high, /set format=text. It counts
    for more than the flags typed at the start; /unset takes it back.
    """
    if not words:
        _show(session)
        return
    name, is_given, value = (part.strip() for part in words.partition("="))
    row = known(session, name)
    if not is_given:
        raise Misuse(f"/set {row.name}: a value is missing", f"/set {row.name}=VALUE; /unset {row.name} takes it back")
    said = Said((value,), f"/set {row.name}")
    read(row, said, session.endpoint)
    earlier = session.set[row.name].texts if row.kind.many and row.name in session.set else ()
    session.set[row.name] = Said((*earlier, value), said.speaker)
    session.without -= {row.name}
    _tell(row.name, session.set[row.name])


def known(session: Session, name: str) -> Option[Any]:
    """Give the row of a name, with dashes or underscores; raise Misuse with the likely one for none."""
    rows = {row.name: row for row in lasting() if row.on(session.endpoint)}
    spelled = name.removeprefix("--").replace("-", "_")
    if spelled in rows:
        return rows[spelled]
    if spelled in ROWS:
        raise Misuse(f"/set: {spelled} has no place here", _elsewhere(ROWS[spelled]))
    near = get_close_matches(spelled, rows, 1)
    raise Misuse(
        f"/set: unknown setting {name!r}", f"did you mean {near[0]}?" if near else "aiml config show lists them"
    )


def _elsewhere(row: Option[Any]) -> str:
    if row.secret:
        return "store the key with: aiml config key"
    return f"it is said with each call: {row.flag}" if row.once else "this endpoint does not know it"


def _show(session: Session) -> None:
    if not session.set:
        say("aiml: nothing is set here; /set key=value does, and aiml config show lists what holds elsewhere")
    for name in sorted(session.set):
        _tell(name, session.set[name])


def _tell(name: str, said: Said) -> None:
    say(f"aiml: {name} = {', '.join(said.texts)}")
