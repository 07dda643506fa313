"""Offer what fits at the cursor: commands, models, settings, conversations, templates, files."""

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completion, PathCompleter
from prompt_toolkit.completion import Completer as Base
from prompt_toolkit.document import Document

from aiml_cli.errors import AimlError
from aiml_cli.repl.command import find, names
from aiml_cli.repl.session import Session
from aiml_cli.screen.safe import visible


class Completer(Base):
    """Complete by what the command says that its words are."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Give what fits, but no name that could drive the terminal: models and files are named by others."""
        for each in self._all(document.text_before_cursor, complete_event):
            if visible(each.text) == each.text and "\n" not in each.text:
                yield each

    def _all(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        word = text.rpartition("\n")[2].rpartition(" ")[2]
        if word.startswith("@"):
            return self._paths.get_completions(Document(word[1:]), event)
        if text.startswith("/") and " " not in text:
            return fitting(text, [f"/{name}" for name in names()])
        return self._words(text, event) if text.startswith("/") else ()

    def _words(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        name, _, typed = text[1:].partition(" ")
        try:
            kind = find(name).completes
        except AimlError:
            return ()
        if kind == "files":
            return self._paths.get_completions(Document(typed.rpartition(" ")[2]), event)
        return fitting(typed, self._session.offers(kind))


def fitting(typed: str, words: Iterable[str]) -> Iterator[Completion]:
    """Give the words that begin with what is typed; where none does, those that hold it, whatever the case."""
    all_ = list(words)
    low = typed.lower()
    found = [word for word in all_ if word.lower().startswith(low)] or [word for word in all_ if low in word.lower()]
    yield from (Completion(word, -len(typed)) for word in found)
