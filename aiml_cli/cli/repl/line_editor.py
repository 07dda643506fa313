"""Read messages with all the keys of a line editor."""

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
from prompt_toolkit.output.color_depth import ColorDepth

from aiml_cli.cli.repl.input_history import InputHistory
from aiml_cli.cli.repl.session import Session, report_error
from aiml_cli.cli.repl.tab_completion import Completer
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import wants_color
from aiml_cli.system.questions import open_terminal
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import ENDINGS, Stopped
from aiml_cli.system.terminal import is_terminal

QUOTES = '"""'


class LineEditor:
    """Hold the line editor of a session; `drawn` is called once, when the first prompt can be seen."""

    def __init__(self, session: Session, drawn: Callable[[], None], *, keeps: bool, color: str) -> None:
        places: dict[str, Any] = {}
        if not is_terminal(0):  # standard input was piped, and has been read
            places["input"] = create_input(open_terminal())
        if not wants_color(1, color, os.environ):
            places["color_depth"] = ColorDepth.DEPTH_1_BIT
        self._prompt: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=build_key_bindings(),
            history=InputHistory(keeps=keeps),
            completer=ThreadedCompleter(Completer(session)),
            complete_while_typing=False,
            bottom_toolbar=lambda: render_toolbar(session, self._prompt.app.output.get_size().columns),
            prompt_continuation="  ",
            enable_history_search=True,
            enable_suspend=True,
            **places,
        )
        self._drawn = drawn
        self._prompt.app.after_render += self._is_drawn

    def read(self) -> str | None:
        """Give the next message; None when the user leaves. Ctrl-C clears what is typed."""
        while True:
            try:
                with exit_on_signal(self._prompt.app) as is_ended:
                    text = self._prompt.prompt("> ", pre_run=is_ended)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None
            # What is no UTF-8 comes as halves of pairs, which can be sent to nobody.
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _is_drawn(self, _app: object) -> None:
        self._prompt.app.after_render -= self._is_drawn
        self._drawn()


def build_key_bindings() -> KeyBindings:
    """Give the bindings that differ from those of other line editors."""
    bindings = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)  # while a search is typed, Enter ends the search

    @bindings.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        _enter(event.current_buffer)

    @bindings.add("escape", "enter", filter=typing)
    @bindings.add("c-j", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-x", "c-e", filter=typing)
    def _(event: KeyPressEvent) -> None:
        run_in_terminal(lambda: _edit(event.current_buffer))

    return bindings


def _enter(buffer: Buffer) -> None:
    """Send, unless the line goes on: by a backslash at its end, or in a block that is open."""
    if buffer.document.current_line_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end_of_line:
        buffer.delete_before_cursor()
        buffer.insert_text("\n")
    elif _is_open(buffer.document):
        buffer.insert_text("\n")
    else:
        buffer.validate_and_handle()


def _edit(buffer: Buffer) -> None:
    """Let the editor change what is typed; it is sent by Enter only."""
    from aiml_cli.core.prompt_editor import edit_text  # few messages are written in an editor

    try:
        text = edit_text(buffer.text, os.environ)
    except AimlError as fault:
        report_error(fault)
    else:
        buffer.document = Document(text, len(text))


def _is_open(document: Document) -> bool:
    """Say whether a block of lines waits for its end."""
    return document.text.lstrip().startswith(QUOTES) and document.text.count(QUOTES) % 2 == 1


@contextmanager
def exit_on_signal(app: Application[str]) -> Iterator[Callable[[], None]]:
    """End the application when a signal comes, then raise Stopped; what is given is called when it has begun."""
    came: list[int] = []

    def leave() -> None:
        if came and app.is_running and not app.is_done:
            app.exit(exception=EOFError)

    def note(number: int, _frame: Any) -> None:
        came.append(number)
        if app.loop:
            app.loop.call_soon_threadsafe(leave)

    ours = {number: signal.getsignal(number) for number in ENDINGS}
    ours = {number: handler for number, handler in ours.items() if callable(handler)}  # what is ignored stays so
    for number in ours:
        signal.signal(number, note)
    try:
        yield leave
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:
            raise Stopped(came[0])


def render_toolbar(session: Session, width: int) -> FormattedText:
    """Give a line, and above it one of the files that wait, where some do."""
    spent = f" · {session.tokens} tokens · ${session.cost_usd:.4f}"
    waiting = [*(Path(each).name or each for each in session.files), *(each.name for each in session.outputs)]
    lines = [f"sends along {', '.join(waiting)}"] if waiting else []
    model = _line(session.model_name(), width - len(spent) - 2)
    return FormattedText([("", "\n".join(f" {_line(each, width - 2)}" for each in [*lines, model + spent]))])


def _line(text: str, width: int) -> str:
    """Make a text harmless, and cut it to a line."""
    shown = sanitize(text.replace("\n", "\\n").replace("\t", "\\t"))
    return shown if len(shown) <= width else shown[: max(width - 1, 0)] + "…"
