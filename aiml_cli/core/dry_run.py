"""Print a request as a program, or as JSON, instead of sending it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from aiml_cli.core import turn
from aiml_cli.core.build_conversation import CONVERSATION_FITS
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.start_demo import use_demo_model
from aiml_cli.prompt.compose import extract_mentions
from aiml_cli.prompt.decode_text import SizeLimit
from aiml_cli.prompt.file_sources import FileFinder, find_path, is_url
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import is_local
from aiml_cli.snippets.javascript import write_javascript
from aiml_cli.snippets.python import write_python
from aiml_cli.snippets.request_parts import SnippetRequest, as_json, replace_file_contents, write_curl, write_httpie
from aiml_cli.store import api_keys
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.transport.key_masking import mask_credentials, refuse_key_in_headers

if TYPE_CHECKING:
    from aiml_cli.prompt.message_parts import InputText

DEMO_PORT = 8765


def use_placeholder_server(settings: Settings) -> Settings:
    """Point --demo to a demo server that the user starts: that of this call stops when the call ends."""
    if not settings.options.demo:
        return settings
    if not settings.options.quiet:
        print_err(f"aiml: to run it, start the demo server first: aiml demo --port {DEMO_PORT}")
    url = f"http://127.0.0.1:{DEMO_PORT}/v1"
    return use_demo_model(replace(settings, options=replace(settings.options, base_url=url)))


def print_snippet(request: ChatRequest, notice: str = "") -> int:
    """Print the program for a request, without the key, and return 0; `notice` is printed on stderr."""
    request = turn.resolve_conversation(request)
    if notice:
        request.notify(notice)
    settings, url = request.settings, request.url
    headers = settings.options.headers or {}
    _refuse_keys(settings, url, headers)
    inputs: list[InputText] = []
    conversation = request.read_conversation(inputs.extend)
    if request.options.fit in CONVERSATION_FITS:
        from aiml_cli.core import compact  # few conversations are so long

        request, conversation = compact.fit_conversation(request, conversation, None)
    body = request.build_body(conversation)
    if (masked := mask_credentials(body)) != body:
        request.notify("credentials in the request are shown as ***; put them in before you run it")
    if settings.options.usage:
        from aiml_cli.core.token_parts import count_parts, format_parts  # few calls ask for it

        request.notify(format_parts(count_parts(request, conversation, body, inputs)))
    text = write_snippet(
        settings.options.as_ or "json",
        "POST",
        url,
        masked,
        key_variable=_find_key_variable(settings, url),
        stream=bool(body.get("stream")),
        headers=headers,
        sources=_map_sources(request.words, settings.options),
    )
    return print_out(text)


def _find_key_variable(settings: Settings, url: str) -> str | None:
    """Return the environment variable of the key; None for a server on this machine without a stored key."""
    if settings.options.demo or (is_local(url) and api_keys.find_stored_key(settings, url) is None):
        return None
    is_set = settings.sources.get("api_key") is Source.ENVIRONMENT
    return str(settings.source_names["api_key"]) if is_set else ROWS["api_key"].variables[0]


def _refuse_keys(settings: Settings, url: str, headers: Mapping[str, str]) -> None:
    """Raise UsageError if a header contains the API key, as when the request is sent."""
    stored = api_keys.find_stored_key(settings, url) if headers else None
    for key in (settings.options.api_key or "", stored.value if stored else ""):
        refuse_key_in_headers(headers, key)


def _map_sources(words: Sequence[str], options: Options) -> Mapping[str, str]:
    """Map the base64 text of each file in the request to the file's path."""
    names = [*(options.file or ()), *extract_mentions(words)[1]]
    names = [name for name in names if name != "-" and not is_url(name)]
    names = [name for name in names if not ((path := find_path(name)) and path.is_dir())]
    finder = FileFinder(SizeLimit(), _never_fetch, _ignore_notice)
    files = [file for name in names for file in finder.find(name)]
    # A file name with invisible characters is not written into a program; the file's content is.
    files = [file for file in files if file.name.isprintable()]
    return {b64encode(file.data).decode(): str(Path(file.name).expanduser()) for file in files if file.data}


def _ignore_notice(_notice: str) -> None:
    """Print nothing: the notice was printed when the prompt was read."""


def _never_fetch(_url: str) -> NoReturn:
    raise AssertionError("no URL is among the files")


def write_snippet(
    language: str,
    method: str,
    url: str,
    body: dict[str, Any],
    *,
    key_variable: str | None,
    stream: bool,
    headers: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> str:
    """Return the program's text; `language` is curl, httpie, python, javascript or json.

    The program reads the key from the environment variable `key_variable`, and each base64 text in `sources` from
    its file. It prints the JSON of the answer, or with `stream` the text as it arrives (curl and httpie: the events).
    """
    body = replace_file_contents(body, sources or {})
    return _WRITERS[language](SnippetRequest(method, url, body, key_variable, stream, headers or {}))


def _write_json(request: SnippetRequest) -> str:
    headers = {"Content-Type": "application/json"}
    if request.key_variable:
        headers["Authorization"] = f"Bearer ${request.key_variable}"
    headers |= request.headers
    return as_json({"method": request.method, "url": request.url, "headers": headers, "body": request.body}) + "\n"


_WRITERS = {
    "curl": write_curl,
    "httpie": write_httpie,
    "python": write_python,
    "javascript": write_javascript,
    "json": _write_json,
}
