"""Print the program for a request instead of sending it: where it would go, with which key, from which files."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from aiml_cli import turn
from aiml_cli.api.program import program
from aiml_cli.embedded import demo_model
from aiml_cli.hosts import is_local
from aiml_cli.prompt.budget import Budget
from aiml_cli.prompt.mentions import mentioned
from aiml_cli.prompt.sources import SCHEMES, sources, there
from aiml_cli.question import Question
from aiml_cli.screen.output import say, show
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.store import key as keys

DEMO_PORT = 8765


def addressed(settings: Settings) -> Settings:
    """Address --demo to an embedded server that somebody else has to start: ours ends with this call."""
    if not settings.options.demo:
        return settings
    if not settings.options.quiet:
        say(f"aiml: to run it, start the embedded server first: aiml demo --port {DEMO_PORT}")
    url = f"http://127.0.0.1:{DEMO_PORT}/v1"
    return demo_model(replace(settings, options=replace(settings.options, base_url=url)))


def print_program(question: Question, about: str = "") -> int:
    """Print the program for a question, the first of several where `about` tells of the others; give 0.

    The key is a variable's name in it.
    """
    question = turn.with_its_past(question)
    if about:
        question.tell(about)
    settings, url, body = question.settings, question.url, question.body(question.said())
    text = program(
        settings.options.as_ or "json",
        "POST",
        url,
        body,
        key_variable=_variable(settings, url),
        stream=bool(body.get("stream")),
        sources=_sources(question.words, settings.options),
    )
    return show(text)


def _variable(settings: Settings, url: str) -> str | None:
    """Name the variable that holds the key; a server on this machine needs one only where there is one."""
    if settings.options.demo or (is_local(url) and keys.held(settings, url) is None):
        return None
    said = settings.sources.get("api_key") is Source.ENVIRONMENT
    return str(settings.speakers["api_key"]) if said else ROWS["api_key"].variables[0]


def _sources(words: Sequence[str], options: Options) -> Mapping[str, str]:
    """Tell which file a base64 text in the request came from; of an address or standard input there is none."""
    named = [*(options.file or ()), *mentioned(words)[1]]
    names = [name for name in named if name != "-" and not name.lower().startswith(SCHEMES)]
    files = [name for name in names if not ((path := there(name)) and path.is_dir())]
    found = [source for name in files for source in sources(name, Budget(), _never, say)]
    # A program names no file whose name holds what cannot be seen.
    plain = [source for source in found if source.name.isprintable()]
    return {b64encode(source.data).decode(): str(Path(source.name).expanduser()) for source in plain}


def _never(_address: str) -> NoReturn:
    raise AssertionError("no address is among the files")
