"""Let a signal end the prompt; raised in a callback of the event loop it would be lost, and written about."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prompt_toolkit.application import Application

from aiml_cli.signals import ENDINGS, Stopped


@contextmanager
def ended_by_signals(app: Application[str]) -> Iterator[Callable[[], None]]:
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
