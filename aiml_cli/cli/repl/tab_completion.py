"""Offer what fits at the cursor: commands, models, settings, conversations, templates, files."""

from collections.abc import Iterable, Iterator
from typing import Any

from prompt_toolkit.completion import CompleteEvent, Completion, PathCompleter
from prompt_toolkit.completion import Completer as Base
from prompt_toolkit.document import Document

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import command_names, find_command
from aiml_cli.errors import AimlError
from aiml_cli.settings.options import Option
from aiml_cli.settings.resolve import persistent_options
from aiml_cli.system.sanitize import sanitize


class Completer(Base):
    """Complete by what the command says that its words are."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Give what fits, but no name that could drive the terminal: models and files are named by others."""
        for each in self._all(document.text_before_cursor, complete_event):
            if sanitize(each.text) == each.text and "\n" not in each.text:
                yield each

    def _all(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        word = text.rpartition("\n")[2].rpartition(" ")[2]
        if word.startswith("@"):
            return self._paths.get_completions(Document(word[1:]), event)
        if text.startswith("/") and " " not in text:
            return match_words(text, [f"/{name}" for name in command_names()])
        return self._words(text, event) if text.startswith("/") else ()

    def _words(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        name, _, typed = text[1:].partition(" ")
        try:
            kind = find_command(name).completes
        except AimlError:
            return ()
        if kind == "files":
            return self._paths.get_completions(Document(typed.rpartition(" ")[2]), event)
        return match_words(typed, _offered(self._session, kind))


def match_words(typed: str, words: Iterable[str]) -> Iterator[Completion]:
    """Give the words that begin with what is typed; where none does, those that hold it, whatever the case."""
    all_ = list(words)
    low = typed.lower()
    found = [word for word in all_ if word.lower().startswith(low)] or [word for word in all_ if low in word.lower()]
    yield from (Completion(word, -len(typed)) for word in found)


def _offered(session: Session, kind: str) -> list[str]:
    """List the words of a kind; what cannot be looked up offers none."""
    try:
        return list_words(session, kind)
    except AimlError:
        return []


def list_words(session: Session, kind: str) -> list[str]:
    """Give the words of a kind: commands, models, settings, conversations, templates, …; of others none are known."""
    match kind:
        case "commands":
            return command_names()
        case "models":
            return _models(session)
        case "settings":
            return [word for row in persistent_options() if row.applies_to(session.endpoint) for word in _values(row)]
        case "set":
            return sorted(session.set)
        case "conversations":
            return _conversations()
        case "templates":
            from aiml_cli.store import template_files

            return template_files.list_templates()
        case _:
            return []


def _values(row: Option[Any]) -> Iterator[str]:
    """Give what can be said of a setting: where its words are known, each of them."""
    known = ("on", "off") if row.value_type.is_switch else row.value_type.choices
    yield from (f"{row.name}={word}" for word in known or [""])


def _models(session: Session) -> list[str]:
    """List the models of the stored catalogue; those of the embedded server it says itself."""
    from aiml_cli.catalog import find_models

    settings = session.settings()
    found = find_models.load_stored_models(settings) if session.url is None else find_models.fetch_models(settings)
    return [model.id for model in found or []]


def _conversations() -> list[str]:
    from contextlib import closing

    from aiml_cli.store.history import database, reader

    store = database.open_existing()
    if store is None:
        return []
    with closing(store), database.translate_errors(store.path):
        return [each.name for each in reader.list_summaries(store, limit=100)]
