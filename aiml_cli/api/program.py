"""Write a request down as a program that sends it, or as plain JSON; pure."""

from collections.abc import Mapping
from typing import Any

from aiml_cli.api.program_form import Call, as_json, from_files
from aiml_cli.api.program_javascript import javascript
from aiml_cli.api.program_python import python
from aiml_cli.api.program_shell import curl, httpie


def program(
    language: str,
    method: str,
    url: str,
    body: dict[str, Any],
    *,
    key_variable: str | None,
    stream: bool,
    sources: Mapping[str, str] | None = None,
) -> str:
    """Give the program's text, which ends in a newline.

    `language` is curl, httpie, python, javascript or json. The key's value is in none of them: `key_variable`
    names the environment variable that holds it; with None no key is sent. The program prints the JSON of the
    answer, or, with `stream`, the text as it comes (curl and httpie: the events). `sources` tells which file a
    base64 text came from: the program reads it from there.
    """
    return _WRITERS[language](Call(method, url, from_files(body, sources or {}), key_variable, stream))


def _json(call: Call) -> str:
    headers = {"Content-Type": "application/json"}
    if call.key_variable:
        headers["Authorization"] = f"Bearer ${call.key_variable}"
    return as_json({"method": call.method, "url": call.url, "headers": headers, "body": call.body}) + "\n"


_WRITERS = {"curl": curl, "httpie": httpie, "python": python, "javascript": javascript, "json": _json}
