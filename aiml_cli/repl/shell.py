"""Run a shell command that the user typed, and send its output along where that is wanted."""

import subprocess
import sys

from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say, show


def run(session: Session, text: str) -> None:
    """Let `!command` have the terminal; show what `!!command` prints, and keep it for the next message."""
    command = text.lstrip("!").strip()
    if not command:
        say("aiml: which command? !ls shows what it prints, !!ls sends that along too")
        return
    sys.stdout.flush()
    code = _kept(session, command) if text.startswith("!!") else subprocess.call(command, shell=True)  # noqa: S602 - typed by the user
    if code:
        say(f"aiml: the command ended with {code}")


def _kept(session: Session, command: str) -> int:
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S602 - typed by the user
    output = done.stdout.decode("utf-8", "replace")
    show(output if output.endswith("\n") or not output else output + "\n")
    session.attach(command, output)
    say("aiml: this goes along with the next message; /file - takes it back")
    return done.returncode
