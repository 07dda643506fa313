"""Answer requests from a recording, without a network."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from aiml_cli.errors import AimlError, RequestRejected, UsageError
from aiml_cli.system.atomic_write import MEBIBYTE, read_bounded
from aiml_cli.system.stdio import Notifier
from aiml_cli.transport import recording_file
from aiml_cli.transport.connection import ConnectionHandle
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent, Send
from aiml_cli.transport.key_masking import MIN_KEY_LENGTH, mask_text
from aiml_cli.transport.recording_file import RecordedExchange, RecordedRequest

MAX_RECORDING_BYTES = 512 * MEBIBYTE
_recordings: dict[Path, "Recording"] = {}
_load_lock = Lock()


class Recording:
    """The exchanges of a recording; safe to use from several threads."""

    def __init__(self, path: str, exchanges: list[RecordedExchange]) -> None:
        self.path = path
        self._exchanges = exchanges
        self._by_key: dict[str, list[RecordedExchange]] = {}
        for exchange in exchanges:
            self._by_key.setdefault(exchange.request.key, []).append(exchange)
        self._replay_counts: Counter[str] = Counter()
        self._lock = Lock()

    def next_exchange(self, request: RecordedRequest) -> RecordedExchange | None:
        """Return the exchanges of a request in recorded order, then the last one again; None if there is none."""
        key = request.key
        exchanges = self._by_key.get(key)
        if not exchanges:
            return None
        with self._lock:
            count = self._replay_counts[key]
            self._replay_counts[key] += 1
        return exchanges[min(count, len(exchanges) - 1)]

    def list_bodies(self) -> list[Any]:
        """Return the JSON bodies of the recorded requests, in order."""
        return [exchange.request.body.get("json") for exchange in self._exchanges]

    def build_missing_error(self, request: RecordedRequest) -> RequestRejected:
        """Return the error for a request that was not recorded: how it differs from the nearest that was."""
        from aiml_cli.transport import request_diff  # most replays lack nothing

        hint = "add it with the same command and --record instead of --replay"
        recorded = [exchange.request for exchange in self._exchanges]
        nearest = request_diff.find_nearest(request, recorded)
        if nearest is None:
            others = ", ".join(sorted({f"{other.method} {other.path}" for other in recorded})[:4])
            return RequestRejected(f"{self.path} has no {request.method} {request.path}, only {others}", hint)
        lines = request_diff.list_differences(nearest, request)
        heading = f"{self.path} does not contain this request; the closest one differs:"
        return RequestRejected("\n  ".join([heading, *lines]), hint)


def load_recording(path: str, notify: Notifier = None) -> Recording:
    """Read a recording, once per process; raise UsageError if it is missing, damaged or empty."""
    file = Path(path).expanduser().absolute()
    with _load_lock:
        if file not in _recordings:
            _recordings[file] = Recording(path, _read_exchanges(path, file, notify))
        return _recordings[file]


def replay_exchanges(path: str, base_url: str, key: str) -> Send:
    """Return a function that answers requests from a recording; `key` is masked in its errors."""

    @contextmanager
    def answer(_client: Any, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
        recording, described = load_recording(path), recording_file.describe_request(request, base_url)
        exchange = recording.next_exchange(described)
        if exchange is None:
            error = recording.build_missing_error(described)
            error.message = mask_text(error.message, key if len(key) >= MIN_KEY_LENGTH else "")
            raise error
        with replay_exchange(exchange)(_client, request, on_sent) as response:
            yield response

    return answer


def replay_exchange(exchange: RecordedExchange) -> Send:
    """Return a function that answers every request with one exchange."""

    @contextmanager
    def answer(_client: Any, _request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
        if on_sent:
            with suppress(Exception):  # an error in the listener does not cost the answer
                on_sent()
        if exchange.status is None:
            raise _copy_failure(exchange)
        yield HttpResponse(exchange.status, exchange.headers, _replay_chunks(exchange))

    return answer


def _replay_chunks(exchange: RecordedExchange) -> Iterator[bytes]:
    yield from exchange.chunks
    if exchange.failure:
        raise _copy_failure(exchange)


def _copy_failure(exchange: RecordedExchange) -> AimlError:
    """Return a new error each time: its catcher may change its message."""
    error = exchange.failure or AimlError("")
    return type(error)(error.message, error.hint, **error.details)


def _read_exchanges(path: str, file: Path, notify: Notifier) -> list[RecordedExchange]:
    try:
        lines = read_bounded(file, MAX_RECORDING_BYTES).split(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "--record makes a recording") from None
    exchanges = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                exchanges.append(recording_file.decode_exchange(line))
        except recording_file.InvalidExchangeError as error:
            if number < len(lines):
                raise UsageError(f"{path}:{number}: {error}", "remove that line, or record it again") from None
            if notify:
                notify(f"{path}:{number}: the last line is incomplete and is skipped: its writer was stopped")
    if not exchanges:
        raise UsageError(f"{path} contains no exchange", "add one with --record")
    return exchanges


class NullClient:
    """A client without a network, for requests that a recording answers."""

    def __init__(self) -> None:
        self.connection = ConnectionHandle()
