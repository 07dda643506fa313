"""Do what a line says: a slash command, a shell command, or a message."""

from aiml_cli.errors import AimlError
from aiml_cli.repl.command import find
from aiml_cli.repl.session import Session, tell


def take(session: Session, line: str) -> None:
    """Do it; a fault is told, and ends nothing."""
    text = line.strip()
    if not text:
        return
    try:
        if text.startswith("//"):
            session.ask(text[1:])
        elif text.startswith("/"):
            name, words = [*text[1:].split(None, 1), "", ""][:2]
            find(name).function(session, words)
        elif text.startswith("!"):
            from aiml_cli.repl import shell  # few messages are shell commands

            shell.run(session, text)
        else:
            session.ask(unblocked(text))
    except AimlError as fault:
        tell(fault)


def unblocked(text: str) -> str:
    """Take the marks off a block of lines."""
    is_block = text.startswith('"""') and text.endswith('"""') and len(text) >= 6  # noqa: PLR2004 - two marks
    return text[3:-3].strip("\n") if is_block else text
