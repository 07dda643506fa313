"""Answer the slash command /help."""

from aiml_cli.repl.command import find, names, slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say

KEYS = """\
!command          show what a shell command prints; !!command sends it along with the next message
@path             send a file along; //text sends a text that begins with a slash
Enter sends; Alt+Enter, Ctrl+J or a \\ at the end begins a new line; \"\"\" opens and closes a block of lines.
Ctrl-C stops an answer, and clears what is typed; Ctrl-D leaves; Ctrl+X Ctrl+E opens the editor."""


@slash("[command]", completes="commands")
def help(session: Session, words: str) -> None:  # noqa: A001, ARG001 - named after what is typed
    """List the commands, or tell what one does."""
    wanted = [words.removeprefix("/")] if words else names()
    for command in map(find, wanted):
        say(f"/{command.name} {command.usage}".ljust(28) + command.help)
        if words:
            say(command.more)
    if not words:
        say(KEYS)
