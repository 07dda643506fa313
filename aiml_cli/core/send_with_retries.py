"""Hold one exchange with a server: send, understand, show, and try again where that is safe."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiml_cli.api.answer import Answer, Timing, with_cost_of
from aiml_cli.api.completion_builder import Completion, Fold
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.lenient_json import an_amount
from aiml_cli.api.parse_response import understand
from aiml_cli.api.stream_events import Batch, Begun, Done, Fault, Notice, Output, Usage
from aiml_cli.core.chat_request import Question, masked, request_of
from aiml_cli.core.previous_turns import BY_ID
from aiml_cli.errors import AimlError
from aiml_cli.settings.options import Options
from aiml_cli.store.key_storage import Key
from aiml_cli.system.stdio import is_terminal, print_err
from aiml_cli.transport import retry
from aiml_cli.transport.choose_transport import opened, sender
from aiml_cli.transport.http_types import Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from aiml_cli.api.messages import Conversation
    from aiml_cli.core.budget import Purse
    from aiml_cli.core.history_journal import Journal
    from aiml_cli.output.choose_renderer import Screen
    from aiml_cli.output.spinner import Waiting
    from aiml_cli.transport.client import Client

Mask = Callable[[AimlError], AimlError]


class Onlooker(Protocol):
    """Get what comes: the events, and before them the bytes."""

    def show(self, batch: Batch) -> None:
        """Take the events of one network read."""

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """See the bytes that pass."""


class Pace(Protocol):
    """Slow down together with others who ask the same server."""

    def slow(self, error: AimlError, seconds: float) -> None:
        """Hear of a failure, and for how long nothing should be sent."""

    def rest(self, seconds: float) -> None:
        """Wait before the next try."""


class Talk:
    """Keep what is known of the exchange, however it ends; `client` is one that stays open for the next."""

    def __init__(self, endpoint: Endpoint, client: "Client | None" = None, pace: Pace | None = None) -> None:
        self._endpoint = endpoint
        self._client = client
        self._pace = pace
        self.keeper: Journal | None = None
        self.continued: str | None = None
        self.gives_up: Callable[[AimlError], bool] | None = None
        self._fold = self._marked = Fold()
        self._tries = self._tries_of_others = 0
        self._began = self._first = 0.0
        self._is_heard = False
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self.purse: Purse | None = None
        self.earlier: list[Answer] = []
        self._parts: list[Answer] = []

    def hold(self, request: Request, options: Options, screen: Onlooker, mask: Mask) -> None:
        """Send the request until it is answered; nothing is sent again once a piece was shown.

        `mask` takes the key out of a failure before anybody sees it.
        """
        with opened(options, request.url, self._client) as client:
            while True:
                self._tries += 1
                self._status, self._headers = None, {}
                try:
                    self._once(client, _numbered(request), screen, options)
                except AimlError as error:
                    self._wait_or_raise(mask(error), options)
                else:
                    return

    def begin_anew(self) -> None:
        """Let go of what came: the next request is an exchange of its own."""
        earlier = self.answer(None)
        self.earlier.append(earlier)
        self._parts = []
        self._fold, self._tries, self._first, self._is_heard = Fold(), 0, 0.0, False
        self._tries_of_others = 0
        if self.keeper:
            self.keeper.part(earlier)

    def ask_another(self, model: str) -> None:
        """Let go of a model that said nothing; the next request asks another one, and the tries are counted on."""
        self._fold, self._first, self._is_heard = Fold(), 0.0, False
        self._tries_of_others += self._tries
        self._tries = 0
        if self.keeper:
            self.keeper.rename(model)

    def go_on(self) -> None:
        """Join what comes next to what came: the next request asks for the rest of the answer."""
        self._parts.append(self.part())
        self._fold.reopen()
        self._headers = {}
        self._tries, self._is_heard = 0, False

    def since(self, marks: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Give what grew since the marks, and move them; another thread may ask."""
        if self._marked is not (fold := self._fold):
            self._marked = fold
            marks.clear()  # they are of an answer that another one follows
        return fold.since(marks)

    def completion(self) -> Completion:
        """Give the answer as far as it came."""
        return self._fold.completion()

    def answer(self, error: AimlError | None) -> Answer:
        """Say what is known."""
        now = time.monotonic()
        answer = Answer(
            self._endpoint.name,
            self._fold.completion(),
            error,
            Timing(self._first - self._began if self._first else None, now - self._began if self._began else None),
            self._id(),
            self.continued,
            self._status,
            self._tries_of_others + self._tries,
            self._cost(),
        )
        if not self._parts:
            return answer
        last = self.part()
        is_billed = self._is_heard or last.completion.usage
        return with_cost_of(answer, [*self._parts, last] if is_billed else self._parts)

    def part(self) -> Answer:
        """Say what the part of the answer took that comes now, where it is asked for in parts."""
        return Answer(self._endpoint.name, Completion(usage=self._fold.usage), header_cost_usd=self._cost())

    def _cost(self) -> float | None:
        """Give the price in the headers."""
        return an_amount(self._headers.get("x-aimlapi-usd-spent"))

    def _once(self, client: "Client", request: Request, screen: Onlooker, options: Options) -> None:
        self._heed()
        verbose = options.verbose
        if not self._first:
            self._began = time.monotonic()
        if verbose:
            print_err(f"aiml: {request.method} {request.url}, {len(request.body or b'')} bytes, try {self._tries}")
        with _sign(options) as sign, sender(options)(client, request, self._begun(sign)) as reply:
            self._status, self._headers = reply.status, reply.headers
            if verbose:
                kind = reply.headers.get("content-type", "")
                print_err(f"aiml: {reply.status} {kind}, request {self._id() or 'without an id'}")
            # What a failed try said is told in words; only an answer is passed on as it is.
            chunks = screen.tee(reply.chunks) if 200 <= reply.status < 300 else reply.chunks  # noqa: PLR2004
            for batch in understand(self._endpoint, reply.status, reply.headers, chunks):
                if not self._is_heard:
                    self._note_first(batch)
                self._fold.add(batch)
                screen.show(batch)

    def _begun(self, sign: "Waiting | None") -> Callable[[], None]:
        """Give what is done when the request is sent, while nothing comes yet."""

        def begun() -> None:
            if self.keeper:
                self.keeper.start()
            if sign:
                sign.begin()

        return begun

    def _id(self) -> str | None:
        return self._headers.get("x-inference-id") or self._headers.get("x-request-id")

    def _note_first(self, batch: Batch) -> None:
        """Note when the first piece came; that somebody began to answer, or ended it, is no piece."""
        if any(not isinstance(event, Begun | Output | Usage | Notice | Done | Fault) for event in batch):
            self._is_heard = True
            self._first = self._first or time.monotonic()

    def _heed(self) -> None:
        """Go no further where another thread has ended this."""
        if self._client:
            self._client.wire.heed()

    def _wait_or_raise(self, error: AimlError, options: Options) -> None:
        self._heed()
        now, luck = datetime.now(UTC), os.urandom(1)[0] / 255
        pause = retry.pause(error, self._headers, self._tries, now, luck)
        if options.replay and pause:
            pause = 0.0  # a recording needs no rest
        is_left = self.gives_up is not None and self.gives_up(error)
        if self._pace and pause is not None and not is_left:
            self._pace.slow(error, pause)
        if pause is None or is_left or self._is_heard or self._tries > (options.retries or 0):
            raise retry.told(error, self._headers, now)
        if not options.quiet:
            print_err(f"aiml: {error.message}; trying again in {pause:.1f} s ({self._tries} of {options.retries})")
        (self._pace.rest if self._pace else time.sleep)(pause)


def _sign(options: Options) -> "AbstractContextManager[Waiting | None]":
    """Give what shows that an answer is waited for, where somebody looks."""
    if options.quiet or not is_terminal(2) or current_thread() is not main_thread():  # several would mix
        return nullcontext()
    from aiml_cli.output import spinner  # a pipe needs none

    return spinner.sign(os.environ)


def _numbered(request: Request) -> Request:
    """Give each try an id of its own, which the gateway stores and shows in its log."""
    return request._replace(headers={**request.headers, "X-Client-Request-Id": os.urandom(16).hex()})


class Asking(NamedTuple):
    """Hold who asks what; `said` is what is new in the conversation."""

    talk: Talk
    question: Question
    said: "Conversation"
    key: Key | None
    screen: "Screen"

    def request(self, said: "Conversation | None" = None, how: int = BY_ID) -> Request:
        """Make the request; `how` is in which way what was said before is sent."""
        body = self.question.body(said or self.said, how)
        self.talk.continued = body.get("previous_response_id")
        return request_of(self.question, body, self.key)

    def send(self, request: Request) -> None:
        """Send a request, and show what comes."""
        self.talk.hold(request, self.question.options, self.screen, self.mask)

    def mask(self, error: AimlError) -> AimlError:
        """Take the key out of a failure before anybody sees it."""
        return masked(error, self.key)
