"""A request to be written down as a program, and its JSON as every language writes it; pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any
from urllib.parse import urlsplit

SHORTEST_FILE = 1024  # bytes of base64 that are better read from their file


@dataclass(frozen=True, slots=True)
class FileBody:
    """Stand for a text that a program makes from a file: `head`, then the file's bytes as base64."""

    head: str
    path: str


@dataclass(frozen=True, slots=True)
class SnippetRequest:
    """Hold the request; a text in the body that comes from a file is Written."""

    method: str
    url: str
    body: dict[str, Any]
    key_variable: str | None
    stream: bool

    @property
    def on_responses(self) -> bool:
        """Say which endpoint's words the answer has."""
        return urlsplit(self.url).path.rstrip("/").endswith("/responses")

    @property
    def reads_files(self) -> bool:
        """Say whether anything in the body comes from a file."""
        found: list[FileBody] = []
        name_files(self.body, found.append)
        return bool(found)


def replace_file_contents(value: Any, sources: Mapping[str, str]) -> Any:
    """Put Written in the place of each long base64 text whose file is known."""
    match value:
        case {}:
            return {name: replace_file_contents(each, sources) for name, each in value.items()}
        case list() | tuple():
            return [replace_file_contents(each, sources) for each in value]
        case str() if len(value) > SHORTEST_FILE:
            head, marker, coded = value.rpartition(";base64,")
            return FileBody(head + marker, sources[coded]) if coded in sources else value
        case _:
            return value


def name_files(value: Any, name: Callable[[FileBody], Any]) -> Any:
    """Put the name of each file in the place of its text."""
    match value:
        case {}:
            return {key: name_files(each, name) for key, each in value.items()}
        case list():
            return [name_files(each, name) for each in value]
        case _:
            return name(value) if isinstance(value, FileBody) else value


def mark_files(body: dict[str, Any]) -> tuple[Any, str, list[FileBody]]:
    """Put a mark, its number and the mark again in the place of each file's bytes; no other text holds the mark."""
    mark, text = "_FILE_", as_json(body)
    while mark in text:
        mark += "_"
    files: list[FileBody] = []

    def numbered(file: FileBody) -> str:
        files.append(file)
        return f"{file.head}{mark}{len(files) - 1}{mark}"

    return name_files(body, numbered), mark, files


def as_json(value: Any, escaped: str = "") -> str:
    r"""Write readable JSON; what cannot be seen, and the characters `escaped`, as `\uXXXX`. A file is `@path`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_name_of)
    hard = {char for char in set(text) if char in escaped or not (char.isprintable() or char == "\n")}
    return text.translate({ord(char): _escape(char) for char in hard}) if hard else text


def _name_of(value: Any) -> str:
    if isinstance(value, FileBody):
        return f"@{value.path}"
    raise TypeError(type(value).__name__)


def _escape(char: str) -> str:
    pairs = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[at : at + 2].hex()}" for at in range(0, len(pairs), 2))


class AtTemplate(Template):
    """Fill `@name`; `$` means something in the languages written here."""

    delimiter = "@"
