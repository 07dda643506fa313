"""Read the rows' bytes piece by piece: from standard input, or from a file."""

import os
import select
import stat
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator

from aiml_cli.errors import Misuse
from aiml_cli.prompt import stdin
from aiml_cli.prompt.budget import MOST, size
from aiml_cli.prompt.looks import type_of
from aiml_cli.prompt.sources import SCHEMES, there
from aiml_cli.prompt.text import MAGIC
from aiml_cli.settings.options import Options

PIECE = 64 * 1024
MARKS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")
MARK = b"\xef\xbb\xbf"
MARKS = (*MARKS_OF_UTF16, MARK)

Tell = Callable[[str], None]


class Source:
    """Hold an open input. `size` is in bytes, 0 where it is not known; `given` counts those that became rows."""

    def __init__(self, name: str, fd: int, tell: Tell) -> None:
        self.name, self._fd, self._tell = name, fd, tell
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise Misuse(f"{name}: --each reads its rows from a file, not from a folder")
        self.size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        self.given = 0

    def is_in(self, fd: int) -> bool:
        """Say whether the rows come from a file that is open elsewhere too; a terminal is no such."""
        return bool(self.size) and os.path.sameopenfile(self._fd, fd)

    def cut(self, end: bytes) -> Iterator[bytes]:
        """Give what stands between the ends, without them; raise Misuse for a row that nobody could send."""
        rest = bytearray()
        for piece in self._pieces():
            rest += piece
            if end in piece:
                *whole, last = bytes(rest).split(end)
                rest = bytearray(last)
                for row in whole:
                    self.given += len(row) + len(end)
                    yield row
            if len(rest) > MOST:
                raise Misuse(f"{self.name}: a row of more than {size(MOST)} cannot be sent")
        self.given += len(rest)
        if rest:
            yield bytes(rest)

    def _pieces(self) -> Iterator[bytes]:
        """Give the bytes as UTF-8, or in the old encoding that they are in."""
        if self._fd == 0 and not select.select([0], [], [], stdin.PATIENCE_S)[0]:
            self._tell("waiting for rows on standard input; -f FILE reads them from a file")
        head = self._read()
        while head and any(mark.startswith(head) for mark in MARKS) and (more := self._read()):
            head += more
        if kind := type_of(head) or next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), ""):
            raise Misuse(f"{self.name} is {kind}, not rows of text")
        decoder = getincrementaldecoder("utf-16")("replace") if head.startswith(MARKS_OF_UTF16) else None
        self.size = 0 if decoder else self.size
        piece = head.removeprefix(MARK)
        while piece:
            yield decoder.decode(piece).encode("utf-8", "replace") if decoder else piece
            piece = self._read()

    def _read(self) -> bytes:
        """Read some bytes, also from a pipe that somebody set to non-blocking."""
        while True:
            try:
                return os.read(self._fd, PIECE)
            except BlockingIOError:
                select.select([self._fd], [], [])
            except OSError as fault:
                raise Misuse(f"{self.name}: {fault.strerror}") from None


def opened(options: Options, tell: Tell) -> Source:
    """Open the input; raise Misuse where there is none."""
    name = options.file[0] if options.file else "-"
    if name != "-":
        return Source(name, _file(name), tell)
    if options.no_stdin or not stdin.holds_something():
        raise Misuse("--each has no rows to read", "pipe them in, or name their file with -f")
    return Source("standard input", 0, tell)


def _file(name: str) -> int:
    if name.lower().startswith(SCHEMES):
        raise Misuse(f"{name}: --each reads rows from a file, not from an address", f"curl {name} | aiml …")
    try:
        return os.open(there(name) or name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as fault:
        raise Misuse(f"{name}: {fault.strerror}", "nothing was sent") from None
