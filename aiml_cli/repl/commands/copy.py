"""Answer the slash command /copy."""

import os

from aiml_cli.repl.blocks import chosen
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say


@slash("[n]")
def copy(session: Session, words: str) -> None:
    """Copy the last answer to the clipboard, or its code block n.

    By wl-copy, xclip, xsel, pbcopy or clip.exe, whichever is there, else by the terminal (OSC 52). A number that
    no code block has lists those there are.
    """
    text = chosen(session, words)
    from aiml_cli.repl import clip  # for few lines only

    say(f"aiml: copied {len(text):,} characters by {clip.put(text, os.environ)}")
