"""A request for a snippet, and its JSON as every language writes it; pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any
from urllib.parse import urlsplit

MIN_FILE_LENGTH = 1024  # characters of base64; a shorter text stays in the program


@dataclass(frozen=True, slots=True)
class FileBody:
    """A text that the program makes from a file: `head`, then the file's bytes as base64."""

    head: str
    path: str


@dataclass(frozen=True, slots=True)
class SnippetRequest:
    """A request to write as a program; a text of the body that comes from a file is a FileBody.

    `headers` are those of the user; the key and the content type are added.
    """

    method: str
    url: str
    body: dict[str, Any]
    key_variable: str | None
    stream: bool
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_responses(self) -> bool:
        """True if the request goes to the Responses endpoint."""
        return urlsplit(self.url).path.rstrip("/").endswith("/responses")

    @property
    def has_files(self) -> bool:
        """True if a text in the body comes from a file."""
        return bool(mark_files(self.body)[2])


def replace_file_contents(value: Any, sources: Mapping[str, str]) -> Any:
    """Return the value with a FileBody for each long base64 text whose file is known; `sources` maps base64 to path."""
    match value:
        case {}:
            return {name: replace_file_contents(item, sources) for name, item in value.items()}
        case list() | tuple():
            return [replace_file_contents(item, sources) for item in value]
        case str() if len(value) > MIN_FILE_LENGTH:
            head, marker, base64 = value.rpartition(";base64,")
            return FileBody(head + marker, sources[base64]) if base64 in sources else value
        case _:
            return value


def mark_files(body: dict[str, Any]) -> tuple[Any, str, list[FileBody]]:
    """Return the body with a number between two marks for each file's bytes, the mark (unique in it), and the files."""
    mark, text = "_FILE_", as_json(body)
    while mark in text:
        mark += "_"
    files: list[FileBody] = []

    def mark_value(value: Any) -> Any:
        match value:
            case {}:
                return {name: mark_value(item) for name, item in value.items()}
            case list():
                return [mark_value(item) for item in value]
            case FileBody(head):
                files.append(value)
                return f"{head}{mark}{len(files) - 1}{mark}"
            case _:
                return value

    return mark_value(body), mark, files


def as_json(value: Any, escape: str = "") -> str:
    r"""Write readable JSON, in which invisible characters and those in `escape` are `\uXXXX`; a file is `@path`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=lambda file: f"@{file.path}")
    chars = {char for char in set(text) if char in escape or not (char.isprintable() or char == "\n")}
    return text.translate({ord(char): _escape(char) for char in chars}) if chars else text


def _escape(char: str) -> str:
    pairs = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[start : start + 2].hex()}" for start in range(0, len(pairs), 2))


class AtTemplate(Template):
    """A template of `@name`: in the languages written here `$` has a meaning of its own."""

    delimiter = "@"
