"""Answer the slash command /export."""

from pathlib import Path

from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.commands.write import put
from aiml_cli.repl.session import Session


@slash("file", completes="files")
def export(session: Session, words: str) -> None:
    """Write the conversation to a file: Markdown for .md, JSON for .json, a message a line for .jsonl.

    It asks before it replaces a file, and writes all of it or nothing.
    """
    from aiml_cli import export as forms  # for few lines only
    from aiml_cli.repl.whole import whole

    form = {".md": forms.markdowns, ".json": forms.objects, ".jsonl": forms.lines}.get(Path(words).suffix.lower())
    if form is None:
        raise Misuse(
            f"/export: {words!r} ends with none of .md, .json and .jsonl" if words else "/export: to which file?"
        )
    put(words, form([whole(session)]))
