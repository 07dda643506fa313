"""Write a request as a curl or httpie command for any POSIX shell; pure."""

import re
from shlex import quote

from aiml_cli.snippets.request_parts import SnippetRequest, as_json, mark_files

MAX_ARGUMENT_BYTES = 100_000  # Linux allows 128 KiB


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
        # A space after the colon: `:=` and `:@` would be something else.
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
    """Write the body as a here-document; no line of JSON can be the word that ends it."""
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
