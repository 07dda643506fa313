"""Append each exchange of a run to a recording, completely or not at all."""

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiml_cli.api.error_kinds import parse_retry_after
from aiml_cli.api.json_values import decode_json
from aiml_cli.errors import AimlError, OutputFailed, ReaderClosed, UsageError
from aiml_cli.settings.urls import origin_of
from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import print_err
from aiml_cli.transport import recording_file
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent, Send
from aiml_cli.transport.key_masking import extract_key, list_credentials, make_masker, mask_split_strings

Json = Any
# Credentials, and how the bytes were packed on the network, which a replay does not use.
OMITTED_HEADERS = frozenset({
    "authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info", "x-api-key",
    "cookie", "set-cookie", "set-cookie2", "connection", "transfer-encoding", "content-encoding", "content-length",
})  # fmt: skip
_DATA_LINES = r"(?<![^\r\n\ufeff])data:[^\r\n]*(?:(?:\r\n|\r|\n)data:[^\r\n]*)*"


def check_recording_path(path: str) -> None:
    """Create the file if it does not exist; raise UsageError if it cannot be written or is not a recording."""
    try:
        with _open_file(path) as fd:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"{path} is not a regular file")
            start = os.pread(fd, len(recording_file.START), 0)
            if recording_file.START.startswith(start):
                _make_private(fd)
    except OSError as error:
        raise UsageError(f"{path}: the recording cannot be written: {error.strerror}") from None
    if not recording_file.START.startswith(start):
        raise UsageError(f"{path} is not a recording", "the file was not changed")


def record_exchanges(send: Send, path: str, base_url: str, added: Collection[str] = ()) -> Send:
    """Return a function that sends as `send` does, and records each exchange unless this program aborts it.

    `added` are the names of the request's headers that are recorded: those of the user.
    """

    @contextmanager
    def send_and_record(client: Any, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
        recorder = ExchangeRecorder(request, base_url, added)
        try:
            with send(client, request, on_sent) as response:
                yield recorder.watch(response)
        except (ReaderClosed, OutputFailed):  # nobody knows how the answer would have ended
            raise
        except AimlError as error:
            recorder.add_failure(error)
            if not client.connection.abort_reason:  # else another thread aborted it
                _append(path, recording_file.encode_exchange(recorder.build_exchange()))
            raise
        _append(path, recording_file.encode_exchange(recorder.build_exchange()))

    return send_and_record


class ExchangeRecorder:
    """The request, response and failure of one exchange."""

    def __init__(self, request: HttpRequest, base_url: str, added: Collection[str] = ()) -> None:
        self._request, self._base_url, self._added = request, base_url, added
        self._response: HttpResponse | None = None
        self._chunks: list[bytes] = []
        self._failure: AimlError | None = None

    def watch(self, response: HttpResponse) -> HttpResponse:
        """Return the response with chunks that are recorded as they are read."""
        self._response = response
        return response._replace(chunks=self._record_chunks(response.chunks))

    def add_failure(self, error: AimlError) -> None:
        """Record an error that was raised instead of a response; an error response is parsed again in each replay."""
        if self._response is None:
            self._failure = error

    def build_exchange(self) -> recording_file.RecordedExchange:
        """Return the exchange without secrets."""
        request = recording_file.describe_request(self._request, self._base_url)
        redactor = _Redactor([extract_key(self._request.headers), *list_credentials(self._request.body)])
        response = self._response
        return recording_file.RecordedExchange(
            request._replace(path=redactor.redact_text(request.path), body=redactor.redact_json(request.body)),
            self._base_url.partition("?")[0] or origin_of(self._request.url),
            response.status if response else None,
            redactor.redact_headers(response.headers, datetime.now(UTC)) if response else {},
            redactor.redact_chunks(self._chunks),
            redactor.redact_error(self._failure) if self._failure else None,
            redactor.redact_json({name: self._request.headers[name] for name in self._added}),
        )

    def _record_chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for chunk in chunks:
                self._chunks.append(chunk)
                yield chunk
        except AimlError as error:
            self._failure = error
            raise


class _Redactor:
    """Puts stars in place of the secrets in each part of an exchange."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = list(filter(None, secrets))
        self.redact_text = make_masker(self._secrets)

    def redact_json(self, value: Json) -> Json:
        """Redact every string of a JSON value, including property names."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, list):
            return [self.redact_json(item) for item in value]
        if isinstance(value, dict):
            return {self.redact_text(name): self.redact_json(item) for name, item in value.items()}
        return value

    def redact_chunks(self, chunks: Sequence[bytes]) -> Sequence[bytes]:
        """Redact a body, even where a secret is split over chunks; a body with a secret becomes a single chunk."""
        body = b"".join(chunks).decode("latin-1")
        clean = self.redact_text(body).encode("latin-1")
        clean = _mask_split_texts(clean, self._secrets) if self._secrets else clean
        return chunks if clean == body.encode("latin-1") else [clean]

    def redact_headers(self, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Return the headers that matter; a `retry-after` date becomes seconds, which a replay can use at any time."""
        clean = {name: self.redact_text(value) for name, value in headers.items() if name not in OMITTED_HEADERS}
        pause = parse_retry_after({"retry-after": clean.get("retry-after", "")}, now)
        if pause is not None and not clean["retry-after"].strip()[:1].isdigit():
            clean["retry-after"] = f"{pause:.3f}"
        return clean

    def redact_error(self, error: AimlError) -> AimlError:
        """Return a redacted copy of an error; the code that catches the original masks it too."""
        details = self.redact_json(error.details)
        return type(error)(self.redact_text(error.message), self.redact_text(error.hint), **details)


def _mask_split_texts(body: bytes, secrets: Sequence[str]) -> bytes:
    """Return a body without the secrets that are split over several strings of its JSON, which a reader joins."""
    parts = _split_body(body.decode("utf-8", "surrogateescape"))
    for number, value in mask_split_strings(map(_parse_part, parts), secrets).items():
        parts[number] = ("data:" if parts[number].startswith("data:") else "") + json.dumps(value)
    return "".join(parts).encode("utf-8", "surrogateescape")


def _split_body(body: str) -> list[str]:
    """Split a body into JSON and other text: either the body itself is JSON, or the data of its events is."""
    if (text := body.lstrip("\ufeff\r\n\t ")).startswith(("{", "[")):
        return [body[: len(body) - len(text)], text]
    parts, end = [], 0
    for match in re.finditer(_DATA_LINES, body):
        parts += [body[end : match.start()], *_split_data(match[0])]
        end = match.end()
    return [*parts, body[end:]]


def _split_data(lines: str) -> list[str]:
    """Return the data lines of an event as one part or, where a server forgets the blank lines, each line by itself."""
    return [lines] if isinstance(_parse_part(lines), dict) else re.split(r"(\r\n|\r|\n)", lines)


def _parse_part(text: str) -> Json:
    """Return the JSON of a part of a body, or None if it is not JSON."""
    if text.startswith("data:"):
        text = re.sub(r"(\r\n|\r|\n)data:", "\n", text.removeprefix("data:"))
    try:
        return decode_json(text)
    except ValueError:
        return None


def _append(path: str, line: bytes) -> None:
    """Append a line to a recording; after a failure, print a notice and keep the answer."""
    try:
        with _open_file(path) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            _make_private(fd)
            with defer_signals():
                _write_line(fd, line)
    except OSError as error:
        print_err(f"aiml: the exchange could not be recorded: {path}: {error.strerror}")


def _make_private(fd: int) -> None:
    """Let only the owner read and write a recording, because it contains prompts; raise OSError if others still can."""
    if os.fstat(fd).st_mode & 0o077:
        os.fchmod(fd, 0o600)
        if os.fstat(fd).st_mode & 0o077:  # a file system without modes
            raise OSError(errno.EPERM, "others can read it, and its mode cannot be changed")


def _write_line(fd: int, line: bytes) -> None:
    """Write a line in one call, under the lock; undo it if only a part fits on the disk."""
    _repair_end(fd)
    size = os.fstat(fd).st_size
    if os.write(fd, line) < len(line):
        os.ftruncate(fd, size)
        raise OSError(28, "there is not enough space")


def _repair_end(fd: int) -> None:
    """Remove the partial line of a writer that was killed; under the lock, nobody is still writing it."""
    size = os.fstat(fd).st_size
    if not size or os.pread(fd, 1, size - 1) == b"\n":
        return
    data = os.pread(fd, size, 0)
    end = data.rfind(b"\n") + 1
    try:
        recording_file.decode_exchange(data[end:])
        os.write(fd, b"\n")  # an editor removed the last newline
    except recording_file.InvalidExchangeError:
        os.ftruncate(fd, end)


@contextmanager
def _open_file(path: str) -> Iterator[int]:
    """Open a file to append to it; a pipe without a reader does not block."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(Path(path).expanduser(), flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
