"""Complete the word at the cursor: commands, models, settings, conversations, templates, files."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import find_command, list_commands
from aiml_cli.errors import AimlError
from aiml_cli.prompt.decode_text import format_size
from aiml_cli.prompt.mentions import OPENERS, escape_name
from aiml_cli.settings.resolve import persistent_options
from aiml_cli.store.history import find_conversations
from aiml_cli.store.history.edits import open_history
from aiml_cli.system.sanitize import sanitize

MAX_FILES, MAX_DESCRIPTION, MAX_LINE_LENGTH = 200, 60, 4096
# The last word of a line: in an open quote, or with escaped whitespace. A mention may follow a bracket or a quote.
_WORD = (
    r"""(?:"(?P<double>(?:\\.|[^"\\\n])*)|'(?P<single>[^'\n]*)"""
    r"""|(?P<plain>(?:\\.|[^\s\\"'])(?:\\.|[^\s\\])*)?)$"""
)
_LAST_MENTION = re.compile(rf"(?:(?<!\S)|(?<=[{re.escape(OPENERS)}]))(?P<at>@){_WORD}")
_LAST_WORD = re.compile(rf"(?<!\S)(?P<at>@?){_WORD}")
_ESCAPE = re.compile(r"\\(.)")


class Word(NamedTuple):
    """A completion and its description."""

    text: str
    description: str = ""


class SessionCompleter(Completer):
    """Completes slash commands, their arguments and @paths."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._words: tuple[str, list[Word]] = ("", [])

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
        """Yield the completions, except those with control characters, which names of models and files may contain."""
        is_first = document.cursor_position_row == 0
        for completion in self._complete_line(_get_line(document), is_first=is_first):
            if sanitize(completion.text) == completion.text and "\n" not in completion.text:
                yield completion

    def _complete_line(self, line: str, *, is_first: bool) -> Iterable[Completion]:
        word = _find_last_word(line)
        if word and word["at"]:
            return complete_path(word)
        if not (line.startswith("/") and is_first):
            return ()
        if not re.search(r"\s", line):
            return match_words(line, [Word(f"/{command.name}", command.help) for command in list_commands()])
        return self._complete_argument(line)

    def _complete_argument(self, text: str) -> Iterable[Completion]:
        name, _, typed = text[1:].partition(" ")
        try:
            argument_type = find_command(name).completes
            if argument_type == "files":
                word = _find_last_word(text)
                return complete_path(word) if word else ()
            return match_words(typed, self._load_words(name, argument_type))
        except AimlError:
            return ()

    def _load_words(self, command: str, argument_type: str) -> list[Word]:
        """Return the possible words of an argument, which are loaded once while it is typed.

        Tools are loaded each time, because /tools turns them on and off.
        """
        if argument_type == "tools":
            return list_words(self._session, argument_type)
        key = f"{command} {len(self._session.turns)}"
        if self._words[0] != key:
            self._words = key, list_words(self._session, argument_type)
        return self._words[1]


def is_completing(document: Document) -> bool:
    """True if completions should appear during typing: for a command, its argument or a mention."""
    line = _get_line(document)
    word = _find_last_word(line)
    return (line.startswith("/") and document.cursor_position_row == 0) or bool(word and word["at"])


def _find_last_word(line: str) -> "re.Match[str] | None":
    return _LAST_MENTION.search(line) or _LAST_WORD.search(line)


def _get_line(document: Document) -> str:
    """Return the line before the cursor, or only the end of a long one, because it is searched at every key."""
    return document.current_line_before_cursor[-MAX_LINE_LENGTH:]


def match_words(typed: str, words: Iterable[Word]) -> Iterator[Completion]:
    """Return completions for the words that begin with the typed text, or else those that contain it, in any case."""
    words, typed_lower = list(words), typed.lower()
    matches = [word for word in words if word.text.lower().startswith(typed_lower)]
    matches = matches or [word for word in words if typed_lower in word.text.lower()]
    if [word.text for word in matches] == [typed]:  # there is nothing to complete
        return iter(())
    return (Completion(text, -len(typed), display_meta=_shorten(description)) for text, description in matches)


def complete_path(typed: "re.Match[str]") -> Iterator[Completion]:
    """Yield the files and folders whose path begins with the typed word, quoted or escaped in the same way."""
    quote = '"' if typed["double"] is not None else "'" if typed["single"] is not None else ""
    raw = typed["double"] or typed["single"] or typed["plain"] or ""
    path = raw if quote == "'" else _ESCAPE.sub(r"\1", raw)
    folder, slash, start = path.rpartition("/")
    for entry in _list_entries(f"{folder}{slash}", start):
        name, is_folder = f"{folder}{slash}{entry.name}", entry.is_dir()
        text = _escape_in_quotes(name, quote) if quote else escape_name(name)
        end, description = ("/", "folder") if is_folder else (quote, _describe_size(entry))
        if text != raw or is_folder:
            display = entry.name + "/" * is_folder
            yield Completion(text + end, -len(raw), display=display, display_meta=description)


def _list_entries(folder: str, start: str) -> list[Path]:
    """Return the first entries of a folder whose names begin with `start`; hidden ones only if `start` is not ""."""
    try:
        parent = Path(folder or ".").expanduser()
        names = [entry for entry in os.listdir(parent) if entry.startswith(start)]  # noqa: PTH208 - faster
    except (OSError, RuntimeError, ValueError):
        return []
    return [parent / name for name in sorted(names) if start or not name.startswith(".")][:MAX_FILES]


def _escape_in_quotes(name: str, quote: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", name) if quote == '"' else name


def _describe_size(path: Path) -> str:
    try:
        return format_size(path.stat().st_size)
    except OSError:
        return ""


def _shorten(description: str) -> str:
    line = sanitize(" ".join(description.split()))
    return line if len(line) <= MAX_DESCRIPTION else line[: MAX_DESCRIPTION - 1] + "…"


def list_words(session: Session, argument_type: str) -> list[Word]:
    """Return the words of an argument type: commands, models, settings, conversations, …; [] for any other type."""
    match argument_type:
        case "commands":
            return [Word(command.name, command.help) for command in list_commands()]
        case "models":
            return [Word(model.id, model.name or "") for model in session.load_models()]
        case "settings":
            return list(_list_settings(session.endpoint))
        case "set":
            return [Word(name, ", ".join(value.texts)) for name, value in sorted(session.overrides.items())]
        case "conversations":
            with open_history() as history:
                summaries = find_conversations.list_summaries(history, limit=100)
                return [Word(summary.name, summary.title) for summary in summaries]
        case "templates":
            return [Word(name) for name in session.list_templates()]
        case "tools":
            return [Word(text) for text in session.tools.list_completions()]
        case _:
            return []


def _list_settings(endpoint: str) -> Iterator[Word]:
    """Yield `name=word` for each known value of a setting, or `name=`."""
    for row in persistent_options():
        if row.applies_to(endpoint):
            words = ("on", "off") if row.value_type.is_switch else row.value_type.choices
            yield from (Word(f"{row.name}={word}", row.help) for word in words or [""])
