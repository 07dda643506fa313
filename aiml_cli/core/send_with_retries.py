"""Hold one exchange with a server: send, understand, show, and try again where that is safe."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiml_cli.api.answer import Answer, Timing, add_costs
from aiml_cli.api.completion_builder import Completion, CompletionBuilder
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.lenient_json import as_amount
from aiml_cli.api.parse_response import parse_response
from aiml_cli.api.stream_events import ErrorEvent, EventBatch, Finished, Notice, OutputItems, ResponseStarted, Usage
from aiml_cli.core.chat_request import ChatRequest, build_request, mask_error
from aiml_cli.core.previous_turns import BY_ID
from aiml_cli.errors import AimlError
from aiml_cli.settings.options import Options
from aiml_cli.store.key_storage import ApiKey
from aiml_cli.system.stdio import is_terminal, print_err
from aiml_cli.transport import retry
from aiml_cli.transport.choose_transport import make_send, open_client
from aiml_cli.transport.http_types import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from aiml_cli.api.messages import Conversation
    from aiml_cli.core.budget import CallBudget
    from aiml_cli.core.history_journal import Journal
    from aiml_cli.output.choose_renderer import AnswerOutput
    from aiml_cli.output.spinner import Spinner
    from aiml_cli.transport.client import Client

Mask = Callable[[AimlError], AimlError]


class ResponseSink(Protocol):
    """Get what comes: the events, and before them the bytes."""

    def show(self, batch: EventBatch) -> None:
        """Take the events of one network read."""

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """See the bytes that pass."""


class RetryPacer(Protocol):
    """Slow down together with others who ask the same server."""

    def report_failure(self, error: AimlError, seconds: float) -> None:
        """Hear of a failure, and for how long nothing should be sent."""

    def wait(self, seconds: float) -> None:
        """Wait before the next try."""


class Sender:
    """Keep what is known of the exchange, however it ends; `client` is one that stays open for the next."""

    def __init__(self, endpoint: Endpoint, client: "Client | None" = None, pace: RetryPacer | None = None) -> None:
        self._endpoint = endpoint
        self._client = client
        self._pace = pace
        self.journal: Journal | None = None
        self.previous_response_id: str | None = None
        self.skip_retries: Callable[[AimlError], bool] | None = None
        self._fold = self._marked = CompletionBuilder()
        self._tries = self._tries_of_others = 0
        self._began = self._first = 0.0
        self._is_heard = False
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self.budget: CallBudget | None = None
        self.earlier_answers: list[Answer] = []
        self._parts: list[Answer] = []

    def send(self, request: HttpRequest, options: Options, screen: ResponseSink, mask: Mask) -> None:
        """Send the request until it is answered; nothing is sent again once a piece was shown.

        `mask` takes the key out of a failure before anybody sees it.
        """
        with open_client(options, request.url, self._client) as client:
            while True:
                self._tries += 1
                self._status, self._headers = None, {}
                try:
                    self._once(client, _numbered(request), screen, options)
                except AimlError as error:
                    self._wait_or_raise(mask(error), options)
                else:
                    return

    def start_next_answer(self) -> None:
        """Let go of what came: the next request is an exchange of its own."""
        earlier = self.answer(None)
        self.earlier_answers.append(earlier)
        self._parts = []
        self._fold, self._tries, self._first, self._is_heard = CompletionBuilder(), 0, 0.0, False
        self._tries_of_others = 0
        if self.journal:
            self.journal.finish_rejected(earlier)

    def switch_model(self, model: str) -> None:
        """Let go of a model that said nothing; the next request asks another one, and the tries are counted on."""
        self._fold, self._first, self._is_heard = CompletionBuilder(), 0.0, False
        self._tries_of_others += self._tries
        self._tries = 0
        if self.journal:
            self.journal.change_model(model)

    def continue_answer(self) -> None:
        """Join what comes next to what came: the next request asks for the rest of the answer."""
        self._parts.append(self.segment())
        self._fold.reopen()
        self._headers = {}
        self._tries, self._is_heard = 0, False

    def deltas_since(self, marks: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Give what grew since the marks, and move them; another thread may ask."""
        if self._marked is not (fold := self._fold):
            self._marked = fold
            marks.clear()  # they are of an answer that another one follows
        return fold.deltas_since(marks)

    def completion(self) -> Completion:
        """Give the answer as far as it came."""
        return self._fold.build()

    def answer(self, error: AimlError | None) -> Answer:
        """Say what is known."""
        now = time.monotonic()
        answer = Answer(
            self._endpoint.name,
            self._fold.build(),
            error,
            Timing(self._first - self._began if self._first else None, now - self._began if self._began else None),
            self._id(),
            self.previous_response_id,
            self._status,
            self._tries_of_others + self._tries,
            self._cost(),
        )
        if not self._parts:
            return answer
        last = self.segment()
        is_billed = self._is_heard or last.completion.usage
        return add_costs(answer, [*self._parts, last] if is_billed else self._parts)

    def segment(self) -> Answer:
        """Say what the part of the answer took that comes now, where it is asked for in parts."""
        return Answer(self._endpoint.name, Completion(usage=self._fold.usage), header_cost_usd=self._cost())

    def _cost(self) -> float | None:
        """Give the price in the headers."""
        return as_amount(self._headers.get("x-aimlapi-usd-spent"))

    def _once(self, client: "Client", request: HttpRequest, screen: ResponseSink, options: Options) -> None:
        self._heed()
        verbose = options.verbose
        if not self._first:
            self._began = time.monotonic()
        if verbose:
            print_err(f"aiml: {request.method} {request.url}, {len(request.body or b'')} bytes, try {self._tries}")
        with _sign(options) as sign, make_send(options)(client, request, self._begun(sign)) as reply:
            self._status, self._headers = reply.status, reply.headers
            if verbose:
                kind = reply.headers.get("content-type", "")
                print_err(f"aiml: {reply.status} {kind}, request {self._id() or 'without an id'}")
            # What a failed try said is told in words; only an answer is passed on as it is.
            chunks = screen.tee(reply.chunks) if 200 <= reply.status < 300 else reply.chunks  # noqa: PLR2004
            for batch in parse_response(self._endpoint, reply.status, reply.headers, chunks):
                if not self._is_heard:
                    self._note_first(batch)
                self._fold.add(batch)
                screen.show(batch)

    def _begun(self, sign: "Spinner | None") -> Callable[[], None]:
        """Give what is done when the request is sent, while nothing comes yet."""

        def begun() -> None:
            if self.journal:
                self.journal.start()
            if sign:
                sign.start()

        return begun

    def _id(self) -> str | None:
        return self._headers.get("x-inference-id") or self._headers.get("x-request-id")

    def _note_first(self, batch: EventBatch) -> None:
        """Note when the first piece came; that somebody began to answer, or ended it, is no piece."""
        if any(
            not isinstance(event, ResponseStarted | OutputItems | Usage | Notice | Finished | ErrorEvent)
            for event in batch
        ):
            self._is_heard = True
            self._first = self._first or time.monotonic()

    def _heed(self) -> None:
        """Go no further where another thread has ended this."""
        if self._client:
            self._client.connection.raise_if_aborted()

    def _wait_or_raise(self, error: AimlError, options: Options) -> None:
        self._heed()
        now, luck = datetime.now(UTC), os.urandom(1)[0] / 255
        pause = retry.retry_delay(error, self._headers, self._tries, now, luck)
        if options.replay and pause:
            pause = 0.0  # a recording needs no rest
        is_left = self.skip_retries is not None and self.skip_retries(error)
        if self._pace and pause is not None and not is_left:
            self._pace.report_failure(error, pause)
        if pause is None or is_left or self._is_heard or self._tries > (options.retries or 0):
            raise retry.add_retry_hint(error, self._headers, now)
        if not options.quiet:
            print_err(f"aiml: {error.message}; trying again in {pause:.1f} s ({self._tries} of {options.retries})")
        (self._pace.wait if self._pace else time.sleep)(pause)


def _sign(options: Options) -> "AbstractContextManager[Spinner | None]":
    """Give what shows that an answer is waited for, where somebody looks."""
    if options.quiet or not is_terminal(2) or current_thread() is not main_thread():  # several would mix
        return nullcontext()
    from aiml_cli.output import spinner  # a pipe needs none

    return spinner.show_spinner(os.environ)


def _numbered(request: HttpRequest) -> HttpRequest:
    """Give each try an id of its own, which the gateway stores and shows in its log."""
    return request._replace(headers={**request.headers, "X-Client-Request-Id": os.urandom(16).hex()})


class TurnContext(NamedTuple):
    """Hold who asks what; `said` is what is new in the conversation."""

    sender: Sender
    request: ChatRequest
    conversation: "Conversation"
    key: ApiKey | None
    output: "AnswerOutput"

    def build_request(self, said: "Conversation | None" = None, how: int = BY_ID) -> HttpRequest:
        """Make the request; `how` is in which way what was said before is sent."""
        body = self.request.build_body(said or self.conversation, how)
        self.sender.previous_response_id = body.get("previous_response_id")
        return build_request(self.request, body, self.key)

    def send(self, request: HttpRequest) -> None:
        """Send a request, and show what comes."""
        self.sender.send(request, self.request.options, self.output, self.mask_error)

    def mask_error(self, error: AimlError) -> AimlError:
        """Take the key out of a failure before anybody sees it."""
        return mask_error(error, self.key)
