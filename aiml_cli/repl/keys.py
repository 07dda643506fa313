"""Bind the keys that send, those that begin a new line, and the one that opens an editor."""

import os

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from aiml_cli.errors import AimlError
from aiml_cli.repl.session import tell

QUOTES = '"""'


def keys() -> KeyBindings:
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
    from aiml_cli.editor import written  # few messages are written in an editor

    try:
        text = written(buffer.text, os.environ)
    except AimlError as fault:
        tell(fault)
    else:
        buffer.document = Document(text, len(text))


def _is_open(document: Document) -> bool:
    """Say whether a block of lines waits for its end."""
    return document.text.lstrip().startswith(QUOTES) and document.text.count(QUOTES) % 2 == 1
