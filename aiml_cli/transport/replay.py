"""Answer requests from a recording, without a network."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from aiml_cli.errors import AimlError, RequestRejected, UsageError
from aiml_cli.transport import recording_file
from aiml_cli.transport.connection import ConnectionHandle
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.key_masking import SHORTEST, mask_text
from aiml_cli.transport.recording_file import RecordedExchange, RecordedRequest

Tell = Callable[[str], None]
_tapes: dict[Path, "Recording"] = {}
_opening = Lock()


class Recording:
    """Hold the exchanges of a recording; several threads may ask for them."""

    def __init__(self, path: str, exchanges: list[RecordedExchange]) -> None:
        self.path = path
        self._all = exchanges
        self._by_key: dict[str, list[RecordedExchange]] = {}
        for each in exchanges:
            self._by_key.setdefault(each.request.key, []).append(each)
        self._given: dict[str, int] = {}
        self._lock = Lock()

    def next_exchange(self, asked: RecordedRequest) -> RecordedExchange | None:
        """Give the replies to a request in the order in which they were recorded, then the last one again."""
        key = asked.key
        found = self._by_key.get(key)
        if not found:
            return None
        with self._lock:
            count = self._given.get(key, 0)
            self._given[key] = count + 1
        return found[min(count, len(found) - 1)]

    def not_recorded_error(self, asked: RecordedRequest) -> RequestRejected:
        """Say that a request was not recorded, and how it differs from the nearest that was."""
        from aiml_cli.transport import request_diff  # where something is missing only

        hint = "add it with the same command and --record in the place of --replay"
        near = request_diff.find_nearest(asked, [each.request for each in self._all])
        if near is None:
            others = sorted({f"{each.request.method} {each.request.path}" for each in self._all})
            return RequestRejected(
                f"{self.path} holds no {asked.method} {asked.path}, only {', '.join(others[:4])}", hint
            )
        lines = request_diff.differences(self._all[near].request, asked)
        return RequestRejected(
            "\n  ".join([f"{self.path} does not hold this request; the nearest one differs:", *lines]), hint
        )


def load_recording(path: str, tell: Tell | None = None) -> Recording:
    """Read a recording, once in a process; raise UsageError where it is missing, damaged or empty."""
    place = Path(path).expanduser().absolute()
    with _opening:
        if place not in _tapes:
            _tapes[place] = Recording(path, _exchanges(path, place, tell))
        return _tapes[place]


def replay_exchanges(path: str, base: str, key: str) -> Callable[..., AbstractContextManager[HttpResponse]]:
    """Give what answers requests from a recording; `key` is shown to nobody."""

    @contextmanager
    def answering(
        _client: Any, request: HttpRequest, on_sent: Callable[[], None] | None = None
    ) -> Iterator[HttpResponse]:
        tape, asked = load_recording(path), recording_file.describe_request(request, base)
        found = tape.next_exchange(asked)
        if found is None:
            error = tape.not_recorded_error(asked)
            error.message = mask_text(error.message, key if len(key) >= SHORTEST else "")
            raise error
        if on_sent:
            with suppress(Exception):  # a fault of the listener costs no answer
                on_sent()
        if found.status is None:
            raise _failure(found)
        yield HttpResponse(found.status, found.headers, _chunks(found))

    return answering


def _chunks(found: RecordedExchange) -> Iterator[bytes]:
    yield from found.chunks
    if found.failure:
        raise _failure(found)


def _failure(found: RecordedExchange) -> AimlError:
    """Make the failure anew: whoever gets it may change its words."""
    fault = found.failure or AimlError("")
    return type(fault)(fault.message, fault.hint, **fault.details)


def _exchanges(path: str, place: Path, tell: Tell | None) -> list[RecordedExchange]:
    try:
        *lines, rest = place.read_bytes().split(b"\n")
    except OSError as fault:
        raise UsageError(f"{path}: {fault.strerror}", "--record makes a recording") from None
    found = [_exchange(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if rest.strip():
        try:
            found.append(recording_file.decode_exchange(rest))
        except recording_file.InvalidExchangeError:
            if tell:
                tell(f"{path}:{len(lines) + 1}: the last line is not whole and is left out: its writer was stopped")
    if not found:
        raise UsageError(f"{path} holds no exchange", "--record adds one")
    return found


def _exchange(path: str, number: int, line: bytes) -> RecordedExchange:
    try:
        return recording_file.decode_exchange(line)
    except recording_file.InvalidExchangeError as wrong:
        raise UsageError(f"{path}:{number}: {wrong}", "remove that line, or record anew") from None


class NullClient:
    """Hold what others may ask a client for: a connection that there is not."""

    def __init__(self) -> None:
        self.connection = ConnectionHandle()
