"""Add each exchange of a call to a recording, whole or not at all."""

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed, UsageError
from aiml_cli.settings.urls import origin_of
from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import print_err
from aiml_cli.transport import recording_file
from aiml_cli.transport.http_types import HttpRequest, HttpResponse
from aiml_cli.transport.key_masking import SHORTEST, extract_key
from aiml_cli.transport.recording_file import STARS
from aiml_cli.transport.retry import requested_delay

Send = Callable[..., AbstractContextManager[HttpResponse]]
Json = Any
# Who somebody is, or how the bytes were packed on a way that a recording does not take.
LEFT_OUT = frozenset({
    "authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info", "x-api-key",
    "cookie", "set-cookie", "set-cookie2", "connection", "transfer-encoding", "content-encoding", "content-length",
})  # fmt: skip


def check_recording_path(path: str) -> None:
    """See that a recording can be written, or begun; raise UsageError."""
    try:
        fd = _opened(path)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"{path} is no file that can be recorded into", "nothing was sent")
            start = os.pread(fd, len(recording_file.START), 0)
        finally:
            os.close(fd)
    except OSError as fault:
        raise UsageError(f"{path}: cannot be recorded into: {fault.strerror}", "nothing was sent") from None
    if not recording_file.START.startswith(start):
        raise UsageError(f"{path} holds something else than a recording", "nothing was sent, and the file is as it was")


def record_exchanges(send: Send, path: str, base: str) -> Send:
    """Give what sends as `send` does and records each exchange that was not broken off on our side."""

    @contextmanager
    def noting(client: Any, request: HttpRequest, on_sent: Callable[[], None] | None = None) -> Iterator[HttpResponse]:
        note = _ExchangeRecorder(request, base)
        try:
            with send(client, request, on_sent) as reply:
                yield note.of(reply)
        except (ReaderClosed, OutputFailed):  # nobody knows how it would have gone on
            raise
        except AimlError as fault:
            note.end(fault)
            if not _is_ended(client):
                _append(path, note)
            raise
        _append(path, note)

    return noting


def _is_ended(client: Any) -> bool:
    """Say whether another thread of ours broke off what this client does."""
    return getattr(client.connection, "abort_reason", None) is not None


class _ExchangeRecorder:
    """Note what passes in one exchange."""

    def __init__(self, request: HttpRequest, base: str) -> None:
        self._request, self._base = request, base
        self._reply: HttpResponse | None = None
        self._chunks: list[bytes] = []
        self._failure: AimlError | None = None

    def of(self, reply: HttpResponse) -> HttpResponse:
        """Give a reply whose chunks are noted as they are read."""
        self._reply = reply
        return reply._replace(chunks=self._noted(reply.chunks))

    def end(self, fault: AimlError) -> None:
        """Note what came in the place of a reply; what a whole reply means is found anew each time."""
        if self._reply is None:
            self._failure = fault

    def line(self) -> bytes:
        """Write the exchange, without what is secret."""
        asked = recording_file.describe_request(self._request, self._base)
        scrub = Redactor([extract_key(self._request.headers), *recording_file.list_secrets(self._request)])
        reply = self._reply
        return recording_file.encode_exchange(
            recording_file.RecordedExchange(
                recording_file.RecordedRequest(
                    asked.method, scrub.redact_text(asked.path), scrub.redact_json(asked.body)
                ),
                self._base or origin_of(self._request.url),
                reply.status if reply else None,
                scrub.redact_headers(reply.headers, datetime.now(UTC)) if reply else {},
                scrub.redact_chunks(self._chunks),
                _copied(self._failure, scrub) if self._failure else None,
            )
        )

    def _noted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for chunk in chunks:
                self._chunks.append(chunk)
                yield chunk
        except AimlError as fault:
            self._failure = fault
            raise


class Redactor:
    """Put stars for secrets, also where JSON writes their characters as escapes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        long = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_escapable, long))) if long else None

    def redact_text(self, text: str) -> str:
        """Scrub a text."""
        return self._pattern.sub(STARS, text) if self._pattern else text

    def redact_json(self, value: Json) -> Json:
        """Scrub every text of a JSON value, the names of properties too."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, list):
            return [self.redact_json(each) for each in value]
        if isinstance(value, dict):
            return {self.redact_text(name): self.redact_json(each) for name, each in value.items()}
        return value

    def redact_chunks(self, chunks: Sequence[bytes]) -> Sequence[bytes]:
        """Scrub a body, however it is cut; one that holds a secret is one chunk from then on."""
        body = b"".join(chunks).decode("latin-1") if self._pattern else ""
        clean = self.redact_text(body)
        return chunks if clean == body else [clean.encode("latin-1")]

    def redact_headers(self, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Give the headers that matter; a date to wait for becomes seconds, which mean the same at any time."""
        kept = {name: self.redact_text(value) for name, value in headers.items() if name not in LEFT_OUT}
        pause = requested_delay({"retry-after": kept.get("retry-after", "")}, now)
        if pause is not None and not kept["retry-after"].strip()[:1].isdigit():
            kept["retry-after"] = f"{pause:.3f}"
        return kept


def _copied(fault: AimlError, scrub: Redactor) -> AimlError:
    """Copy a failure of the network without what is secret: whoever gets the failure itself masks it too."""
    copy = type(fault)(scrub.redact_text(fault.message), scrub.redact_text(fault.hint))
    copy.details = scrub.redact_json(fault.details)
    return copy


def _append(path: str, note: _ExchangeRecorder) -> None:
    """Add a line; that this cannot be done costs a notice, not the answer."""
    line = note.line()
    try:
        fd = _opened(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with defer_signals():
                _write(fd, line)
        finally:
            os.close(fd)
    except OSError as fault:
        print_err(f"aiml: the exchange could not be recorded: {path}: {fault.strerror}")


def _write(fd: int, line: bytes) -> None:
    """Write a line at once; where the disk takes only a part of it, take that back. The lock is held."""
    _mend(fd)
    size = os.fstat(fd).st_size
    written = os.write(fd, line)
    if written < len(line):
        os.ftruncate(fd, size)
        raise OSError(28, "there is no room for all of it")


def _mend(fd: int) -> None:
    """Take away what a writer left that was killed: the lock says that nobody is writing it."""
    size = os.fstat(fd).st_size
    if not size or os.pread(fd, 1, size - 1) == b"\n":
        return
    data = os.pread(fd, size, 0)
    whole = data.rfind(b"\n") + 1
    try:
        recording_file.decode_exchange(data[whole:])
        os.write(fd, b"\n")  # an editor took the last one away
    except recording_file.InvalidExchangeError:
        os.ftruncate(fd, whole)


def _opened(path: str) -> int:
    """Open a file to add to it; a pipe that nobody reads does not hold us up."""
    return os.open(Path(path).expanduser(), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)


def _escapable(secret: str) -> str:
    r"""Match a secret as it is, and with any character as `\u006b` or behind a backslash."""
    return "".join(map(_written, secret))


def _written(char: str) -> str:
    plain, code = re.escape(char), f"{ord(char):04x}"
    return rf"(?:\\?{plain}|\\u(?:{code}|{code.upper()}))"
