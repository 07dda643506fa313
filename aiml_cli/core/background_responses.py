"""Follow up responses that the server keeps: take one on in the background, wait for it, show it, cancel it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as shell_quoted
from urllib.parse import quote

from aiml_cli.api.completion_builder import Completion
from aiml_cli.api.stream_events import EventBatch, TextDelta
from aiml_cli.core.previous_turns import HistoryMode
from aiml_cli.core.send_with_retries import Sender, TurnContext
from aiml_cli.errors import (
    AimlError,
    AnswerMismatch,
    ConnectionFailed,
    IncompleteAnswer,
    RateLimited,
    RequestRejected,
    ServerError,
    UsageError,
)
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.http_types import HttpRequest

SHORTEST_S, LONGEST_S, GROWTH = 1.0, 5.0, 1.5
WORKING = ("queued", "in_progress")
NOT_KEPT = "is the id right? a response is kept only with --store or --background, and not by every gateway"
NO_SUCH_PATH = "this gateway has no such path: it may not keep responses at all"
NEEDS_STORE = "some servers work in the background only on what they keep: try it with --store"


@dataclass(frozen=True, slots=True)
class StoredResponseAction:
    """Hold what is to be done with which stored response: wait, show or cancel."""

    verb: str
    name: str
    settings: Settings

    @property
    def options(self) -> Options:
        """Give the settled options."""
        return self.settings.options

    def request(self, url: str, headers: Mapping[str, str]) -> HttpRequest:
        """Make the request; an id is one step of the path, whatever is in it."""
        place = f"{url}/{quote(self.name, safe='')}"
        return (
            HttpRequest("POST", f"{place}/cancel", headers)
            if self.verb == "cancel"
            else HttpRequest("GET", place, headers)
        )


def parse_action(settings: Settings, words: Sequence[str]) -> StoredResponseAction:
    """Read what is to be done; raise UsageError for two things at once, a prompt, or an id that is a path."""
    options = settings.options
    asked = {"wait": options.wait, "show": options.show, "cancel": options.cancel}
    verb, name = next((verb, name) for verb, name in asked.items() if name)
    if words or options.file or options.messages or options.tool_result:
        raise UsageError(
            f"--{verb} takes no prompt: nothing is asked", "to go on from a response: --previous-response-id"
        )
    if options.dry_run or options.as_:
        raise UsageError(f"--{verb} cannot be shown as a program: there is no question in it")
    if name in (".", "..") or any(char in "/\\" or char <= " " or not char.isprintable() for char in name):
        raise UsageError(f"--{verb}: {name!r} is not the id of a response", "it looks like resp_0123abc")
    return StoredResponseAction(verb, name, settings)


def run_action(what: StoredResponseAction, talk: Sender, request: HttpRequest, screen: AnswerOutput) -> None:
    """Do it; what comes is shown as if it had just been asked. Raises AnswerMismatch for what ended before a cancel."""
    try:
        match what.verb:
            case "wait":
                _wait(what, talk, request, screen)
            case "cancel":
                _cancel(what, talk, request, screen)
            case _:
                _show(what, talk, request, screen)
    except AimlError as error:
        raise _in_plain_words(what.name, error) from None


def _show(what: StoredResponseAction, talk: Sender, request: HttpRequest, screen: AnswerOutput) -> None:
    talk.send(request, screen)
    completion = talk.completion()
    if completion.status in WORKING:
        raise IncompleteAnswer(completion.incomplete_reason, f"wait for it with: {_command(what.name, what.settings)}")


def _wait(what: StoredResponseAction, talk: Sender, request: HttpRequest, screen: AnswerOutput) -> None:
    """Ask again and again until the response has ended."""
    pause, line = SHORTEST_S, _WaitingLine(what)
    try:
        while True:
            held = _BufferedResponse()
            talk.send(request, held)
            status = talk.completion().status
            if status not in WORKING:
                break
            line.show(status)
            time.sleep(0 if what.options.replay else pause)
            pause = min(pause * GROWTH, LONGEST_S)
            talk.start_next_answer()
    except (Stopped, ConnectionFailed, RateLimited, ServerError, IncompleteAnswer) as stop:
        error = stop.error if isinstance(stop, Stopped) else stop
        error.hint = f"the server works on; come back with: {_command(what.name, what.settings)}"
        raise
    finally:
        line.clear()
    held.pass_on(screen)


def _cancel(what: StoredResponseAction, talk: Sender, request: HttpRequest, screen: AnswerOutput) -> None:
    held = _BufferedResponse()
    talk.send(request, held)
    status = talk.completion().status
    if not status:
        raise ServerError(f"what the server said to cancelling {what.name} is no response", "is --base-url right?")
    if _is_text(what.options):
        screen.stdout.show([TextDelta(f"{status}\n")])
    else:
        held.pass_on(screen)
    if status not in ("cancelled", *WORKING):
        hint = f"show it with: {_command(what.name, what.settings, 'show')}"
        raise AnswerMismatch(f"{what.name} was not cancelled: its status is {status}", hint)


def start_background(context: "TurnContext") -> None:
    """Start a background response; print its id, and say how to come back to it."""
    settings, output = context.request.settings, context.output
    if settings.options.output:
        raise UsageError("--background answers with an id, which is nothing for --output", "say -o with --wait ID")
    try:
        context.send(context.build_body(history=HistoryMode.FULL))
    except RequestRejected as error:
        error.hint = error.hint if settings.options.store else NEEDS_STORE
        raise
    completion = context.sender.completion()
    if completion.status in WORKING and completion.started.id:
        _tell_id(completion, completion.started.id, settings, output)


def _tell_id(completion: Completion, name: str, settings: Settings, screen: AnswerOutput) -> None:
    if _is_text(settings.options):
        screen.stdout.show([TextDelta(f"{name}\n")])
    if settings.options.quiet:
        return
    if settings.options.demo:
        how = "the embedded server ends with this command: start one that stays with: aiml demo"
    else:
        how = f"follow it up with: {_command(name, settings)}"
    print_err(f"aiml: the response is {completion.status}; {how}")


def _is_text(options: Options) -> bool:
    return not options.json and options.format in (None, "md", "text")


def _command(name: str, settings: Settings, verb: str = "wait") -> str:
    """Write the command that comes back to a response, on the server that has it."""
    flags = {"--profile": "profile", "--base-url": "base_url"}
    said = [
        f"{flag} {shell_quoted(str(getattr(settings.options, row)))}"
        for flag, row in flags.items()
        if settings.sources.get(row) is Source.FLAG
    ]
    return " ".join(["aiml respond", *said, f"--{verb} {shell_quoted(name)}"])


def _in_plain_words(name: str, error: AimlError) -> AimlError:
    """Say what a path that is not there means: neither the model nor the prompt is wrong."""
    status = error.details.get("status")
    if status not in (404, 405, 501):
        return error
    hint = NOT_KEPT if status == 404 else NO_SUCH_PATH  # noqa: PLR2004
    return RequestRejected(f"{name}: the server has no such response: {error.message}", hint, **error.details)


class _BufferedResponse:
    """Keep what came until it is known whether anybody should see it."""

    def __init__(self) -> None:
        self._batches: list[EventBatch] = []
        self._chunks: list[bytes] = []

    def show(self, batch: EventBatch) -> None:
        self._batches.append(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._chunks.append(chunk)
            yield chunk

    def pass_on(self, screen: AnswerOutput) -> None:
        for _ in screen.tee(iter(self._chunks)):
            pass
        for batch in self._batches:
            screen.show(batch)


class _WaitingLine:
    """Say on a terminal what is waited for, in one line that goes away."""

    def __init__(self, what: StoredResponseAction) -> None:
        self._wanted = is_terminal(2) and not what.options.quiet
        self._name, self._began = what.name, time.monotonic()

    def show(self, status: str | None) -> None:
        if self._wanted:
            write_err(f"\r\x1b[Kaiml: {self._name} is {status}, {time.monotonic() - self._began:.0f} s")

    def clear(self) -> None:
        if self._wanted:
            write_err("\r\x1b[K")
