"""Answer the slash command /file."""

from aiml_cli.errors import Misuse
from aiml_cli.prompt.sources import SCHEMES, there
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.repl.words import parted
from aiml_cli.screen.output import say


@slash("[path …]", completes="files")
def file(session: Session, words: str) -> None:
    """Send files along with the next message, or list those that wait.

    A path, folder, glob or URL, or several; quotes keep a name with spaces together. - lets go of all that wait.
    """
    if words == "-":
        session.files, session.outputs = [], []
    names = [] if words == "-" else [words] if there(words) and words else parted(words)
    for name in names:
        _see_that_it_is_there(name)
    session.files += [name for name in dict.fromkeys(names) if name not in session.files]
    waiting = session.queued
    say(
        f"aiml: goes along with the next message: {', '.join(waiting)}" if waiting else "aiml: no file waits to be sent"
    )


def _see_that_it_is_there(name: str) -> None:
    """Raise Misuse now for what could not be sent later."""
    if name.lower().startswith(SCHEMES) or there(name):
        return
    from glob import iglob  # few names are globs
    from pathlib import Path

    if not any(iglob(str(Path(name).expanduser()), recursive=True)):  # noqa: PTH207 - as what sends it finds it
        is_glob = bool({*name} & {*"*?["})
        raise Misuse(f"{name}: {'no file matches' if is_glob else 'there is no such file'}", "nothing is queued")
