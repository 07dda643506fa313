"""Answer a request from the responses to the same request that an earlier call has stored."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

from aiml_cli.transport import recording_file
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.recorder import ExchangeRecorder
from aiml_cli.transport.recording_file import InvalidExchangeError, RecordedExchange, RecordedRequest

# Headers that do not change the answer; the key is part of a request's name on its own.
_NEUTRAL_HEADERS = frozenset({
    "user-agent", "accept", "accept-encoding", "content-type", "authorization", "x-client-request-id",
})  # fmt: skip
_NO_REQUEST = RecordedRequest("POST", "", {})  # the words of the request are not stored


class Store(Protocol):
    """Keeps data under names; `load` returns what is younger than an age, with its age in seconds."""

    def load(self, name: str, max_age_s: float) -> tuple[bytes, float] | None:
        """Return the data and its age, or None."""

    def save(self, name: str, data: bytes) -> None:
        """Keep the data."""

    def remove(self, name: str) -> None:
        """Forget the data."""


class ResponseCache:
    """The stored responses to the request of a turn, or those that arrive now, until the answer is complete.

    An answer may take several requests; they are stored under the first, and played one after the other. `address`
    stands for the server where its URL differs from call to call. `is_raw`: the server's own bytes are shown, so a
    stream and a JSON body are different answers. `age_s` is the age of the responses that were found.
    """

    def __init__(self, store: Store, max_age_s: float, *, address: str = "", is_raw: bool = False) -> None:
        self._store, self._max_age_s, self._address, self._is_raw = store, max_age_s, address, is_raw
        self._name, self.age_s = "", 0.0
        self._found: list[RecordedExchange] = []
        self._recorders: list[ExchangeRecorder] | None = []

    def find(self, request: HttpRequest) -> list[RecordedExchange]:
        """Return the stored responses to the first request of an answer; [] for a later one, or if there are none."""
        if self._name:
            return []
        self._name = name_request(request, self._address, is_raw=self._is_raw)
        data, self.age_s = self._store.load(self._name, self._max_age_s) or (b"", 0.0)
        self._found = _decode_exchanges(data)
        return self._found

    def watch(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Return the response with chunks that are kept as they are read."""
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
        """Drop the responses so far: a better answer follows, or that to another request."""
        self._recorders, self._found = [], []
        if is_other_request:
            self._name = ""

    def finish(self, *, is_complete: bool, is_unusable: bool) -> None:
        """Store the responses of a complete answer; forget stored ones that are not what was asked for."""
        if self._found and is_unusable:
            self._store.remove(self._name)
        elif is_complete and self._recorders and self._name:
            self._store.save(self._name, _encode_exchanges(self._recorders))
        self._recorders = []


def name_request(request: HttpRequest, address: str, *, is_raw: bool) -> str:
    """Return a hash of all that the answer depends on; JSON is compared as values, and the key is hashed by itself."""
    body = recording_file.parse_json(request.body or b"null")
    is_streamed = body.pop("stream", None)
    if body.get("stream_options") == {"include_usage": True}:  # without a stream the tokens are counted anyway
        del body["stream_options"]
    headers = {name.lower(): value for name, value in request.headers.items()}
    own_headers = sorted(item for item in headers.items() if item[0] not in _NEUTRAL_HEADERS)
    key = sha256(headers.get("authorization", "").encode("utf-8", "surrogateescape")).hexdigest()
    facts: list[Any] = [address or request.url, key, own_headers, body, is_streamed if is_raw else None]
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
