"""Hold one exchange with a server: send, understand, show, and try again where that is safe."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from aiml_cli.api import retry
from aiml_cli.api.answer import Answer, Timing
from aiml_cli.api.client import Client, Reply, Request, connect, send
from aiml_cli.api.completion import Completion, Fold
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.events import Batch, Begun, Done, Fault, Notice, Output, Usage
from aiml_cli.api.reply import understand
from aiml_cli.api.wire import an_amount
from aiml_cli.errors import AimlError
from aiml_cli.screen.output import is_terminal, notices, say
from aiml_cli.settings.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from aiml_cli.journal import Journal
    from aiml_cli.screen.waiting import Waiting

Mask = Callable[[AimlError], AimlError]


class Onlooker(Protocol):
    """Get what comes: the events, and before them the bytes."""

    def show(self, batch: Batch) -> None:
        """Take the events of one network read."""

    def tee(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """See the bytes that pass."""


class Talk:
    """Keep what is known of the exchange, however it ends."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.keeper: Journal | None = None
        self.continued: str | None = None
        self._fold = Fold()
        self._tries = 0
        self._began = self._first = 0.0
        self._is_heard = False
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._spent: float | None = None

    def hold(self, request: Request, options: Options, screen: Onlooker, mask: Mask) -> None:
        """Send the request until it is answered; nothing is sent again once a piece was shown.

        `mask` takes the key out of a failure before anybody sees it.
        """
        tell = notices(options.quiet)
        with connect(request.url, options.timeout or 0, options.ca_bundle, tell) as client:
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
        self._fold, self._tries, self._first, self._is_heard = Fold(), 0, 0.0, False
        if self.keeper:
            self.keeper.part(earlier)

    def go_on(self) -> None:
        """Join what comes next to what came: the next request asks for the rest of the answer."""
        self._fold.reopen()
        self._spent, self._headers = self._cost(), {}
        self._tries, self._is_heard = 0, False

    def since(self, marks: dict[tuple[int, str], int]) -> list[tuple[str, int, str]]:
        """Give what grew since the marks, and move them; another thread may ask."""
        return self._fold.since(marks)

    def completion(self) -> Completion:
        """Give the answer as far as it came."""
        return self._fold.completion()

    def answer(self, error: AimlError | None) -> Answer:
        """Say what is known."""
        now = time.monotonic()
        return Answer(
            self._endpoint.name,
            self._fold.completion(),
            error,
            Timing(self._first - self._began if self._first else None, now - self._began if self._began else None),
            self._id(),
            self.continued,
            self._status,
            self._tries,
            self._cost(),
        )

    def _cost(self) -> float | None:
        """Give the price in the headers, with that of the parts before."""
        told = an_amount(self._headers.get("x-aimlapi-usd-spent"))
        return told if self._spent is None else self._spent + (told or 0)

    def _once(self, client: Client, request: Request, screen: Onlooker, options: Options) -> None:
        verbose = options.verbose
        if not self._first:
            self._began = time.monotonic()
        if verbose:
            say(f"aiml: {request.method} {request.url}, {len(request.body or b'')} bytes, try {self._tries}")
        with _sign(options) as sign, _sender(options)(client, request, self._begun(sign)) as reply:
            self._status, self._headers = reply.status, reply.headers
            if verbose:
                kind = reply.headers.get("content-type", "")
                say(f"aiml: {reply.status} {kind}, request {self._id() or 'without an id'}")
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

    def _wait_or_raise(self, error: AimlError, options: Options) -> None:
        now, luck = datetime.now(UTC), os.urandom(1)[0] / 255
        pause = retry.pause(error, self._headers, self._tries, now, luck)
        if pause is None or self._is_heard or self._tries > (options.retries or 0):
            raise retry.told(error, self._headers, now)
        if not options.quiet:
            say(f"aiml: {error.message}; trying again in {pause:.1f} s ({self._tries} of {options.retries})")
        time.sleep(pause)


def _sign(options: Options) -> "AbstractContextManager[Waiting | None]":
    """Give what shows that an answer is waited for, where somebody looks."""
    if options.quiet or not is_terminal(2):
        return nullcontext()
    from aiml_cli.screen import waiting  # a pipe needs none

    return waiting.sign(os.environ)


def _sender(options: Options) -> "Callable[..., AbstractContextManager[Reply]]":
    """Give what sends a request; with --debug it shows the exchange too."""
    if not options.debug:
        return send
    from aiml_cli import debug  # few want to see it

    return debug.send


def _numbered(request: Request) -> Request:
    """Give each try an id of its own, which the gateway stores and shows in its log."""
    return replace(request, headers={**request.headers, "X-Client-Request-Id": os.urandom(16).hex()})
