"""Answer a request from the stored responses to an earlier, equal request."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from threading import Event, Lock
from typing import Protocol

from aiml_cli.transport import recording_file
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.recorder import ExchangeRecorder
from aiml_cli.transport.recording_file import InvalidExchangeError, RecordedExchange, RecordedRequest

# The requests in progress in this process, by name; each event is set when the answer is stored or has failed.
_in_progress: dict[str, Event] = {}
_in_progress_lock = Lock()
_NO_REQUEST = RecordedRequest("POST", "", {})  # the request itself is not stored


class Store(Protocol):
    """Stores data by name; `load` returns data that is younger than `max_age_s`, with its age in seconds."""

    def load(self, name: str, max_age_s: float) -> tuple[bytes, float] | None:
        """Return the data and its age, or None."""

    def save(self, name: str, data: bytes) -> None:
        """Store the data."""

    def remove(self, name: str) -> None:
        """Delete the data."""


class ResponseCache:
    """The stored responses to the request of a turn, or those that arrive now, until the answer is complete.

    An answer may take several requests; their responses are stored under the first request and replayed in order.
    `address` identifies the server if its URL differs from call to call; `headers` are the user's own. With `is_raw`
    the server's own bytes are shown, so a stream and a JSON body are different answers. `age_s` is the age of the
    responses that were found. With `waits`, a request that another thread is already sending waits for that answer.
    """

    def __init__(
        self,
        store: Store,
        max_age_s: float,
        *,
        address: str,
        headers: Mapping[str, str],
        is_raw: bool,
        waits: bool = False,
    ) -> None:
        self._store, self._max_age_s = store, max_age_s
        self._address, self._headers, self._is_raw = address, headers, is_raw
        self._done = Event() if waits else None
        self._name, self._has_started, self.age_s = "", False, 0.0
        self._found: list[RecordedExchange] = []
        self._recorders: list[ExchangeRecorder] | None = []

    def find(self, request: HttpRequest) -> list[RecordedExchange]:
        """Return the stored responses to the first request of an answer; [] for a later one, or if there are none."""
        if self._has_started:
            return []
        self._load(request)
        self._has_started = True
        if self._done:
            self._wait_for_others(self._done)
        return self._found

    def can_answer(self, request: HttpRequest) -> bool:
        """True if there are stored responses to the first request of an answer."""
        self._load(request)
        return bool(self._found)

    def _load(self, request: HttpRequest) -> None:
        if not self._name:
            self._name = self._name_request(request)
            self._read()

    def _read(self) -> None:
        data, self.age_s = self._store.load(self._name, self._max_age_s) or (b"", 0.0)
        self._found = _decode_exchanges(data)

    def _wait_for_others(self, done: Event) -> None:
        """Wait while another thread sends the same request: until there is an answer or this thread has to send it."""
        while not self._found:
            with _in_progress_lock:
                other = _in_progress.setdefault(self._name, done)
            if other is done:
                self._read()  # another one may have ended in between
                return
            other.wait()
            self._read()

    def _release_waiting_threads(self) -> None:
        """Let the threads that wait for this answer continue."""
        if not self._done:
            return
        with _in_progress_lock:
            if _in_progress.get(self._name) is self._done:
                del _in_progress[self._name]
        self._done.set()
        self._done = Event()

    def watch(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Return the response; its chunks are recorded as they are read."""
        if self._recorders is None or self._found:
            return response
        recorder = ExchangeRecorder(request, "")
        self._recorders.append(recorder)
        return recorder.watch(response)

    def drop_last(self, *, is_part: bool) -> None:
        """Drop a response that failed; if it is a part of the answer, the answer is not stored."""
        if is_part:
            self._recorders = None
        elif self._recorders:
            self._recorders.pop()

    def start_next_answer(self, *, is_other_request: bool = False) -> None:
        """Drop the responses so far: another attempt or another request follows."""
        self._recorders, self._found = [], []
        if is_other_request:
            self._release_waiting_threads()
            self._name, self._has_started = "", False

    def finish(self, *, is_complete: bool, is_unusable: bool) -> None:
        """Store the responses of a complete answer; delete stored ones that are unusable."""
        if self._found and is_unusable:
            self._store.remove(self._name)
        elif is_complete and self._recorders and self._name:
            self._store.save(self._name, _encode_exchanges(self._recorders))
        self._recorders = []
        self._release_waiting_threads()

    def _name_request(self, request: HttpRequest) -> str:
        """Return a hash of everything that the answer depends on; JSON is compared by value, the key by its hash."""
        body = recording_file.parse_json(bytes(request.body or b"null"))
        is_streamed = body.pop("stream", None)
        if body.get("stream_options") == {"include_usage": True}:  # an answer without a stream has the counts anyway
            del body["stream_options"]
        key = sha256(request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")).hexdigest()
        headers = sorted((name.lower(), value) for name, value in self._headers.items())
        facts = [self._address or request.url, key, headers, body, is_streamed if self._is_raw else None]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _encode_exchanges(recorders: list[ExchangeRecorder]) -> bytes:
    exchanges = (replace(recorder.build_exchange(), request=_NO_REQUEST, server="") for recorder in recorders)
    return b"".join(map(recording_file.encode_exchange, exchanges))


def _decode_exchanges(data: bytes) -> list[RecordedExchange]:
    """Return the exchanges; [] if one of them cannot be read."""
    try:
        return [recording_file.decode_exchange(line) for line in data.splitlines()]
    except InvalidExchangeError:
        return []
