"""Write a request as a command for any POSIX shell: curl, or httpie; pure."""

import re
from collections.abc import Callable
from shlex import quote

from aiml_cli.snippets.request_parts import FileBody, SnippetRequest, as_json, mark_files

LONGEST_ARGUMENT = 100_000  # bytes; Linux takes 128 KiB


def write_curl(call: SnippetRequest) -> str:
    """Write a command that prints the JSON, or the events, of the answer."""
    body = _quoted(call)
    is_short = not call.reads_files and len(body.encode()) <= LONGEST_ARGUMENT
    lines = [
        f"curl --silent --show-error --fail-with-body{' --no-buffer' if call.stream else ''} {quote(call.url)}",
        *([] if call.method == "POST" else [f"--request {quote(call.method)}"]),
        *([f'--header "Authorization: Bearer ${call.key_variable}"'] if call.key_variable else []),
        "--header 'Content-Type: application/json'",
        f"--data '{body}'\n" if is_short else f"--data-binary @- {_document(call)}",
    ]
    return _command(lines)


def write_httpie(call: SnippetRequest) -> str:
    """Write a command that prints the JSON, or the events, of the answer."""
    lines = [
        f"http --check-status --body{' --stream' if call.stream else ''} {quote(call.method)} {quote(call.url)}",
        *([f'Authorization:"Bearer ${call.key_variable}"'] if call.key_variable else []),
        f"Content-Type:application/json {_document(call)}",
    ]
    return _command(lines)


def _command(lines: list[str]) -> str:
    return " \\\n  ".join(lines)


def _quoted(call: SnippetRequest) -> str:
    r"""Write JSON that needs no quoting of the shell's: it can say `'` and `!` as `\u0027` and `\u0021`.

    Old versions of bash look for `!` even inside single quotes, from their second line on.
    """
    return as_json(call.body, escaped="'!")


def _document(call: SnippetRequest) -> str:
    """Write the body as a here-document; no line of JSON can be the word that ends it."""
    if call.reads_files:
        return f"<<JSON\n{_expanding(call)}\nJSON\n"
    return f"<<'JSON'\n{_quoted(call)}\nJSON\n"


def _expanding(call: SnippetRequest) -> str:
    r"""Write JSON in which the shell expands the files and nothing else.

    In such a document a backslash is just itself before all but `$`, a backtick and another backslash:
    with those three written as `\uXXXX`, JSON's own escapes stay whole.
    """
    body, mark, files = mark_files(call.body)
    text = as_json(body, escaped="'!$`").replace(r"\\", r"\u005c")
    return re.sub(f"{mark}([0-9]+){mark}", _expansion(files), text)


def _expansion(files: list[FileBody]) -> Callable[[re.Match[str]], str]:
    return lambda found: f"$(base64 < {quote(files[int(found[1])].path)} | tr -d '\\n')"
