"""Complete what is typed at the cursor: commands, models, settings, conversations, templates, files."""

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from aiml_cli.cli.repl.conversation_lock import open_history
from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import find_command, list_command_names
from aiml_cli.errors import AimlError
from aiml_cli.settings.resolve import persistent_options
from aiml_cli.store.history import find_conversations
from aiml_cli.system.sanitize import sanitize


class SessionCompleter(Completer):
    """A completer for slash commands, their arguments and @paths."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield completions without control characters; models and files may have any name."""
        for completion in self._complete_text(document.text_before_cursor, complete_event):
            if sanitize(completion.text) == completion.text and "\n" not in completion.text:
                yield completion

    def _complete_text(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        word = text.rpartition("\n")[2].rpartition(" ")[2]
        if word.startswith("@"):
            return self._paths.get_completions(Document(word[1:]), event)
        if text.startswith("/") and " " not in text:
            return match_words(text, [f"/{name}" for name in list_command_names()])
        return self._complete_argument(text, event) if text.startswith("/") else ()

    def _complete_argument(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        name, _, typed = text[1:].partition(" ")
        try:
            argument_type = find_command(name).completes
            if argument_type == "files":
                return self._paths.get_completions(Document(typed.rpartition(" ")[2]), event)
            return match_words(typed, list_words(self._session, argument_type))
        except AimlError:
            return ()


def match_words(typed: str, words: Iterable[str]) -> Iterator[Completion]:
    """Return completions for the words that begin with the typed text, or else contain it; case is ignored."""
    words, typed_lower = list(words), typed.lower()
    matches = [word for word in words if word.lower().startswith(typed_lower)]
    matches = matches or [word for word in words if typed_lower in word.lower()]
    return (Completion(word, -len(typed)) for word in matches)


def list_words(session: Session, argument_type: str) -> list[str]:
    """List the words of an argument type: commands, models, settings, conversations, …; none for any other type."""
    match argument_type:
        case "commands":
            return list_command_names()
        case "models":
            return [model.id for model in session.load_models()]
        case "settings":
            return list(_list_settings(session.endpoint))
        case "set":
            return sorted(session.overrides)
        case "conversations":
            with open_history() as history:
                return [summary.name for summary in find_conversations.list_summaries(history, limit=100)]
        case "templates":
            from aiml_cli.store import template_files  # few prompts are templates

            return template_files.list_templates()
        case _:
            return []


def _list_settings(endpoint: str) -> Iterator[str]:
    """Yield `name=word` for each known value of a setting, or `name=`."""
    for row in persistent_options():
        if row.applies_to(endpoint):
            words = ("on", "off") if row.value_type.is_switch else row.value_type.choices
            yield from (f"{row.name}={word}" for word in words or [""])
