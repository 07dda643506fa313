"""Run the REPL: send the message of the command line, then read and answer one message at a time."""

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

from aiml_cli import __version__
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.cli.repl import slash_commands, slash_content, slash_conversation, slash_info, slash_settings
from aiml_cli.cli.repl.load_conversation import load_conversation
from aiml_cli.cli.repl.plain_input import QUOTES, PlainInput
from aiml_cli.cli.repl.session import Session, report_error
from aiml_cli.core.chat_request import ChatRequest, require_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.stdin import has_stdin
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.store.config_file import read_sources
from aiml_cli.system import signals
from aiml_cli.system.questions import confirm, open_terminal
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import collect_keys, get_terminal_size, is_terminal

ReadMessage = Callable[[], str | None]

# Lines that users type to leave or to get help; in triple quotes, they are messages.
_WHOLE_LINES = {
    **dict.fromkeys(("exit", "quit", "exit()", "quit()", ":q", ":q!", ":wq", ":quit", ".exit", ".quit"), "/exit"),
    **dict.fromkeys(("help", "?", "help()", ":help", ".help"), "/help"),
}

slash_commands.load_commands(slash_conversation, slash_content, slash_settings, slash_info)


def run_repl(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Read and answer messages until the user leaves; raise UsageError if there is no terminal."""
    _require_terminal()
    settings = resolve(read_sources(flags, os.environ), endpoint)
    require_key(ChatRequest(get_endpoint(endpoint), words, settings))
    with start_demo_if_asked(settings) as demo_settings, collect_keys(), ExitStack() as stack:
        session = Session(endpoint, flags, demo_settings.options.base_url if settings.options.demo else None)
        stack.callback(session.tools.close)
        session.check_flags()
        if not settings.options.quiet:
            _print_greeting(session)
        session.tools.open(session.resolve_settings())
        if "continue" in flags or "resume" in flags:
            name = flags["resume"].texts[-1].removeprefix("=") if "resume" in flags else None
            load_conversation(session, name, fork="fork" in flags)
        if words or flags.keys() & {"file", "template", "edit"} or has_stdin():
            _run_interruptible(lambda: _ask_initial(session, words))
        _run_loop(session, _choose_reader(session, settings.options))
    return 0


def _print_greeting(session: Session) -> None:
    """Print the version, the model and how to get help, wrapped between words."""
    model = " ".join(session.get_model().split())
    text = f"aiml {__version__} · {model} · /help for commands, Ctrl-D to leave"
    width = get_terminal_size(2)[0] - 1
    print_err(textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False))


def _ask_initial(session: Session, words: Sequence[str]) -> None:
    try:
        session.ask_initial(words)
    except Exception as bug:
        if isinstance(bug, AimlError):
            raise
        report_bug(bug)


def _require_terminal() -> None:
    """Raise UsageError if the program has no terminal to write to or to read from."""
    if not is_terminal(1):
        raise UsageError("--interactive needs a terminal to write to", "without it, aiml answers once and exits")
    if not is_terminal(0):
        open_terminal().close()  # raises an error if there is no terminal


def _run_loop(session: Session, read: ReadMessage) -> None:
    def run_step() -> None:
        if (line := read()) is None:
            session.is_over = True
        else:
            handle_line(session, line)

    while not session.is_over:
        _run_interruptible(run_step)


def _run_interruptible(action: Callable[[], None]) -> None:
    """Run an action; Ctrl-C stops only the action, and every other signal ends the REPL."""
    try:
        action()
    except Stopped as stop:
        if stop.error.exit_code != signals.INTERRUPTED_EXIT_CODE:
            raise
    finally:
        signals.install_handlers()  # the first signal removed them


def _choose_reader(session: Session, options: Options) -> ReadMessage:
    """Return the function that reads a message: with the line editor, or without it on simple terminals."""
    if os.environ.get("TERM", "") in ("", "dumb"):
        return PlainInput(session.pastes.add).read
    from aiml_cli.cli.repl.line_editor import LineEditor  # prompt_toolkit takes a tenth of a second

    preload = Thread(target=_import_sender, daemon=True)
    return LineEditor(session, preload.start, is_saved=not options.no_log, color=options.color or "auto").read


def _import_sender() -> None:
    """Import the modules that the first request needs, while the user is still typing."""
    import aiml_cli.core.send_with_retries  # noqa: F401


def handle_line(session: Session, line: str) -> None:
    """Run `/command` or `!command`, or send a message (`//text` sends `/text`); errors are printed."""
    text = line.strip()
    if not text:
        return
    try:
        _run_line(session, _WHOLE_LINES.get(text.lower(), text))
    except AimlError as error:
        report_error(error)
    except Exception as bug:  # noqa: BLE001 - an internal error must not end the conversation
        report_bug(bug)
    finally:
        session.pastes.end_message()


def _run_line(session: Session, text: str) -> None:
    first_line, *more = text.split("\n")
    if text.startswith("//"):
        session.ask(text[1:])
    elif text.startswith("/") and more and session.pastes.contains(first_line, first_line):
        session.ask(text)  # several pasted lines are not a command
    elif text.startswith("/"):
        name, words = [*text[1:].split(None, 1), "", ""][:2]
        slash_commands.find_command(name).function(session, words)
    elif text.startswith("!"):
        _run_shell(session, text)
    else:
        session.ask(strip_multiline_quotes(text))


def report_bug(bug: Exception) -> None:
    """Print an internal error and its location, without values: they may be the user's text, or the key."""
    from traceback import extract_tb  # few lines need it

    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(bug.__traceback__)[-3:]]
    print_err(f"aiml: internal error: {type(bug).__name__} ({', '.join(places)})")
    print_err("hint: the conversation continues; please report the line above")


def strip_multiline_quotes(text: str) -> str:
    """Remove the triple quotes around a message of several lines."""
    is_block = text.startswith(QUOTES) and text.endswith(QUOTES) and len(text) >= 2 * len(QUOTES)
    return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n") if is_block else text


def _run_shell(session: Session, text: str) -> None:
    """Run `!command` on the terminal; show the output of `!!command`, and attach it to the next message."""
    command = text.lstrip("!").strip()
    if session.pastes.contains(first_line := text.partition("\n")[0], first_line):
        print_err(f"aiml: pasted command: {text}")
        if not confirm("run it?"):
            raise UsageError("the pasted command was not run")
    if not command:
        print_err("aiml: a command is required: !ls shows its output; !!ls also sends it with the next message")
        return
    from aiml_cli.system import child_process  # few messages are shell commands

    sys.stdout.flush()
    if text.startswith("!!"):
        code, output = child_process.capture_shell(command)
        print_out(output if output.endswith("\n") or not output else output + "\n")
        session.attach(command, output)
        print_err("aiml: sent with the next message; /file - removes it")
    else:
        code = child_process.run_shell(command)
    slash_content.report_exit(code)
