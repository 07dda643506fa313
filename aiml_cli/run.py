"""Ask once: the one place where settings, prompt, network and screen meet."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiml_cli import __version__
from aiml_cli.api.answer import Answer, verdict
from aiml_cli.api.endpoints import ENDPOINTS, Endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.errors import AimlError, CutShort, NotAllowed
from aiml_cli.hosts import is_local
from aiml_cli.prompt.compose import compose, from_file
from aiml_cli.screen.choose import Screen, choose
from aiml_cli.screen.json import as_object, line
from aiml_cli.screen.output import say, show
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source, resolve
from aiml_cli.signals import Stopped
from aiml_cli.store import key as keys
from aiml_cli.store.config import layers

if TYPE_CHECKING:
    from aiml_cli.api.client import Request

DEMO_MODEL = "demo/echo"
HOW_TO_GET_A_KEY = "get one at https://aimlapi.com/app/keys, then: aiml config key (or try without one: --demo)"


@dataclass(frozen=True, slots=True)
class Question:
    """Hold what is asked of whom."""

    endpoint: Endpoint
    words: Sequence[str]
    settings: Settings

    @property
    def options(self) -> Options:
        """Give the settled options."""
        return self.settings.options

    @property
    def url(self) -> str:
        """Give the address that the question goes to."""
        return (self.options.base_url or "").rstrip("/") + self.endpoint.path

    def body(self) -> dict[str, Any]:
        """Make the request's body; reads standard input and files."""
        use_stdin = not self.options.no_stdin
        prompt = compose(self.words, self.options.file or (), use_stdin=use_stdin, tell=self.tell)
        system = None if self.options.system is None else from_file(self.options.system)
        return self.endpoint.body(Conversation().said("user", prompt), replace(self.options, system=system))

    def tell(self, notice: str) -> None:
        """Say what the user should know, unless they want to know nothing."""
        if not self.options.quiet:
            say(f"aiml: {notice}")


def ask(name: str, words: Sequence[str], flags: Flags) -> int:
    """Ask a question on an endpoint and show the answer; give the exit code, or raise what went wrong."""
    try:
        settings = resolve(layers(flags, os.environ), name)
        is_shown_only = settings.options.dry_run or settings.options.as_
        screen = None if is_shown_only else choose(settings.options, os.environ)
    except AimlError as error:
        if _wants_json(flags):
            show(line(as_object(Answer(name, error=error)), indent=2).decode())
        raise
    with served(settings) as settled:
        question = Question(ENDPOINTS[name], words, settled)
        return _show_answer(question, screen) if screen else _print_program(question)


def _wants_json(flags: Flags) -> bool:
    """Say whether JSON was asked for, when the settings as a whole could not be settled."""
    said = flags.get("format")
    word = said.texts[-1] if said else os.environ.get("AIML_FORMAT", "")
    return "json" in flags or word in ("json", "jsonl")


@contextmanager
def served(settings: Settings) -> Iterator[Settings]:
    """Start the embedded server when it is asked for by name, and address the settings to it.

    Its own models may be named anywhere; another model must be typed to be asked for here.
    """
    if not settings.options.demo:
        yield settings
        return
    from aiml_cli.demo.server import serve  # only --demo needs a server

    model = settings.options.model or DEMO_MODEL
    is_meant = settings.sources["model"] is Source.FLAG or model.startswith("demo/")
    with serve() as url:
        if not settings.options.quiet:
            say("aiml: the embedded server answers; no model runs")
        options = replace(settings.options, base_url=url, model=model if is_meant else DEMO_MODEL)
        yield replace(settings, options=options)


def _print_program(question: Question) -> int:
    from aiml_cli.api.program import program  # needed here only

    body = question.body()
    variable = None if is_local(question.url) else "AIMLAPI_API_KEY"
    language = question.options.as_ or "json"
    return show(program(language, "POST", question.url, body, key_variable=variable, stream=bool(body.get("stream"))))


def _show_answer(question: Question, screen: Screen) -> int:
    from aiml_cli.talk import Talk  # httpx costs a fifth of a second; --help need not wait

    talk = Talk(question.endpoint)
    key: keys.Key | None = None
    error: AimlError | None = None
    try:
        body = question.body()
        key = _key(question)
        talk.hold(_request(question, body, key), question.options, screen, lambda told: _masked(told, key))
    except AimlError as fault:
        error = fault
    except Stopped as stop:
        error = stop.error
    return _conclude(question.options, screen, talk.answer(error, question.options.previous_response_id))


def _key(question: Question) -> keys.Key | None:
    """Find the key for the server; the embedded one gets none."""
    if question.options.demo:
        return None
    key = keys.find(question.settings, question.url)
    keys.guard(question.url, key)
    if key is None and not is_local(question.url):
        raise NotAllowed(keys.why_none(question.settings, question.url), HOW_TO_GET_A_KEY)
    if key and key.notice:
        question.tell(key.notice)
    return key


def _request(question: Question, body: Mapping[str, Any], key: keys.Key | None) -> "Request":
    from aiml_cli.api.client import Request

    headers = {
        "User-Agent": f"aiml/{__version__}",
        "Accept": "text/event-stream, application/json" if body.get("stream") else "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Request("POST", question.url, headers, text.encode("utf-8", "replace"))


def _masked(error: AimlError, key: keys.Key | None) -> AimlError:
    """Take the key out of a failure: servers repeat what they got."""
    error.message, error.hint = keys.masked(error.message, key), keys.masked(error.hint, key)
    error.details = {name: keys.masked(v, key) if isinstance(v, str) else v for name, v in error.details.items()}
    return error


def _conclude(options: Options, screen: Screen, answer: Answer) -> int:
    """Judge the answer, close the screens, and raise what went wrong."""
    error = answer.error
    if error is None or (isinstance(error, CutShort) and answer.completion.complete):
        # A connection that is cut after the end of the answer takes nothing away from it.
        error = verdict(answer.completion, allow_cut=bool(options.allow_cut), background=bool(options.background))
    screen.close(replace(answer, error=error))
    if error:
        raise error
    if answer.completion.lacks:
        say(f"aiml: {answer.completion.lacks}")
    return 0


def demo(port: int) -> int:
    """Run the embedded server until Ctrl-C."""
    from threading import Event

    from aiml_cli.demo.server import serve

    with serve(port) as url:
        show(f"{url}\n")
        say("aiml: the embedded server runs until Ctrl-C; no model runs. Ask it: aiml chat --base-url URL -m demo/echo")
        try:
            Event().wait()
        except Stopped as stop:  # the usual end of a server needs no words
            return stop.error.exit_code
    return 0


def models(words: Sequence[str], flags: Flags) -> int:
    """Search the catalogue."""
    from aiml_cli import browse

    settings = resolve(layers(flags, os.environ))
    with served(settings) as settled:
        return browse.browse(list(words), settled, bool(settings.options.json))
