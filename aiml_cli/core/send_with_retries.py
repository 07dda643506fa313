"""Send a request, turn the response into events, and retry while that is safe."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import count
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from aiml_cli.api.answer import Answer, Timing, ToolRound, add_costs
from aiml_cli.api.completion_builder import STREAM_CUT, Completion, CompletionBuilder
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.json_values import as_amount
from aiml_cli.api.messages import Conversation, HistoryMode
from aiml_cli.api.parse_response import parse_response
from aiml_cli.api.stream_events import ErrorEvent, EventBatch, Finished, Notice, OutputItems, ResponseStarted, Usage
from aiml_cli.core.chat_request import ChatRequest, build_request
from aiml_cli.core.history_journal import Journal
from aiml_cli.errors import AimlError, IncompleteAnswer
from aiml_cli.output.choose_renderer import AnswerOutput
from aiml_cli.settings.options import Options
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, Send
from aiml_cli.transport.key_masking import extract_key, mask_events

if TYPE_CHECKING:
    from aiml_cli.core.budget import Budget, Reservation
    from aiml_cli.output.spinner import Spinner
    from aiml_cli.transport.cache import ResponseCache
    from aiml_cli.transport.choose_transport import Client
    from aiml_cli.transport.connection import ConnectionHandle

# How long to wait for usage and [DONE] after the last finish reason if no event arrives.
END_GRACE_S = 2.0
# Request ids of this process: a random prefix and a counter.
_ID_PREFIX, _id_numbers = os.urandom(12).hex(), count()
SkipRetries = Callable[[AimlError], bool]


class ResponseSink(Protocol):
    """Receives a response: first its bytes, then the events in them."""

    def show(self, batch: EventBatch) -> None:
        """Receive the events of one network read."""

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks unchanged, and process them on the way."""


class RetryPacer(Protocol):
    """Decides when a request is sent, so that all threads together respect the limits of a server.

    `retries_broken`: an answer that breaks off is requested again, because nothing of it was shown.
    """

    retries_broken: bool

    def start_request(self, body: bytes | None) -> None:
        """Wait until a request may be sent; raise AimlError if it can never be sent."""

    def report_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the status and headers of a response."""

    def end_request(self, usage: Usage | None) -> None:
        """Record that a request has ended, and the tokens that it used."""

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Record a failure; nothing should be sent for this many seconds."""

    def wait(self, seconds: float, *, is_paid: bool = False) -> None:
        """Wait before the next attempt; `is_paid`: the last attempt may be billed too."""


class Sender:
    """Sends the requests of one turn and accumulates the answer, which is available however the turn ends.

    `client` stays open for the next turn; without one, each request opens its own, or with `keeps_client` the first
    one opens it for all. `on_sent` is called once, when the first request has been sent. `cache` answers instead of
    the server if it has the answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: Options,
        *,
        client: "Client | None" = None,
        pacer: RetryPacer | None = None,
        journal: Journal | None = None,
        keeps_client: bool = False,
        on_sent: Callable[[], None] | None = None,
        cache: "ResponseCache | None" = None,
    ) -> None:
        self._keeps_client, self._stack, self._on_sent = keeps_client, ExitStack(), on_sent
        self._endpoint, self._options = endpoint, options
        self._client, self._pacer, self.journal = client, pacer, journal
        # With --auto-continue a broken answer is continued instead.
        self._retries_broken = pacer is not None and pacer.retries_broken and not options.auto_continue
        self.broken_answers: list[Answer] = []
        self.cache, self._is_cached = cache, False
        self.earlier_answers: list[Answer] = []
        self.rounds: list[ToolRound] = []
        self._builder = self._offsets_builder = CompletionBuilder()
        self._attempts = self._other_attempts = 0
        self._began = self._first_event = 0.0
        self._has_output = False
        self._previous_response_id: str | None = None
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._segments: list[Answer] = []

    def send(
        self,
        request: HttpRequest,
        sink: ResponseSink,
        *,
        previous_response_id: str | None = None,
        skip_retries: SkipRetries | None = None,
    ) -> None:
        """Send the request, and retry until it is answered or the user may have seen a part of the answer.

        Raises the last error, without a retry if `skip_retries` is true for it.
        """
        self._previous_response_id = previous_response_id
        self._is_cached = bool(self.cache and self._replay(self.cache, request, sink))
        if self._is_cached:
            return
        with self._open_client(request.url) as client:
            send = make_send(self._options)
            while True:
                self._attempts += 1
                self._status, self._headers = None, {}
                try:
                    self._send_paced(client, _add_request_id(request), sink, send)
                    self._raise_if_cut()
                except AimlError as error:
                    if self.cache:
                        self.cache.drop_last(is_part=self._has_output and not self._retries_broken)
                    self._wait_or_raise(error, request, skip_retries)
                else:
                    return

    def _replay(self, cache: "ResponseCache", request: HttpRequest, sink: ResponseSink) -> bool:
        """Replay the cached responses to a request, or return False if there are none."""
        exchanges = cache.find(request)
        if not exchanges:
            return False
        from aiml_cli.store.history.reader import format_age  # few calls have a cache
        from aiml_cli.transport.replay import NullClient, replay_exchange

        if not self._options.quiet:
            print_err(f"aiml: from the cache, {format_age(time.time() - cache.age_s)} old")
        for number, exchange in enumerate(exchanges):
            if number:
                self.continue_answer()
            self._attempts, self._is_cached = 1, True
            self._send_once(cast("Client", NullClient()), request, sink, replay_exchange(exchange))
        return True

    def _open_client(self, url: str) -> "AbstractContextManager[Client]":
        opened = open_client(self._options, url, self._client)
        if self._client or not self._keeps_client:
            return opened
        self._client = self._stack.enter_context(opened)
        return nullcontext(self._client)

    def start_next_answer(self) -> None:
        """Add the answer so far to `earlier_answers`; the next request starts a new answer."""
        earlier = self.answer(None)
        self.earlier_answers.append(earlier)
        self._reset()
        if self.journal:
            self.journal.finish_rejected(earlier)

    def start_next_round(self, tool_round: ToolRound) -> None:
        """Add the answer so far to `rounds`; the next request sends the results of its tool calls."""
        earlier = self.answer(None)
        self.rounds.append(tool_round)
        self.earlier_answers.append(earlier)
        self._reset()
        if self.journal:
            self.journal.start_next_round(earlier, tool_round.results)

    def switch_model(self, model: str) -> None:
        """Drop the empty answer of a model, and send the next request to another one; attempts of both are counted."""
        self._builder, self._first_event, self._has_output = CompletionBuilder(), 0.0, False
        self._other_attempts += self._attempts
        self._attempts = 0
        if self.cache:
            self.cache.start_next_answer(is_other_request=True)
        if self.journal:
            self.journal.change_model(model)

    def _reset(self) -> None:
        if self.cache:
            self.cache.start_next_answer()
        self._segments, self._builder = [], CompletionBuilder()
        self._attempts = self._other_attempts = 0
        self._first_event, self._has_output = 0.0, False

    def continue_answer(self) -> None:
        """Append the next response to the answer so far: the next request asks to continue it."""
        self._segments.append(self.segment())
        self._builder.reopen()
        self._headers, self._attempts, self._has_output = {}, 0, False

    def deltas_since(self, offsets: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Return the text after the offsets, and advance them; safe to call from another thread."""
        if self._offsets_builder is not (builder := self._builder):
            self._offsets_builder = builder
            offsets.clear()  # the old offsets belong to an earlier answer
        return builder.deltas_since(offsets)

    def completion(self) -> Completion:
        """Return the content of the answer so far."""
        return self._builder.build()

    def release(self) -> None:
        """Free the memory of the answer so far, once it is built, and the connection."""
        self._stack.close()
        self._builder = self._offsets_builder = CompletionBuilder()

    def answer(self, error: AimlError | None) -> Answer:
        """Return the answer so far, with its timing, its cost and the error that ended it."""
        now, first, began = time.monotonic(), self._first_event, self._began
        answer = Answer(
            self._endpoint.name,
            self._builder.build(),
            error,
            Timing(first - began if first else None, now - began if began else None),
            self._request_id(),
            self._previous_response_id,
            self._status,
            self._other_attempts + self._attempts,
            self._header_cost(),
            is_cached=self._is_cached,
        )
        if not self._segments:
            return answer
        last = self.segment()
        is_billed = self._has_output or last.completion.usage
        return add_costs(answer, [*self._segments, last] if is_billed else self._segments)

    def segment(self) -> Answer:
        """Return the usage and cost of the current request, for answers that take several requests."""
        return Answer(
            self._endpoint.name,
            Completion(usage=self._builder.usage),
            header_cost_usd=self._header_cost(),
            is_cached=self._is_cached,
        )

    def _header_cost(self) -> float | None:
        names = ("x-aimlapi-usd-spent", "x-litellm-response-cost")
        costs = [as_amount(self._headers.get(name)) for name in names]
        return next((cost for cost in costs if cost is not None), None)

    def _request_id(self) -> str | None:
        return self._headers.get("x-inference-id") or self._headers.get("x-request-id")

    def _send_paced(self, client: "Client", request: HttpRequest, sink: ResponseSink, send: Send) -> None:
        """Send a request when the pacer allows it; a replay is not paced."""
        if not (pacer := self._pacer) or self._options.replay:
            self._send_once(client, request, sink, send)
            return
        pacer.start_request(None if request.body is None else bytes(request.body))
        try:
            self._send_once(client, request, sink, send)
        finally:
            pacer.end_request(self._builder.usage)

    def _send_once(self, client: "Client", request: HttpRequest, sink: ResponseSink, send: Send) -> None:
        self._raise_if_aborted()
        if not self._first_event:
            self._began = time.monotonic()
        if self._options.verbose and not self._is_cached:
            size = len(request.body or b"")
            print_err(f"aiml: {request.method} {request.url}, {size} bytes, try {self._attempts}")
        with _show_spinner(self._options) as spinner, send(client, request, self._make_on_sent(spinner)) as response:
            self._status, self._headers = response.status, response.headers
            if self._pacer and not (self._is_cached or self._options.replay):
                self._pacer.report_response(response.status, response.headers)
            if self._options.verbose and not self._is_cached:
                content_type = response.headers.get("content-type", "")
                print_err(f"aiml: {response.status} {content_type}, request {self._request_id() or 'without an id'}")
            # The text of a failed attempt is part of the error; only an answer is passed on byte for byte.
            is_answer = 200 <= response.status < 300  # noqa: PLR2004
            watched = self.cache.watch(request, response) if self.cache else response
            chunks = sink.tee(watched.chunks) if is_answer else watched.chunks
            self._show_response(client.connection, request, response._replace(chunks=chunks), sink)

    def _show_response(
        self, connection: "ConnectionHandle", request: HttpRequest, response: HttpResponse, sink: ResponseSink
    ) -> None:
        """Show the events of a response; once all choices have ended, wait only briefly for usage and [DONE]."""
        count, close_soon = count_choices(self._options), partial(connection.close_within, END_GRACE_S)
        try:
            batches = parse_response(self._endpoint, *response, choice_count=count, on_complete=close_soon)
            for batch in mask_events(extract_key(request.headers), batches):
                if not self._has_output:
                    self._note_first_event(batch)
                if self._retries_broken or not self._has_output:
                    self._raise_early_error(request, batch)
                self._builder.add(batch)
                sink.show(batch)
                if self._builder.has_finished(count):
                    close_soon()
        except IncompleteAnswer:
            if not self._builder.has_finished(count):
                raise
        finally:
            connection.keep_open()

    def _make_on_sent(self, spinner: "Spinner | None") -> Callable[[], None]:
        def on_sent() -> None:
            if self.journal:
                self.journal.start(self.deltas_since)
            if spinner:
                spinner.start()
            if self._on_sent:
                self._on_sent()
                self._on_sent = None

        return on_sent

    def _note_first_event(self, batch: EventBatch) -> None:
        """Record the time of the first content of the answer; start, end and metadata do not count."""
        metadata = ResponseStarted | OutputItems | Usage | Notice | Finished | ErrorEvent
        if any(not isinstance(event, metadata) for event in batch):
            self._has_output = True
            self._first_event = self._first_event or time.monotonic()

    def _raise_early_error(self, request: HttpRequest, batch: EventBatch) -> None:
        """Raise an error event that arrives before any output: it means the same as an error status.

        The error in a stored response, which is requested without a body, is content; raw bytes are already shown.
        """
        error = next((event for event in batch if isinstance(event, ErrorEvent)), None)
        if error and request.body and self._options.format != "raw":
            self._builder.add([event for event in batch if event is not error])
            from aiml_cli.api.error_response import error_from_event  # few answers report one

            raise error_from_event(error)

    def _raise_if_cut(self) -> None:
        """Raise IncompleteAnswer if a stream that was not shown ended before its answer was complete."""
        if self._retries_broken and not self._builder.has_finished(1):
            completion = self._builder.build()
            if completion.incomplete_reason == STREAM_CUT:
                raise IncompleteAnswer(STREAM_CUT, "try again")

    def _raise_if_aborted(self) -> None:
        if self._client:
            self._client.connection.raise_if_aborted()

    def _wait_or_raise(self, error: AimlError, request: HttpRequest, skip_retries: SkipRetries | None) -> None:
        from aiml_cli.api import error_kinds  # most requests are answered at once

        self._raise_if_aborted()
        options, now = self._options, datetime.now(UTC)
        # A replay has no keys; it prints the same as the recorded call.
        if "Authorization" not in request.headers and not (options.replay or options.record):
            error_kinds.explain_unsent_key(error)
        is_seen, jitter = self._has_output and not self._retries_broken, os.urandom(1)[0] / 255
        delay = error_kinds.retry_delay(
            error, self._headers, self._attempts, now, jitter, may_be_cut=self._retries_broken
        )
        if options.replay and delay:
            delay = 0.0
        is_skipped = skip_retries is not None and not self._has_output and skip_retries(error)
        if self._pacer and delay is not None and not is_skipped:
            self._pacer.report_failure(error, delay)
        if delay is None or is_skipped or is_seen or self._attempts > (options.retries or 0):
            raise error_kinds.add_retry_hint(error, self._headers, now)
        if not options.quiet:
            print_err(f"aiml: {error.message}; trying again in {delay:.1f} s ({self._attempts} of {options.retries})")
        is_paid = self._has_output or self._builder.usage is not None
        if is_paid and self._retries_broken:
            self.broken_answers.append(self.answer(None))
            self._has_output, self._first_event = False, 0.0
        if not self._segments:
            self._builder = CompletionBuilder()  # drops the id and the token counts of the failed attempt
        if self._pacer:
            spread = (
                0.0 if options.replay else error_kinds.jitter_retry_after(self._headers, self._attempts, now, jitter)
            )
            self._pacer.wait(delay + spread, is_paid=is_paid)
        else:
            time.sleep(delay)


class TurnContext(NamedTuple):
    """Everything needed to send the requests of one turn; `conversation` contains its new messages.

    `reservation` is for the first request.
    """

    sender: Sender
    request: ChatRequest
    conversation: Conversation
    key: ApiKey | None
    output: AnswerOutput
    budget: "Budget | None" = None
    reservation: "Reservation | None" = None
    skip_retries: SkipRetries | None = None

    def build_body(
        self, conversation: Conversation | None = None, history: HistoryMode = HistoryMode.BY_ID
    ) -> dict[str, Any]:
        """Build a request body; `history` is how previous turns are sent."""
        return self.request.build_body(conversation or self.conversation, history)

    def send(self, body: Mapping[str, Any], sink: ResponseSink | None = None) -> None:
        """Send a body; the response goes to the sink, or else to the output of the turn."""
        self.sender.send(
            build_request(self.request, body, self.key),
            sink or self.output,
            previous_response_id=body.get("previous_response_id"),
            skip_retries=self.skip_retries,
        )


def _show_spinner(options: Options) -> "AbstractContextManager[Spinner | None]":
    """Show a spinner if stderr is a terminal and no other thread shows one."""
    if options.quiet or not is_terminal(2) or current_thread() is not main_thread():
        return nullcontext()
    from aiml_cli.output import spinner  # a pipe needs no spinner

    return spinner.show_spinner(os.environ)


def _add_request_id(request: HttpRequest) -> HttpRequest:
    """Return the request with an id for this attempt, which the gateway shows in its log."""
    return request._replace(headers={**request.headers, "X-Client-Request-Id": f"{_ID_PREFIX}{next(_id_numbers):08x}"})


def count_choices(options: Options) -> int:
    """Return how many choices are requested, with -n or with -O n=."""
    override = (options.option_ or {}).get("n")
    return override if type(override) is int and override > 0 else options.n or 1
