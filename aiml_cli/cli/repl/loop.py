"""Run the REPL: first what was asked on the command line, then a line at a time."""

import os
import sys
from collections.abc import Callable, Sequence
from threading import Thread

from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.cli.repl import slash_commands, slash_content, slash_conversation, slash_info, slash_settings
from aiml_cli.cli.repl.session import Session, report_error
from aiml_cli.core.chat_request import ChatRequest, require_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.stdin import has_stdin
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.store.config_file import read_sources
from aiml_cli.system import signals
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import is_terminal

Read = Callable[[], str | None]

slash_commands.load_commands(slash_content, slash_conversation, slash_info, slash_settings)


def run_repl(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Talk until the user leaves; raise UsageError where there is nobody to talk with."""
    _need_terminal()
    settings = resolve(read_sources(flags, os.environ), endpoint)
    require_key(ChatRequest(ENDPOINTS[endpoint], words, settings))
    with start_demo_if_asked(settings) as settled:
        session = Session(endpoint, flags, settled.options.base_url if settings.options.demo else None)
        session.check_flags()
        if "continue" in flags or "resume" in flags:
            from aiml_cli.cli.repl import load_conversation  # most conversations are new

            load_conversation.load_conversation(
                session, flags["resume"].texts[-1].removeprefix("=") if "resume" in flags else None
            )
        if words or flags.keys() & {"file", "template", "edit"} or has_stdin():
            _guarded(lambda: session.ask_initial(words))
        _loop(session, _reader(session, settings.options))
    return 0


def _need_terminal() -> None:
    """Raise UsageError before anything is paid for."""
    if not is_terminal(1):
        raise UsageError("--interactive needs a terminal to write to", "without it there is one answer")
    if not is_terminal(0):
        from aiml_cli.system.questions import open_terminal  # only what was piped in leaves nobody to type

        open_terminal().close()


def _loop(session: Session, read: Read) -> None:
    def step() -> None:
        line = read()
        if line is None:
            session.is_over = True
        else:
            handle_line(session, line)

    while not session.is_over:
        _guarded(step)


def _guarded(do: Callable[[], None]) -> None:
    """Do something; Ctrl-C stops it and nothing else, other signals end the REPL."""
    try:
        do()
    except Stopped as stop:
        if stop.error.exit_code != signals.INTERRUPTED:
            raise
    finally:
        signals.install_handlers()


def _reader(session: Session, options: Options) -> Read:
    """Choose how lines are read: with all keys where the terminal can show them."""
    if os.environ.get("TERM", "") in ("", "dumb"):
        from aiml_cli.cli.repl.plain_input import PlainInput

        return PlainInput().read
    from aiml_cli.cli.repl.line_editor import LineEditor

    return LineEditor(session, _load_beside, keeps=not options.no_log, color=options.color or "auto").read


def _load_beside() -> None:
    """Load while the user types what the first message will need."""
    Thread(target=_load, daemon=True).start()


def _load() -> None:
    import aiml_cli.core.send_with_retries  # noqa: F401


def handle_line(session: Session, line: str) -> None:
    """Do it; a fault is told, and ends nothing."""
    text = line.strip()
    if not text:
        return
    try:
        if text.startswith("//"):
            session.ask(text[1:])
        elif text.startswith("/"):
            name, words = [*text[1:].split(None, 1), "", ""][:2]
            slash_commands.find_command(name).function(session, words)
        elif text.startswith("!"):
            _run_shell(session, text)
        else:
            session.ask(strip_block_marks(text))
    except AimlError as fault:
        report_error(fault)


def strip_block_marks(text: str) -> str:
    """Take the marks off a block of lines."""
    is_block = text.startswith('"""') and text.endswith('"""') and len(text) >= 6  # noqa: PLR2004 - two marks
    return text[3:-3].strip("\n") if is_block else text


def _run_shell(session: Session, text: str) -> None:
    """Let `!command` have the terminal; show what `!!command` prints, and keep it for the next message."""
    command = text.lstrip("!").strip()
    if not command:
        print_err("aiml: which command? !ls shows what it prints, !!ls sends that along too")
        return
    from aiml_cli.system import child_process  # few messages are shell commands

    sys.stdout.flush()
    code = _kept(session, command) if text.startswith("!!") else child_process.run_shell(command)
    if code:
        print_err(f"aiml: the command ended with {code}")


def _kept(session: Session, command: str) -> int:
    from aiml_cli.system.child_process import capture_shell

    code, output = capture_shell(command)
    print_out(output if output.endswith("\n") or not output else output + "\n")
    session.attach(command, output)
    print_err("aiml: this goes along with the next message; /file - takes it back")
    return code
