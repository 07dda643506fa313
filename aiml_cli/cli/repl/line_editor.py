"""Read messages with the keys of a line editor."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.color_depth import ColorDepth

from aiml_cli.cli.repl.input_history import InputHistory
from aiml_cli.cli.repl.plain_input import has_open_block
from aiml_cli.cli.repl.session import Session, report_error
from aiml_cli.cli.repl.tab_completion import SessionCompleter
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import has_color
from aiml_cli.system.questions import open_terminal
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import SIGNAL_ERRORS, Stopped
from aiml_cli.system.terminal import is_terminal


class LineEditor:
    """The line editor of a session; `on_first_render` is called once, when the first prompt is on the screen."""

    def __init__(self, session: Session, on_first_render: Callable[[], None], *, is_saved: bool, color: str) -> None:
        terminal: dict[str, Any] = {}
        if not is_terminal(0):  # standard input was piped, and has been read
            terminal["input"] = create_input(open_terminal())
        if not has_color(1, color, os.environ):
            terminal["color_depth"] = ColorDepth.DEPTH_1_BIT
        self._prompt: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=build_key_bindings(session.pastes.add),
            history=InputHistory(is_saved=is_saved),
            completer=ThreadedCompleter(SessionCompleter(session)),
            complete_while_typing=False,
            bottom_toolbar=lambda: render_toolbar(session, self._prompt.app.output.get_size().columns),
            prompt_continuation="  ",
            enable_history_search=True,
            enable_suspend=True,
            **terminal,
        )
        self._on_first_render = on_first_render
        self._prompt.app.after_render += self._handle_first_render

    def read(self) -> str | None:
        """Return the next message, or None when the user leaves. Ctrl-C clears what is typed."""
        while True:
            try:
                with exit_on_signal(self._prompt.app) as exit_if_stopped:
                    text = self._prompt.prompt("> ", pre_run=exit_if_stopped)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None
            # Bytes that are not UTF-8 arrive as surrogates, which no server accepts.
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _handle_first_render(self, _app: object) -> None:
        self._prompt.app.after_render -= self._handle_first_render
        self._on_first_render()


def build_key_bindings(record_paste: Callable[[str], None]) -> KeyBindings:
    """Return the bindings that differ from those of other line editors; `record_paste` gets each pasted text."""
    bindings = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)  # while a search is typed, Enter ends the search

    @bindings.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        _handle_enter(event.current_buffer)

    @bindings.add("escape", "enter", filter=typing)
    @bindings.add("c-j", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add(Keys.BracketedPaste, filter=typing)
    def _(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        record_paste(text)
        event.current_buffer.insert_text(text)

    @bindings.add("c-x", "c-e", filter=typing)
    def _(event: KeyPressEvent) -> None:
        run_in_terminal(lambda: _open_editor(event.current_buffer))

    return bindings


def _handle_enter(buffer: Buffer) -> None:
    """Send the message; after a backslash, or in an open block, begin a new line."""
    if buffer.document.current_line_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end_of_line:
        buffer.delete_before_cursor()
        buffer.insert_text("\n")
    elif has_open_block(buffer.text):
        buffer.insert_text("\n")
    else:
        buffer.validate_and_handle()


def _open_editor(buffer: Buffer) -> None:
    """Edit the message in the user's editor; only Enter sends it."""
    from aiml_cli.core.prompt_editor import edit_text  # few messages are written in an editor

    try:
        text = edit_text(buffer.text, os.environ)
    except AimlError as error:
        report_error(error)
    else:
        buffer.document = Document(text, len(text))


@contextmanager
def exit_on_signal(app: Application[str]) -> Iterator[Callable[[], None]]:
    """Exit the application when a signal arrives, then raise Stopped.

    The function that it yields must be called when the application has started.
    """
    received: list[int] = []

    def exit_if_stopped() -> None:
        if received and app.is_running and not app.is_done:
            app.exit(exception=EOFError)

    def handle_signal(number: int, _frame: Any) -> None:
        received.append(number)
        if app.loop:
            app.loop.call_soon_threadsafe(exit_if_stopped)

    handlers = {number: signal.getsignal(number) for number in SIGNAL_ERRORS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}  # ignored ones stay so
    for number in handlers:
        signal.signal(number, handle_signal)
    try:
        yield exit_if_stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            raise Stopped(received[0])


def render_toolbar(session: Session, width: int) -> FormattedText:
    """Return the line of model and cost, and above it one of the queued files, if there are any."""
    costs = f" · {session.tokens} tokens · ${session.cost_usd:.4f}"
    names = [*(Path(file).name or file for file in session.files), *(output.name for output in session.shell_outputs)]
    lines = [f"sends along {', '.join(names)}"] if names else []
    lines.append(_fit_line(session.get_model(), width - len(costs) - 2) + costs)
    return FormattedText([("", "\n".join(f" {_fit_line(line, width - 2)}" for line in lines))])


def _fit_line(text: str, width: int) -> str:
    line = sanitize(text.replace("\n", "\\n").replace("\t", "\\t"))
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"
