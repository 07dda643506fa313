"""Read messages with all the keys of a line editor."""

import os
from collections.abc import Callable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.input import create_input
from prompt_toolkit.output.color_depth import ColorDepth

from aiml_cli.repl.complete import Completer
from aiml_cli.repl.keys import keys
from aiml_cli.repl.place import opened
from aiml_cli.repl.prompts import Prompts
from aiml_cli.repl.session import Session
from aiml_cli.repl.stopping import ended_by_signals
from aiml_cli.repl.toolbar import toolbar
from aiml_cli.screen.choose import wants_color
from aiml_cli.screen.output import is_terminal


class Terminal:
    """Hold the line editor of a session; `drawn` is called once, when the first prompt can be seen."""

    def __init__(self, session: Session, drawn: Callable[[], None], *, keeps: bool, color: str) -> None:
        places: dict[str, Any] = {}
        if not is_terminal(0):  # standard input was piped, and has been read
            places["input"] = create_input(opened())
        if not wants_color(1, color, os.environ):
            places["color_depth"] = ColorDepth.DEPTH_1_BIT
        self._prompt: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=keys(),
            history=Prompts(keeps=keeps),
            completer=ThreadedCompleter(Completer(session)),
            complete_while_typing=False,
            bottom_toolbar=lambda: toolbar(session, self._prompt.app.output.get_size().columns),
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
                with ended_by_signals(self._prompt.app) as is_ended:
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
