"""Answer the slash command /write."""

from pathlib import Path

from aiml_cli.errors import Misuse
from aiml_cli.repl.blocks import chosen
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.repl.words import agrees
from aiml_cli.screen.file import OutputFile
from aiml_cli.screen.output import say


@slash("[n] file", completes="files")
def write(session: Session, words: str) -> None:
    """Write the last answer to a file, or its code block n.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    first, _, rest = words.partition(" ")
    place, name = (first, rest.strip()) if first.isdecimal() and rest.strip() else ("", words)
    if not name:
        raise Misuse("/write: to which file?", "/write answer.md, or /write 2 program.py for code block 2")
    text = chosen(session, place)
    put(name, (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace"))


def put(name: str, data: bytes) -> None:
    """Write a file, whole or not at all; ask before one is replaced. Raises Misuse for a no."""
    path = Path(name).expanduser()
    if path.is_file() and not agrees(f"replace {path}?"):
        raise Misuse(f"{path} is there already", "nothing was written")
    file, is_written = OutputFile(str(path)), False
    try:
        file.write(data)
        is_written = True
    finally:
        file.close(complete=is_written)
    say(f"aiml: {len(data):,} bytes are in {path}")
