"""Add each exchange of a call to a recording, whole or not at all."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiml_cli.api.echo import key_in
from aiml_cli.api.traffic import Reply, Request
from aiml_cli.errors import AimlError, Misuse, OutputFailed, ReaderGone
from aiml_cli.hosts import origin_of
from aiml_cli.recording import form
from aiml_cli.recording.scrub import Scrub
from aiml_cli.screen.output import say
from aiml_cli.signals import held

Send = Callable[..., AbstractContextManager[Reply]]


def ready(path: str) -> None:
    """See that a recording can be written, or begun; raise Misuse."""
    try:
        fd = _opened(path)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Misuse(f"{path} is no file that can be recorded into", "nothing was sent")
            start = os.pread(fd, len(form.START), 0)
        finally:
            os.close(fd)
    except OSError as fault:
        raise Misuse(f"{path}: cannot be recorded into: {fault.strerror}", "nothing was sent") from None
    if not form.START.startswith(start):
        raise Misuse(f"{path} holds something else than a recording", "nothing was sent, and the file is as it was")


def recorded(send: Send, path: str, base: str) -> Send:
    """Give what sends as `send` does and records each exchange that was not broken off on our side."""

    @contextmanager
    def noting(client: Any, request: Request, on_sent: Callable[[], None] | None = None) -> Iterator[Reply]:
        note = _Note(request, base)
        try:
            with send(client, request, on_sent) as reply:
                yield note.of(reply)
        except (ReaderGone, OutputFailed):  # nobody knows how it would have gone on
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
    return getattr(client.wire, "why", None) is not None


class _Note:
    """Note what passes in one exchange."""

    def __init__(self, request: Request, base: str) -> None:
        self._request, self._base = request, base
        self._reply: Reply | None = None
        self._chunks: list[bytes] = []
        self._failure: AimlError | None = None

    def of(self, reply: Reply) -> Reply:
        """Give a reply whose chunks are noted as they are read."""
        self._reply = reply
        return reply._replace(chunks=self._noted(reply.chunks))

    def end(self, fault: AimlError) -> None:
        """Note what came in the place of a reply; what a whole reply means is found anew each time."""
        if self._reply is None:
            self._failure = fault

    def line(self) -> bytes:
        """Write the exchange, without what is secret."""
        asked = form.asked(self._request, self._base)
        scrub = Scrub([key_in(self._request.headers), *form.secrets_of(self._request)])
        reply = self._reply
        return form.line_of(
            form.Exchange(
                form.Asked(asked.method, scrub.text(asked.path), scrub.json(asked.body)),
                self._base or origin_of(self._request.url),
                reply.status if reply else None,
                scrub.headers(reply.headers, datetime.now(UTC)) if reply else {},
                scrub.chunks(self._chunks),
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


def _copied(fault: AimlError, scrub: Scrub) -> AimlError:
    """Copy a failure of the network without what is secret: whoever gets the failure itself masks it too."""
    copy = type(fault)(scrub.text(fault.message), scrub.text(fault.hint))
    copy.details = scrub.json(fault.details)
    return copy


def _append(path: str, note: _Note) -> None:
    """Add a line; that this cannot be done costs a notice, not the answer."""
    line = note.line()
    try:
        fd = _opened(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with held():
                _write(fd, line)
        finally:
            os.close(fd)
    except OSError as fault:
        say(f"aiml: the exchange could not be recorded: {path}: {fault.strerror}")


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
        form.exchange_of(data[whole:])
        os.write(fd, b"\n")  # an editor took the last one away
    except form.NoExchangeError:
        os.ftruncate(fd, whole)


def _opened(path: str) -> int:
    """Open a file to add to it; a pipe that nobody reads does not hold us up."""
    return os.open(Path(path).expanduser(), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
