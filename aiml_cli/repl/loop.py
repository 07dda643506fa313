"""Run the REPL: first what was asked on the command line, then a line at a time."""

import os
from collections.abc import Callable, Sequence
from threading import Thread

from aiml_cli import signals
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.embedded import served
from aiml_cli.errors import Misuse
from aiml_cli.prompt.stdin import holds_something
from aiml_cli.question import Question, see_that_there_is_a_key
from aiml_cli.repl.line import take
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import is_terminal
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import resolve
from aiml_cli.signals import Stopped
from aiml_cli.store.config import layers

Read = Callable[[], str | None]


def run(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Talk until the user leaves; raise Misuse where there is nobody to talk with."""
    _need_terminal()
    settings = resolve(layers(flags, os.environ), endpoint)
    see_that_there_is_a_key(Question(ENDPOINTS[endpoint], words, settings))
    with served(settings) as settled:
        session = Session(endpoint, flags, settled.options.base_url if settings.options.demo else None)
        session.begin()
        if words or flags.keys() & {"file", "template", "edit"} or holds_something():
            _guarded(lambda: session.first(words))
        _loop(session, _reader(session, settings.options))
    return 0


def _need_terminal() -> None:
    """Raise Misuse before anything is paid for."""
    if not is_terminal(1):
        raise Misuse("--interactive needs a terminal to write to", "without it there is one answer")
    if not is_terminal(0):
        from aiml_cli.repl.place import opened  # only what was piped in leaves nobody to type

        opened().close()


def _loop(session: Session, read: Read) -> None:
    def step() -> None:
        line = read()
        if line is None:
            session.is_over = True
        else:
            take(session, line)

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
        signals.listen()


def _reader(session: Session, options: Options) -> Read:
    """Choose how lines are read: with all keys where the terminal can show them."""
    if os.environ.get("TERM", "") in ("", "dumb"):
        from aiml_cli.repl.plain import Plain

        return Plain().read
    from aiml_cli.repl.terminal import Terminal

    return Terminal(session, _load_beside, keeps=not options.no_log, color=options.color or "auto").read


def _load_beside() -> None:
    """Load while the user types what the first message will need."""
    Thread(target=_load, daemon=True).start()


def _load() -> None:
    import aiml_cli.talk  # noqa: F401
