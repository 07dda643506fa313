"""Make rows of the input's bytes: lines, records of CSV, JSON lines, or what NUL separates."""

import csv
import json
import os
import select
import stat
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import MAGIC, MOST, decode_any_text, detect_type, format_size
from aiml_cli.prompt.file_sources import SCHEMES, existing_path
from aiml_cli.settings.options import Options

if TYPE_CHECKING:
    from _csv import Reader

Notify = Callable[[str], None]
PIECE = 64 * 1024
MARKS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")
MARK = b"\xef\xbb\xbf"
MARKS = (*MARKS_OF_UTF16, MARK)


class Row(NamedTuple):
    """Hold a row, counted from 1 on. `value` is what its result repeats; `wrong` says why it cannot be asked."""

    number: int
    text: str
    value: Any
    columns: Mapping[str, str] = {}
    wrong: str = ""


class RowInput:
    """Hold an open input. `size` is in bytes, 0 where it is not known; `given` counts those that became rows."""

    def __init__(self, name: str, fd: int, tell: Notify) -> None:
        self.name, self._fd, self._tell = name, fd, tell
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{name}: --each reads its rows from a file, not from a folder")
        self.size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        self.given = 0

    def is_in(self, fd: int) -> bool:
        """Say whether the rows come from a file that is open elsewhere too; a terminal is no such."""
        return bool(self.size) and os.path.sameopenfile(self._fd, fd)

    def split(self, end: bytes) -> Iterator[bytes]:
        """Give what stands between the ends, without them; raise UsageError for a row that nobody could send."""
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
                raise UsageError(f"{self.name}: a row of more than {format_size(MOST)} cannot be sent")
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
        if kind := detect_type(head) or next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), ""):
            raise UsageError(f"{self.name} is {kind}, not rows of text")
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
                raise UsageError(f"{self.name}: {fault.strerror}") from None


class Rows:
    """Give the rows of an input one after the other; `header` names the columns that all of them have."""

    def __init__(self, form: str, source: RowInput, tell: Notify) -> None:
        self._source, self._tell = source, tell
        self._has_told = False
        self._count = 0
        self.header: Sequence[str] | None = None
        self._rows = {"line": self._lines, "nul": self._between, "jsonl": self._objects, "csv": self._records}[form]()
        if form == "csv":
            self.header = next(self._rows).value

    def __iter__(self) -> Iterator[Row]:
        """Give each row; only one thread may ask at a time."""
        for row in self._rows:
            self._count = row.number
            yield row

    def total(self) -> int:
        """Estimate how many there are by the bytes of those that were given; 0 where that is not known."""
        size, given = self._source.size, self._source.given
        return round(self._count * size / given) if size and given else 0

    def _texts(self, end: bytes) -> Iterator[str]:
        for raw in self._source.split(end):
            text, notice = decode_any_text(raw, self._source.name)
            if notice and not self._has_told:
                self._has_told = True
                self._tell(notice)
            yield text

    def _filled(self, end: bytes) -> Iterator[tuple[int, str]]:
        """Give the texts that say something, numbered."""
        texts = (text.removesuffix("\r") if end == b"\n" else text for text in self._texts(end))
        return enumerate(filter(str.strip, texts), 1)

    def _lines(self) -> Iterator[Row]:
        return (Row(number, text, text) for number, text in self._filled(b"\n"))

    def _between(self) -> Iterator[Row]:
        return (Row(number, text, text) for number, text in self._filled(b"\0"))

    def _objects(self) -> Iterator[Row]:
        for number, text in self._filled(b"\n"):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as fault:
                yield Row(number, text, text, wrong=f"the row is not JSON: {fault}")
                continue
            columns = {name: _as_text(each) for name, each in value.items()} if isinstance(value, dict) else {}
            yield Row(number, text.strip(), value, columns)

    def _records(self) -> Iterator[Row]:
        """Give the header, and then the records below it."""
        csv.field_size_limit(MOST)
        lines = (f"{text}\n" for text in self._texts(b"\n"))
        first = next(lines, "")
        reader = csv.reader(_with(first, lines), delimiter=_delimiter(first), strict=True)
        try:
            header = next(reader, [])
        except csv.Error as fault:
            raise UsageError(f"{self._source.name}: the header is no CSV: {fault}") from None
        _see_header(header, self._source.name)
        yield Row(0, "", header)
        yield from (_record(number, header, cells) for number, cells in enumerate(_cells(reader), 1))


def _with(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _delimiter(header: str) -> str:
    """Know the semicolon and the tab of spreadsheets."""
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def _see_header(header: Sequence[str], name: str) -> None:
    if not any(map(str.strip, header)):
        raise UsageError(f"{name}: its first line names no columns", "--each csv takes the first line as the header")
    twice = next((each for each in header if header.count(each) > 1), None)
    if twice is not None:
        raise UsageError(f"{name}: two columns are called {twice!r}", "give each a name of its own")


def _cells(reader: "Reader") -> Iterator[list[str] | str]:
    """Give the cells of each record that has some, or what is wrong with it."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as fault:
            yield f"the row is no CSV: {_why(fault, line)}"
            continue
        if cells is None:
            return
        if cells:
            yield cells


def _why(fault: csv.Error, line: int) -> str:
    """Say what is wrong; the library does not say that a quote without an end takes in all that follows."""
    if "end of data" in str(fault):
        return f"a quote that begins in line {line} does not end, and all behind it was taken for one row"
    return str(fault)


def _record(number: int, header: Sequence[str], cells: list[str] | str) -> Row:
    if isinstance(cells, str):
        return Row(number, "", None, wrong=cells)
    columns = dict(zip(header, cells, strict=False))
    text = json.dumps(columns, ensure_ascii=False)
    wrong = (
        ""
        if len(cells) == len(header)
        else f"the row has not as many cells as the header: {len(cells)}, not {len(header)}"
    )
    return Row(number, text, columns, columns, wrong)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def open_input(options: Options, tell: Notify) -> RowInput:
    """Open the input; raise UsageError where there is none."""
    name = options.file[0] if options.file else "-"
    if name != "-":
        return RowInput(name, _file(name), tell)
    if options.no_stdin or not stdin.has_stdin():
        raise UsageError("--each has no rows to read", "pipe them in, or name their file with -f")
    return RowInput("standard input", 0, tell)


def _file(name: str) -> int:
    if name.lower().startswith(SCHEMES):
        raise UsageError(f"{name}: --each reads rows from a file, not from an address", f"curl {name} | aiml …")
    try:
        return os.open(existing_path(name) or name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as fault:
        raise UsageError(f"{name}: {fault.strerror}", "nothing was sent") from None
