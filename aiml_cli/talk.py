"""Hold one exchange with a server: send, understand, show, and try again where that is safe."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiml_cli.api import retry
from aiml_cli.api.answer import Answer, Timing
from aiml_cli.api.client import Client, Request, connect, send
from aiml_cli.api.completion import Fold
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.events import Batch, Begun
from aiml_cli.api.reply import understand
from aiml_cli.errors import AimlError
from aiml_cli.screen.choose import Screen
from aiml_cli.screen.output import say
from aiml_cli.settings.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping


class Talk:
    """Keep what is known of the exchange, however it ends."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._fold = Fold()
        self._tries = 0
        self._began = self._first = 0.0
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._shown = False

    def hold(self, request: Request, options: Options, screen: Screen) -> None:
        """Send the request until it is answered; nothing is sent again once a piece was shown."""
        with connect(request.url, options.timeout or 0, options.ca_bundle) as client:
            while True:
                self._tries += 1
                self._headers = {}
                try:
                    self._once(client, _numbered(request), screen, verbose=bool(options.verbose))
                except AimlError as error:
                    self._wait_or_raise(error, options)
                else:
                    return

    def answer(self, error: AimlError | None, previous_response_id: str | None) -> Answer:
        """Say what is known."""
        now = time.monotonic()
        spent = self._headers.get("x-aimlapi-usd-spent", "")
        return Answer(
            self._endpoint.name,
            self._fold.completion(),
            error,
            Timing(self._first - self._began if self._first else None, now - self._began if self._began else None),
            self._id(),
            previous_response_id,
            self._status,
            self._tries,
            float(spent) if spent.replace(".", "", 1).isdigit() else None,
        )

    def _once(self, client: Client, request: Request, screen: Screen, *, verbose: bool) -> None:
        self._began = time.monotonic()
        if verbose:
            say(f"aiml: {request.method} {request.url}, {len(request.body or b'')} bytes, try {self._tries}")
        with send(client, request) as reply:
            self._status, self._headers = reply.status, reply.headers
            if verbose:
                kind = reply.headers.get("content-type", "")
                say(f"aiml: {reply.status} {kind}, request {self._id() or 'without an id'}")
            chunks = screen.tee(reply.chunks)
            for batch in understand(self._endpoint, reply.status, reply.headers, chunks):
                if not self._first:
                    self._note_first(batch)
                self._fold.add(batch)
                screen.show(batch)

    def _id(self) -> str | None:
        return self._headers.get("x-inference-id") or self._headers.get("x-request-id")

    def _note_first(self, batch: Batch) -> None:
        """Note when the first piece came; that somebody began to answer is no piece."""
        if any(type(event) is not Begun for event in batch):
            self._first = time.monotonic()
            self._shown = True

    def _wait_or_raise(self, error: AimlError, options: Options) -> None:
        now, luck = datetime.now(UTC), os.urandom(1)[0] / 255
        pause = retry.pause(error, self._headers, self._tries, now, luck)
        if pause is None or self._shown or self._tries > (options.retries or 0):
            raise retry.told(error, self._headers, now)
        if not options.quiet:
            say(f"aiml: {error.message}; trying again in {pause:.1f} s ({self._tries} of {options.retries})")
        time.sleep(pause)


def _numbered(request: Request) -> Request:
    """Give each try an id of its own, which the gateway stores and shows in its log."""
    return replace(request, headers={**request.headers, "X-Client-Request-Id": os.urandom(16).hex()})
