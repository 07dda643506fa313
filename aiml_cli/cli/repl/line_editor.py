"""Read messages with a line editor."""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, ThreadedCompleter, get_common_complete_suffix
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER, EditingMode
from prompt_toolkit.filters import (
    Condition,
    emacs_mode,
    has_focus,
    vi_navigation_mode,
    vi_waiting_for_text_object_mode,
)
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.selection import SelectionType
from prompt_toolkit.styles import Style

from aiml_cli.cli.repl.input_history import InputHistory
from aiml_cli.cli.repl.plain_input import LEAVE_HINT, has_open_block
from aiml_cli.cli.repl.session import Session, report_error
from aiml_cli.cli.repl.tab_completion import SessionCompleter, is_completing
from aiml_cli.errors import AimlError, Interrupted
from aiml_cli.output.choose_renderer import has_color
from aiml_cli.system.questions import open_terminal
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.signals import SIGNAL_ERRORS, Stopped
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import BURST_S, KEY_MODE, LINE_MODE, PASTE_END_S, is_terminal, modes

LONG_TEXT = 200  # in keys
# How long after an Escape the rest of the sequence of an arrow key may arrive, in seconds.
EMACS_ESCAPE_S, VI_ESCAPE_S = 0.5, 0.05
_ENTER, _NEWLINE = Keys.ControlM, Keys.ControlJ
_TEXT_KEYS = (_ENTER, _NEWLINE, Keys.ControlI)  # the control characters that pasted text can contain


class KeyInput(Vt100Input):
    """The keyboard input, in terminal modes that survive signals; several lines that arrive together are a paste.

    If `joins_alt_enter` returns True, Alt+Enter becomes Ctrl+J, so that Escape alone need not wait for an Enter.
    """

    def __init__(self, stdin: TextIO, redraw: Callable[[], None], joins_alt_enter: Callable[[], bool]) -> None:
        super().__init__(stdin)
        self._redraw, self._joins_alt_enter = redraw, joins_alt_enter

    def raw_mode(self) -> AbstractContextManager[None]:
        """Set the terminal modes of the line editor for a block."""
        return modes.use(KEY_MODE, self._redraw)

    def cooked_mode(self) -> AbstractContextManager[None]:
        """Set the terminal modes for a block that runs while the line editor waits."""
        return modes.use(LINE_MODE)

    def read_keys(self) -> list[KeyPress]:
        """Return the keys that have arrived; after the end of a line, also those that follow immediately."""
        keys = super().read_keys()
        is_paste, has_lines = _is_paste(keys) or _is_burst(keys), _count_line_ends(keys) > 0
        while has_lines and not self.closed and self._has_input(PASTE_END_S if is_paste else BURST_S):
            keys += super().read_keys()
            is_paste = is_paste or _is_paste(keys) or _is_burst(keys)
        return [*filter(_is_reply, keys), _make_paste(keys)] if is_paste else self._join_keys(keys)

    def add_typed(self, data: bytes, is_draft: bool) -> None:
        """Add the text that was typed before the prompt appeared; an Enter in a draft does not send it."""
        self.vt100_parser.feed(data.decode("utf-8", "surrogateescape"))
        keys = [key for key in self.flush_keys() if not _is_reply(key)]
        while is_draft and _count_line_ends(keys[-1:]):
            keys.pop()
        if _is_paste(keys):
            keys = [_make_paste(keys)]
        elif is_draft:
            keys = list(map(_without_sending, keys))
        store_typeahead(self, self._join_keys(keys))

    def _join_keys(self, keys: list[KeyPress]) -> list[KeyPress]:
        return _join_long_text(_join_alt_enter(keys) if self._joins_alt_enter() else keys)

    def _has_input(self, seconds: float) -> bool:
        return bool(select.select([self.fileno()], [], [], seconds)[0])


def _is_reply(key: KeyPress) -> bool:
    """True for a report that the terminal sent, not the user."""
    return key.key is Keys.CPRResponse


def _is_burst(keys: Sequence[KeyPress]) -> bool:
    """True for keys that arrived together with text after an Enter: a paste, even with control characters.

    Alt+Enter, which arrives as Escape and Enter, only inserts a line break.
    """
    before = [None, *(key.key for key in keys)]
    ends = [index for index, key in enumerate(keys) if key.key is _ENTER and before[index] is not Keys.Escape]
    return bool(ends) and any(not isinstance(key.key, Keys) for key in keys[ends[0] :])


def _is_paste(keys: Sequence[KeyPress]) -> bool:
    """True for several lines of text; Ctrl+J between words with Enter at the end is one typed message."""
    typed = [key for key in keys if not _is_reply(key)]
    if not (0 < _count_line_ends(typed) < len(typed) and all(map(_is_text, typed))):
        return False
    return typed[-1].key is not _ENTER or _ENTER in [key.key for key in typed[:-1]]


def _count_line_ends(keys: Sequence[KeyPress]) -> int:
    return sum(key.key in (_ENTER, _NEWLINE) for key in keys)


def _is_text(key: KeyPress) -> bool:
    """True if the key can be part of pasted text, which contains no control characters."""
    return not isinstance(key.key, Keys) or key.key in _TEXT_KEYS


def _join_long_text(keys: list[KeyPress]) -> list[KeyPress]:
    """Return the keys, with each run of letters in a long text as one key: the line editor is slow for each key."""
    if len(keys) < LONG_TEXT:
        return keys
    joined: list[KeyPress] = []
    for is_letter, group in groupby(keys, lambda key: not isinstance(key.key, Keys)):
        run = list(group)
        joined += [KeyPress(run[0].key, "".join(key.data for key in run))] if is_letter else run
    return joined


def _join_alt_enter(keys: Sequence[KeyPress]) -> list[KeyPress]:
    """Return the keys with each Escape and Enter that arrived together as a Ctrl+J."""
    joined: list[KeyPress] = []
    for key in keys:
        if key.key is _ENTER and joined and joined[-1].key is Keys.Escape:
            joined[-1] = KeyPress(_NEWLINE, "\n")
        else:
            joined.append(key)
    return joined


def _make_paste(keys: Sequence[KeyPress]) -> KeyPress:
    """Return the text of the keys as one key, without control characters."""
    return KeyPress(Keys.BracketedPaste, "".join(key.data for key in keys if _is_text(key)))


def _without_sending(key: KeyPress) -> KeyPress:
    return KeyPress(_NEWLINE, "\n") if key.key is _ENTER else key


PROMPT_MARK = FormattedText([("bold ansigreen", "> ")])
# Without these, prompt_toolkit would use its own colors.
STYLE = Style.from_dict({
    **dict.fromkeys(("aborting", "exiting", "auto-suggestion", "trailing-whitespace"), "bg:default fg:default dim"),
    **dict.fromkeys(("search", "multiple-cursors", "window-too-small"), "bg:default fg:default reverse"),
    **dict.fromkeys(("nbsp", "digraph", "control-character"), "fg:default underline"),
    "completion-menu": "bg:default fg:default",
    "completion-menu.completion.current": "bg:default fg:default reverse",
    "completion-menu.meta.completion": "bg:default fg:default dim",
    "completion-menu.meta.completion.current": "bg:default fg:default reverse",
    "scrollbar.background": "bg:default",
    "scrollbar.button": "bg:default fg:default reverse",
})  # fmt: skip


class LineEditor:
    """The line editor of a session; `on_first_render` is called once, when the first prompt is on the screen."""

    def __init__(self, session: Session, on_first_render: Callable[[], None], *, is_saved: bool, color: str) -> None:
        terminal: dict[str, Any] = {}
        self._session = session
        # Standard input may be a pipe that has been read.
        self._input = KeyInput(sys.stdin if is_terminal(0) else open_terminal(), self._redraw, self._is_vi)
        if not has_color(1, color, os.environ):
            terminal["color_depth"] = ColorDepth.DEPTH_1_BIT
        self._prompt: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=build_key_bindings(session.pastes.add),
            history=InputHistory(is_saved=is_saved),
            completer=ThreadedCompleter(SessionCompleter(session)),
            complete_while_typing=Condition(self._is_completing),
            bottom_toolbar=self._render_toolbar,
            prompt_continuation="  ",
            enable_history_search=~Condition(self._is_completing),
            style=STYLE,
            enable_suspend=True,
            input=self._input,
            **terminal,
        )
        self._on_first_render = on_first_render
        self._prompt.app.after_render += self._handle_first_render

    def read(self) -> str | None:
        """Return the next message, or None when the user leaves; Ctrl-C clears the typed text."""
        while True:
            self._choose_keys()
            self._input.add_typed(*modes.take_typed())
            try:
                with exit_on_signal(self._prompt.app) as exit_if_stopped:
                    text = self._prompt.prompt(PROMPT_MARK, pre_run=exit_if_stopped)
            except KeyboardInterrupt:
                if not self._prompt.default_buffer.text:
                    print_err(LEAVE_HINT)
                continue
            except EOFError:
                return None
            # Bytes that are not UTF-8 arrive as surrogates, which no server accepts.
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _choose_keys(self) -> None:
        """Use the key bindings of the setting `editing`; with those of vi, Escape takes effect sooner."""
        is_vi = self._session.get_editing() == "vi"
        self._prompt.editing_mode = EditingMode.VI if is_vi else EditingMode.EMACS
        self._prompt.app.ttimeoutlen = VI_ESCAPE_S if is_vi else EMACS_ESCAPE_S

    def _is_vi(self) -> bool:
        return self._prompt.editing_mode is EditingMode.VI

    def _render_toolbar(self) -> FormattedText:
        app = self._prompt.app
        return render_toolbar(self._session, app.output.get_size().columns, name_vi_mode(app))

    def _redraw(self) -> None:
        """Draw the prompt again, below the output of other programs, after this one was suspended."""
        if self._prompt.app.loop:
            self._prompt.app.loop.call_soon_threadsafe(self._draw_again)

    def _draw_again(self) -> None:
        if self._prompt.app.is_running:
            self._prompt.app.renderer.reset()
            self._prompt.app.renderer.request_absolute_cursor_position()
            self._prompt.app.invalidate()

    def _is_completing(self) -> bool:
        return is_completing(self._prompt.default_buffer.document)

    def _handle_first_render(self, _app: object) -> None:
        self._prompt.app.after_render -= self._handle_first_render
        self._on_first_render()


def edit_line(mark: str, text: str, color: str) -> str:
    """Let the user edit a text on a line that begins with a mark, and return it; Alt+Enter inserts a line break.

    Raises Interrupted at Ctrl-C and Ctrl-D.
    """
    bindings = _ignore_mouse()
    bindings.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    terminal: dict[str, Any] = {} if has_color(1, color, os.environ) else {"color_depth": ColorDepth.DEPTH_1_BIT}
    with open_terminal() as stdin:
        key_input = KeyInput(stdin, lambda: None, lambda: False)
        prompt: PromptSession[str] = PromptSession(key_bindings=bindings, input=key_input, style=STYLE, **terminal)
        try:
            with exit_on_signal(prompt.app) as exit_if_stopped:
                edited = prompt.prompt(mark, default=text, pre_run=exit_if_stopped)
        except (KeyboardInterrupt, EOFError):
            raise Interrupted("interrupted") from None
    return edited.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def build_key_bindings(record_paste: Callable[[str], None]) -> KeyBindings:
    """Return the key bindings that differ from the library's; `record_paste` gets each pasted text."""
    bindings = _ignore_mouse()
    typing = has_focus(DEFAULT_BUFFER)  # while a search is typed, Enter ends the search

    @bindings.add("enter", filter=typing & ~vi_waiting_for_text_object_mode)
    def _(event: KeyPressEvent) -> None:
        _handle_enter(event.current_buffer)

    @bindings.add("escape", "enter", filter=typing & emacs_mode)
    @bindings.add("c-j", filter=typing & ~vi_navigation_mode)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add(Keys.BracketedPaste, filter=typing)
    def _(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        record_paste(text)
        event.current_buffer.insert_text(text)

    @bindings.add("c-j", filter=typing & vi_navigation_mode)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_line_below(copy_margin=False)
        event.app.vi_state.input_mode = InputMode.INSERT

    @bindings.add("tab", filter=typing & ~vi_navigation_mode)
    def _(event: KeyPressEvent) -> None:
        _handle_tab(event.current_buffer)

    @bindings.add("v", filter=typing & vi_navigation_mode)  # as in shells
    @bindings.add("c-x", "c-e", filter=typing)
    def _(event: KeyPressEvent) -> None:
        run_in_terminal(lambda: _open_editor(event.current_buffer))

    return bindings


def _ignore_mouse() -> KeyBindings:
    """Return key bindings that ignore mouse events: a color code in a paste looks like one."""
    bindings = KeyBindings()
    bindings.add(Keys.Vt100MouseEvent)(lambda _event: None)
    return bindings


def _handle_enter(buffer: Buffer) -> None:
    """Send the message, or insert a line break after a backslash and in an open block."""
    if buffer.document.current_line_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end_of_line:
        buffer.delete_before_cursor()
        buffer.insert_text("\n")
    elif has_open_block(buffer.text):
        buffer.insert_text("\n")
    else:
        buffer.validate_and_handle()


def _handle_tab(buffer: Buffer) -> None:
    """Insert the completion if there is only one; else open the menu, or go to its next line.

    The completions are computed here, because those computed during typing may not be ready yet.
    """
    state = buffer.complete_state
    found = list(state.completions if state else buffer.completer.get_completions(buffer.document, CompleteEvent()))
    if len(found) == 1:
        buffer.apply_completion(found[0])
    elif state:
        buffer.complete_next()
    elif found:
        buffer.insert_text(get_common_complete_suffix(buffer.document, found))
        buffer.start_completion()


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


def name_vi_mode(app: Application[str]) -> str:
    """Return the name of the vi mode for the toolbar, or "" with the key bindings of emacs."""
    if app.editing_mode is not EditingMode.VI:
        return ""
    if selection := app.current_buffer.selection_state:
        return _SELECTION_NAMES[selection.type]
    return _MODE_NAMES[app.vi_state.input_mode]


_MODE_NAMES = {
    InputMode.INSERT: "INSERT",
    InputMode.INSERT_MULTIPLE: "INSERT",
    InputMode.NAVIGATION: "NORMAL",
    InputMode.REPLACE: "REPLACE",
    InputMode.REPLACE_SINGLE: "REPLACE",
}
_SELECTION_NAMES = {
    SelectionType.CHARACTERS: "VISUAL",
    SelectionType.LINES: "VISUAL LINE",
    SelectionType.BLOCK: "VISUAL BLOCK",
}


def render_toolbar(session: Session, width: int, mode: str = "") -> FormattedText:
    """Return the line with mode, model, context and cost, and above it a line with the queued files, if any."""
    prefix = f"{mode} · " if mode else ""
    model, costs = session.get_model(), f" · {session.tokens} tokens · {session.total_cost}"
    if (fill := session.describe_context_usage(model)) and len(f" {prefix}{model} · {fill}{costs}") < width:
        costs = f" · {fill}{costs}"
    names = [*(Path(file).name or file for file in session.files), *(output.name for output in session.shell_outputs)]
    lines = [f"queued: {', '.join(names)}"] if names else []
    lines.append(prefix + _describe_session(session, model, width - len(prefix) - len(costs) - 2) + costs)
    return FormattedText([("", "\n".join(f" {_fit_line(line, width - 2)}" for line in lines))])


def _describe_session(session: Session, model: str, width: int) -> str:
    """Return the model and the active tools; if space is short, the model and the number of tools, or less."""
    tools, count = session.tools.describe(), len(session.tools.list_active())
    texts = (f"{model} · tools: {tools}", f"{model} · {count} tool{'' if count == 1 else 's'}") if count else ()
    return next((text for text in texts if len(text) <= width), _fit_line(model, width))


def _fit_line(text: str, width: int) -> str:
    line = sanitize(text.replace("\n", "\\n").replace("\t", "\\t"))
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"
