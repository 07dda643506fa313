"""Run a response in the background, and wait for, show or cancel a response that the server stores."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as quote_for_shell
from urllib.parse import quote

from aiml_cli.api.completion_builder import Completion
from aiml_cli.api.messages import HistoryMode
from aiml_cli.api.stream_events import EventBatch, TextDelta
from aiml_cli.core.send_with_retries import Sender, TurnContext
from aiml_cli.errors import (
    AimlError,
    AnswerMismatch,
    AuthError,
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
from aiml_cli.settings.urls import join_url
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.http_types import HttpRequest

POLL_MIN_S, POLL_MAX_S, POLL_GROWTH = 1.0, 5.0, 1.5
PENDING_STATUSES = ("queued", "in_progress")
NO_RESPONSE_HINT = (
    "is the id right? a response is stored only with --store or --background, not by every gateway, and only for the "
    "account that created it"
)
NO_PATH_HINT = "this gateway may not store responses at all; if it does, check the id and --base-url"
STORE_HINT = "some servers need --store for background responses"


@dataclass(frozen=True, slots=True)
class StoredResponseAction:
    """What to do with a stored response; `verb` is wait, show or cancel."""

    verb: str
    response_id: str
    settings: Settings

    def build_request(self, url: str, headers: Mapping[str, str]) -> HttpRequest:
        """Build the request; the id is quoted so that it is a single segment of the path."""
        response_url = join_url(url, f"/{quote(self.response_id, safe='')}")
        if self.verb == "cancel":
            return HttpRequest("POST", join_url(response_url, "/cancel"), headers)
        return HttpRequest("GET", response_url, headers)


def parse_action(settings: Settings, words: Sequence[str]) -> StoredResponseAction:
    """Return the action that the options name; raise UsageError for a prompt, or for an id that is a path."""
    options = settings.options
    ids = {"wait": options.wait, "show": options.show, "cancel": options.cancel}
    verb, name = next((verb, name) for verb, name in ids.items() if name)
    if words or options.file or options.messages or options.tool_result:
        raise UsageError(f"--{verb} cannot be used with a prompt", "to continue a response, use --previous-response-id")
    if options.dry_run or options.as_:
        raise UsageError(f"--{verb} cannot be shown as a program: it sends no prompt")
    if name in (".", "..") or any(char in "/\\" or char <= " " or not char.isprintable() for char in name):
        raise UsageError(f"--{verb}: {name!r} is not the id of a response", "an id looks like resp_0123abc")
    return StoredResponseAction(verb, name, settings)


def run_action(action: StoredResponseAction, sender: Sender, request: HttpRequest, output: AnswerOutput) -> None:
    """Run the action, and show the response like a new answer.

    Raises AnswerMismatch if the response ended before it was cancelled.
    """
    run = {"wait": _wait, "cancel": _cancel}.get(action.verb, _show)
    try:
        run(action, sender, request, output)
    except AimlError as error:
        raise _explain_missing(action.response_id, error) from None


def _show(action: StoredResponseAction, sender: Sender, request: HttpRequest, output: AnswerOutput) -> None:
    sender.send(request, output)
    completion = sender.completion()
    if completion.status in PENDING_STATUSES:
        command = _format_command(action.response_id, action.settings)
        raise IncompleteAnswer(completion.incomplete_reason, f"wait for it with: {command}")


def _wait(action: StoredResponseAction, sender: Sender, request: HttpRequest, output: AnswerOutput) -> None:
    pause, line = POLL_MIN_S, _WaitingLine(action)
    try:
        while True:
            response = _BufferedResponse()
            sender.send(request, response)
            status = sender.completion().status
            if status not in PENDING_STATUSES:
                break
            line.show(status)
            time.sleep(0 if action.settings.options.replay else pause)
            pause = min(pause * POLL_GROWTH, POLL_MAX_S)
            sender.start_next_answer()
    except (Stopped, ConnectionFailed, RateLimited, ServerError, IncompleteAnswer) as stop:
        error = stop.error if isinstance(stop, Stopped) else stop
        error.hint = f"the server continues; check again with: {_format_command(action.response_id, action.settings)}"
        raise
    finally:
        line.clear()
    response.show_on(output)


def _cancel(action: StoredResponseAction, sender: Sender, request: HttpRequest, output: AnswerOutput) -> None:
    response = _BufferedResponse()
    sender.send(request, response)
    name, status = action.response_id, sender.completion().status
    if not status:
        raise ServerError(f"the server's answer to cancelling {name} is not a response", "check --base-url")
    if _is_text(action.settings.options):
        output.stdout.show([TextDelta(f"{status}\n")])
    else:
        response.show_on(output)
    if status not in ("cancelled", *PENDING_STATUSES):
        hint = f"show it with: {_format_command(name, action.settings, 'show')}"
        raise AnswerMismatch(f"{name} was not cancelled: its status is {status}", hint)


def start_background(context: TurnContext) -> None:
    """Start a background response; print its id, and the command that waits for it."""
    settings, output = context.request.settings, context.output
    if output.file:
        raise UsageError("--background prints an id, so there is no answer for --output", "use -o with --wait ID")
    try:
        context.send(context.build_body(history=HistoryMode.FULL))
    except RequestRejected as error:
        if not (settings.options.store or error.details.get("missing")):
            error.hint = STORE_HINT
        raise
    completion = context.sender.completion()
    if completion.status in PENDING_STATUSES and completion.started.id:
        _print_id(completion, completion.started.id, settings, output)


def _print_id(completion: Completion, name: str, settings: Settings, output: AnswerOutput) -> None:
    if _is_text(settings.options):
        output.stdout.show([TextDelta(f"{name}\n")])
    if settings.options.quiet:
        return
    if settings.options.demo:
        how = "the demo server stops with this command; start one that keeps running with: aiml demo"
    else:
        how = f"check it with: {_format_command(name, settings)}"
    print_err(f"aiml: the response is {completion.status}; {how}")


def _is_text(options: Options) -> bool:
    return not options.json and options.format in (None, "md", "text")


def _format_command(name: str, settings: Settings, verb: str = "wait") -> str:
    """Return the command that acts on a response, with the flags that select its server."""
    flags = {"--profile": "profile", "--base-url": "base_url"}
    typed = [
        f"{flag} {quote_for_shell(str(getattr(settings.options, row)))}"
        for flag, row in flags.items()
        if settings.sources.get(row) is Source.FLAG
    ]
    return " ".join(["aiml respond", *typed, f"--{verb} {quote_for_shell(name)}"])


def _explain_missing(name: str, error: AimlError) -> AimlError:
    """Return a clearer error if the response or the path does not exist; the model and the prompt are not the cause."""
    status, missing = error.details.get("status"), error.details.get("missing")
    is_missing = status in (404, 405, 501) or (missing == "response" and isinstance(error, RequestRejected))
    if not is_missing or isinstance(error, AuthError):
        return error
    hint = NO_PATH_HINT if missing == "path" or status in (405, 501) else NO_RESPONSE_HINT
    return RequestRejected(f"{name}: the server does not have this response: {error.message}", hint, **error.details)


class _BufferedResponse:
    """A response that is shown later, or never."""

    def __init__(self) -> None:
        self._batches: list[EventBatch] = []
        self._chunks: list[bytes] = []

    def show(self, batch: EventBatch) -> None:
        self._batches.append(batch)

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._chunks.append(chunk)
            yield chunk

    def show_on(self, output: AnswerOutput) -> None:
        for _ in output.tee(iter(self._chunks)):
            pass
        for batch in self._batches:
            output.show(batch)


class _WaitingLine:
    """A status line on the terminal while a response is polled."""

    def __init__(self, action: StoredResponseAction) -> None:
        self._is_visible = is_terminal(2) and not action.settings.options.quiet
        self._name, self._began = action.response_id, time.monotonic()

    def show(self, status: str | None) -> None:
        if self._is_visible:
            write_err(f"\r\x1b[Kaiml: {self._name} is {status}, {time.monotonic() - self._began:.0f} s")

    def clear(self) -> None:
        if self._is_visible:
            write_err("\r\x1b[K")
