"""Answer requests from a recording, without a network, or list how the request differs from the recorded ones."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os.path import commonprefix
from pathlib import Path
from threading import Lock
from typing import Any

from aiml_cli.api.json_values import Json
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
MAX_DIFFERENCES, MAX_LENGTH, CONTEXT_LENGTH = 8, 60, 24
TEXT_WEIGHT = 4
MAX_CANDIDATES = 200  # in a run, thousands of requests may be missing
_MISSING = object()


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
        """Return the next exchange of a request in recorded order, then always the last one; None if there is none."""
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
        hint = "add it with the same command and --record instead of --replay"
        recorded = [exchange.request for exchange in self._exchanges]
        nearest = find_nearest(request, recorded)
        if nearest is None:
            others = ", ".join(sorted({f"{other.method} {other.path}" for other in recorded})[:4])
            return RequestRejected(f"{self.path} has no {request.method} {request.path}, only {others}", hint)
        lines = list_differences(nearest, request)
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
            with suppress(Exception):  # an error in it must not prevent the answer
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
    """Return a new error each time, because the code that catches it may change its message."""
    error = exchange.failure or AimlError("")
    return type(error)(error.message, error.hint, **error.details)


def _read_exchanges(path: str, file: Path, notify: Notifier) -> list[RecordedExchange]:
    try:
        lines = read_bounded(file, MAX_RECORDING_BYTES).split(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "--record creates one") from None
    exchanges = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                exchanges.append(recording_file.decode_exchange(line))
        except recording_file.InvalidExchangeError as error:
            if number < len(lines):
                raise UsageError(f"{path}:{number}: {error}", "remove that line, or record it again") from None
            if notify:
                notify(f"{path}:{number}: the last line is incomplete and is skipped: recording was interrupted")
    if not exchanges:
        raise UsageError(f"{path} contains no exchange", "add one with --record")
    return exchanges


class NullClient:
    """A client without a network, for requests that a recording answers."""

    def __init__(self) -> None:
        self.connection = ConnectionHandle()


def find_nearest(request: RecordedRequest, recorded: Sequence[RecordedRequest]) -> RecordedRequest | None:
    """Return the recorded request that differs least; None if there is none with the same method and path."""
    candidates = [other for other in recorded if other[:2] == request[:2]][:MAX_CANDIDATES]
    new = _flatten_body(request)
    return min(candidates, key=lambda other: _measure_distance(_flatten_body(other), new), default=None)


def list_differences(recorded: RecordedRequest, request: RecordedRequest) -> list[str]:
    """Return the first few differences, a line each."""
    old, new = _flatten_body(recorded), _flatten_body(request)
    names = _find_differences(old, new)
    lines = [_describe(name, old.get(name, _MISSING), new.get(name, _MISSING)) for name in names[:MAX_DIFFERENCES]]
    more = len(names) - MAX_DIFFERENCES
    return [*lines, f"and {more} more"] if more > 0 else lines


def _flatten_body(request: RecordedRequest) -> dict[str, Json]:
    return dict(_flatten(request.body["json"], "")) if "json" in request.body else {"the body": request.body}


def _flatten(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flatten(item, f"{path}[{index}]")
    else:
        yield path or "the body", value


def _find_differences(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    return [name for name in {**new, **old} if not _is_same(old.get(name, _MISSING), new.get(name, _MISSING))]


def _is_same(one: Json, other: Json) -> bool:
    """True if two JSON values that are not containers are equal; true is not 1."""
    return one is other or (type(one) is type(other) and bool(one == other))


def _measure_distance(old: Mapping[str, Json], new: Mapping[str, Json]) -> float:
    return sum(_weigh(old.get(name), new.get(name)) for name in _find_differences(old, new))


def _weigh(one: Json, other: Json) -> float:
    """Return the weight of a difference: another text is another prompt, but another setting may not be."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return 1
    return TEXT_WEIGHT * (1 - _count_common(one, other) / (max(len(one), len(other)) or 1))


def _count_common(one: str, other: str) -> int:
    return len(commonprefix((one, other)))  # noqa: RUF071 - characters of strings, not of paths


def _describe(name: str, old: Json, new: Json) -> str:
    if old is _MISSING:
        return f"{name}: {_shorten(new)} is requested but was not recorded"
    if new is _MISSING:
        return f"{name}: {_shorten(old)} was recorded but is not requested"
    start = max(0, _count_common(old, new) - CONTEXT_LENGTH) if isinstance(old, str) and isinstance(new, str) else 0
    return f"{name}: {_shorten(old, start)} was recorded, {_shorten(new, start)} is requested"


def _shorten(value: Json, start: int = 0) -> str:
    """Write a value as JSON; a long text is reduced to the part from `start`, where it begins to differ."""
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
    start = start if len(value) > MAX_LENGTH else 0
    part = value[start : start + MAX_LENGTH]
    before, after = "…" if start else "", "…" if start + MAX_LENGTH < len(value) else ""
    return json.dumps(f"{before}{part}{after}", ensure_ascii=False)
