"""The parts of a request for a program in any language, and the request as a shell command."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote
from string import Template
from typing import Any
from urllib.parse import urlsplit

MIN_FILE_LENGTH = 1024  # characters of base64; a shorter string stays in the program
MAX_ARGUMENT_BYTES = 100_000  # Linux allows 128 KiB


@dataclass(frozen=True, slots=True)
class FileBody:
    """A string that the program builds from a file: `head`, then the file's bytes as base64."""

    head: str
    path: str


@dataclass(frozen=True, slots=True)
class SnippetRequest:
    """A request to write as a program; a string in the body that comes from a file is a FileBody.

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
        """True if a string in the body comes from a file."""
        return bool(mark_files(self.body)[2])


def replace_file_contents(value: Any, sources: Mapping[str, str]) -> Any:
    """Return the value with a FileBody for each long base64 string from a known file; `sources` maps base64 to path."""
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
    """Return the body with a number between two marks for each file's bytes, the unique mark, and the files."""
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
    """A template with `@name`, because `$` has a meaning in the generated languages."""

    delimiter = "@"


def write_curl(request: SnippetRequest) -> str:
    """Write a curl command that prints the JSON, or the events, of the answer."""
    body = _write_json(request)
    is_short = not request.has_files and len(body.encode()) <= MAX_ARGUMENT_BYTES
    lines = [
        f"curl --silent --show-error --fail-with-body{' --no-buffer' if request.stream else ''} {quote(request.url)}",
        *([] if request.method == "POST" else [f"--request {quote(request.method)}"]),
        *([f'--header "Authorization: Bearer ${request.key_variable}"'] if request.key_variable else []),
        *(f"--header {_quote(f'{name}: {value}')}" for name, value in request.headers.items()),
        "--header 'Content-Type: application/json'",
        f"--data '{body}'\n" if is_short else f"--data-binary @- {_write_document(request)}",
    ]
    return " \\\n  ".join(lines)


def _quote(header: str) -> str:
    """Quote a header for a shell; its bytes beyond ASCII, which are Latin-1, are written by printf."""
    if header.isascii():
        return quote(header)
    escaped = "".join(f"\\{ord(char):03o}" if not char.isascii() or char in "\\%" else char for char in header)
    return f'"$(printf {quote(escaped)})"'


def write_httpie(request: SnippetRequest) -> str:
    """Write an httpie command that prints the JSON, or the events, of the answer."""
    stream = " --stream" if request.stream else ""
    lines = [
        f"http --check-status --body{stream} {quote(request.method)} {quote(request.url)}",
        *([f'Authorization:"Bearer ${request.key_variable}"'] if request.key_variable else []),
        # A space after the colon, because `:=` and `:@` have another meaning.
        *(quote(f"{name}: {value}") for name, value in request.headers.items()),
        f"Content-Type:application/json {_write_document(request)}",
    ]
    return " \\\n  ".join(lines)


def _write_json(request: SnippetRequest) -> str:
    r"""Write JSON that can be put into single quotes: `'` and `!` become `\u0027` and `\u0021`.

    Old versions of bash expand `!` even inside single quotes, from their second line on.
    """
    return as_json(request.body, escape="'!")


def _write_document(request: SnippetRequest) -> str:
    """Write the body as a here-document; no line of JSON can be its end mark."""
    if request.has_files:
        return f"<<JSON\n{_write_expanding_json(request)}\nJSON\n"
    return f"<<'JSON'\n{_write_json(request)}\nJSON\n"


def _write_expanding_json(request: SnippetRequest) -> str:
    r"""Write JSON in which the shell expands the files and nothing else.

    In an unquoted here-document a backslash is literal except before `$`, a backtick and another backslash:
    with those three written as `\uXXXX`, JSON's own escapes are not changed.
    """
    body, mark, files = mark_files(request.body)
    text = as_json(body, escape="'!$`").replace(r"\\", r"\u005c")

    def write_expansion(match: re.Match[str]) -> str:
        return f"$(base64 < {quote(files[int(match[1])].path)} | tr -d '\\n')"

    return re.sub(f"{mark}([0-9]+){mark}", write_expansion, text)
