"""Print the program for a request instead of sending it: where it would go, with which key, from which files."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.start_demo import use_demo_model
from aiml_cli.prompt.compose import extract_mentions
from aiml_cli.prompt.decode_text import SizeLimit
from aiml_cli.prompt.file_sources import SCHEMES, existing_path, find_files
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import is_local
from aiml_cli.snippets.javascript import write_javascript
from aiml_cli.snippets.python import write_python
from aiml_cli.snippets.request_parts import SnippetRequest, as_json, replace_file_contents
from aiml_cli.snippets.shell import write_curl, write_httpie
from aiml_cli.store import api_keys
from aiml_cli.system.stdio import print_err, print_out

DEMO_PORT = 8765


def use_placeholder_server(settings: Settings) -> Settings:
    """Address --demo to an embedded server that somebody else has to start: ours ends with this call."""
    if not settings.options.demo:
        return settings
    if not settings.options.quiet:
        print_err(f"aiml: to run it, start the embedded server first: aiml demo --port {DEMO_PORT}")
    url = f"http://127.0.0.1:{DEMO_PORT}/v1"
    return use_demo_model(replace(settings, options=replace(settings.options, base_url=url)))


def print_snippet(question: ChatRequest, about: str = "") -> int:
    """Print the program for a question, the first of several where `about` tells of the others; give 0.

    The key is a variable's name in it.
    """
    question = turn.resolve_conversation(question)
    if about:
        question.notify(about)
    settings, url, body = question.settings, question.url, question.build_body(question.read_conversation())
    text = write_snippet(
        settings.options.as_ or "json",
        "POST",
        url,
        body,
        key_variable=_variable(settings, url),
        stream=bool(body.get("stream")),
        sources=_sources(question.words, settings.options),
    )
    return print_out(text)


def _variable(settings: Settings, url: str) -> str | None:
    """Name the variable that holds the key; a server on this machine needs one only where there is one."""
    if settings.options.demo or (is_local(url) and api_keys.find_stored_key(settings, url) is None):
        return None
    said = settings.sources.get("api_key") is Source.ENVIRONMENT
    return str(settings.source_names["api_key"]) if said else ROWS["api_key"].variables[0]


def _sources(words: Sequence[str], options: Options) -> Mapping[str, str]:
    """Tell which file a base64 text in the request came from; of an address or standard input there is none."""
    named = [*(options.file or ()), *extract_mentions(words)[1]]
    names = [name for name in named if name != "-" and not name.lower().startswith(SCHEMES)]
    files = [name for name in names if not ((path := existing_path(name)) and path.is_dir())]
    found = [source for name in files for source in find_files(name, SizeLimit(), _never, print_err)]
    # A program names no file whose name holds what cannot be seen.
    plain = [source for source in found if source.name.isprintable()]
    return {b64encode(source.data).decode(): str(Path(source.name).expanduser()) for source in plain}


def _never(_address: str) -> NoReturn:
    raise AssertionError("no address is among the files")


def write_snippet(
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
    return _WRITERS[language](
        SnippetRequest(method, url, replace_file_contents(body, sources or {}), key_variable, stream)
    )


def _json(call: SnippetRequest) -> str:
    headers = {"Content-Type": "application/json"}
    if call.key_variable:
        headers["Authorization"] = f"Bearer ${call.key_variable}"
    return as_json({"method": call.method, "url": call.url, "headers": headers, "body": call.body}) + "\n"


_WRITERS = {
    "curl": write_curl,
    "httpie": write_httpie,
    "python": write_python,
    "javascript": write_javascript,
    "json": _json,
}
