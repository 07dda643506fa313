"""List the words that can be typed behind a slash command."""

from collections.abc import Iterator
from typing import Any

from aiml_cli.repl.command import names
from aiml_cli.repl.session import Session
from aiml_cli.settings.options import Option
from aiml_cli.settings.resolve import lasting


def words(session: Session, kind: str) -> list[str]:
    """Give the words of a kind: commands, models, settings, conversations, templates, …; of others none are known."""
    match kind:
        case "commands":
            return names()
        case "models":
            return _models(session)
        case "settings":
            return [word for row in lasting() if row.on(session.endpoint) for word in _values(row)]
        case "set":
            return sorted(session.set)
        case "conversations":
            return _conversations()
        case "templates":
            from aiml_cli.store import templates

            return templates.names()
        case _:
            return []


def _values(row: Option[Any]) -> Iterator[str]:
    """Give what can be said of a setting: where its words are known, each of them."""
    known = ("on", "off") if row.kind.switch else row.kind.choices
    yield from (f"{row.name}={word}" for word in known or [""])


def _models(session: Session) -> list[str]:
    """List the models of the stored catalogue; those of the embedded server it says itself."""
    from aiml_cli import browse

    settings = session.settings()
    found = browse.known(settings) if session.url is None else browse.catalogue(settings)
    return [model.id for model in found or []]


def _conversations() -> list[str]:
    from contextlib import closing

    from aiml_cli.store import history, overview

    store = history.existing()
    if store is None:
        return []
    with closing(store), history.in_words(store.path):
        return [each.name for each in overview.summaries(store, limit=100)]
