"""Read the rows of a run, and choose those of --sample."""

import csv
import json
import os
import select
import stat
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import (
    BINARY_MAGIC,
    BYTE_ORDER_MARKS,
    MAX_INPUT_BYTES,
    decode_any_text,
    describe_start,
    find_wide_encoding,
    format_size,
)
from aiml_cli.prompt.file_sources import SCHEMES, find_path
from aiml_cli.settings.options import Options

if TYPE_CHECKING:
    from _csv import Reader


Notify = Callable[[str], None]
READ_SIZE = 64 * 1024
UTF8_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A row; its `number` counts from 1. `value` is copied to its result; `error` says why it cannot be sent."""

    number: int
    text: str
    value: Any
    columns: Mapping[str, str] = {}
    error: str = ""


class RowInput:
    """An open input. `size` is in bytes, 0 if unknown; `consumed` counts the bytes that became rows."""

    def __init__(self, name: str, fd: int, notify: Notify) -> None:
        self.name, self._fd, self._notify = name, fd, notify
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{name}: --each reads rows from a file, not from a folder")
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self.consumed = 0

    def is_same_file(self, fd: int) -> bool:
        """True if the input is a regular file that is also open as `fd`."""
        return bool(self.size) and os.path.sameopenfile(self._fd, fd)

    def split(self, separator: bytes) -> Iterator[bytes]:
        """Yield the bytes between separators; raise UsageError for a row that is too large to send."""
        rest = bytearray()
        for chunk in self._read_chunks(is_separator_nul=separator == b"\0"):
            rest += chunk
            if separator in chunk:
                *complete, last = bytes(rest).split(separator)
                rest = bytearray(last)
                for row in complete:
                    self.consumed += len(row) + len(separator)
                    yield row
            if len(rest) > MAX_INPUT_BYTES:
                raise UsageError(f"{self.name}: a row of more than {format_size(MAX_INPUT_BYTES)} cannot be sent")
        self.consumed += len(rest)
        if rest:
            yield bytes(rest)

    def _read_chunks(self, *, is_separator_nul: bool) -> Iterator[bytes]:
        """Yield the bytes, UTF-16 and UTF-32 converted to UTF-8; raise UsageError for a file that is not text."""
        if self._fd == 0 and not select.select([0], [], [], stdin.NOTICE_AFTER_SECONDS)[0]:
            self._notify("waiting for rows on standard input; -f FILE reads them from a file")
        head = self._read()
        while head and any(mark.startswith(head) for mark in (*BINARY_MAGIC, *BYTE_ORDER_MARKS, UTF8_BOM)):
            if not (more := self._read()):
                break
            head += more
        self._check_text(describe_start(head.replace(b"\0", b"\n") if is_separator_nul else head))
        encoding = "" if is_separator_nul else find_wide_encoding(head[: len(head) // 4 * 4])
        decoder = getincrementaldecoder(encoding)("replace") if encoding else None
        self.size = 0 if decoder else self.size
        chunk = head.removeprefix(UTF8_BOM)
        while chunk:
            chunk = decoder.decode(chunk).removeprefix("\ufeff").encode("utf-8", "replace") if decoder else chunk
            self._check_text("" if is_separator_nul or b"\0" not in chunk else "binary")
            yield chunk
            chunk = self._read()

    def _check_text(self, kind: str) -> None:
        if kind:
            raise UsageError(f"{self.name} is {kind}, not rows of text", "convert it to text, CSV or JSON lines first")

    def _read(self) -> bytes:
        """Read some bytes, even from a non-blocking pipe."""
        while True:
            try:
                return os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                select.select([self._fd], [], [])
            except OSError as error:
                raise UsageError(f"{self.name}: {error.strerror}") from None


class Rows:
    """The rows of an input; `header` names the columns that all rows have, if there is one."""

    def __init__(self, row_format: str, source: RowInput, notify: Notify) -> None:
        self._source, self._notify = source, notify
        self._has_notified = False
        self._count = 0
        self.header: Sequence[str] | None = None
        match row_format:
            case "csv":
                self._rows = self._parse_csv()
                self.header = next(self._rows).value
            case "jsonl":
                self._rows = self._parse_json_lines()
            case _:
                texts = self._number_texts(b"\0" if row_format == "nul" else b"\n")
                self._rows = (Row(number, text, text) for number, text in texts)

    def __iter__(self) -> Iterator[Row]:
        """Yield each row; not thread-safe."""
        for row in self._rows:
            self._count = row.number
            yield row

    def estimate_total(self) -> int:
        """Estimate the number of rows from the bytes read so far; 0 if the size of the input is unknown."""
        size, consumed = self._source.size, self._source.consumed
        return round(self._count * size / consumed) if size and consumed else 0

    def _decode_texts(self, separator: bytes) -> Iterator[str]:
        for raw in self._source.split(separator):
            text, notice = decode_any_text(raw, self._source.name)
            if notice and not self._has_notified:
                self._has_notified = True
                self._notify(notice)
            yield text

    def _number_texts(self, separator: bytes) -> Iterator[tuple[int, str]]:
        """Yield the texts that are not blank, with their numbers."""
        texts = (text.removesuffix("\r") if separator == b"\n" else text for text in self._decode_texts(separator))
        return enumerate(filter(str.strip, texts), 1)

    def _parse_json_lines(self) -> Iterator[Row]:
        for number, text in self._number_texts(b"\n"):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield Row(number, text, text, error=f"the row is not JSON: {error}")
                continue
            columns = {name: _to_text(cell) for name, cell in value.items()} if isinstance(value, dict) else {}
            yield Row(number, text.strip(), value, columns)

    def _parse_csv(self) -> Iterator[Row]:
        """Yield the header, and then the records."""
        csv.field_size_limit(MAX_INPUT_BYTES)
        lines = (f"{text}\n" for text in self._decode_texts(b"\n"))
        first = next(lines, "")
        delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")  # spreadsheets write ; and tabs
        reader = csv.reader(chain((first,), lines), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise UsageError(f"{self._source.name}: the header is not valid CSV: {error}") from None
        _check_header(header, self._source.name)
        yield Row(0, "", header)
        yield from (_build_record(number, header, cells) for number, cells in enumerate(_read_cells(reader), 1))


def _check_header(header: Sequence[str], name: str) -> None:
    if not any(map(str.strip, header)):
        raise UsageError(
            f"{name}: the first line has no column names", "--each csv reads the column names from the first line"
        )
    duplicate = next((column for column in header if header.count(column) > 1), None)
    if duplicate is not None:
        raise UsageError(f"{name}: two columns are named {duplicate!r}", "give each column its own name")


def _read_cells(reader: "Reader") -> Iterator[list[str] | str]:
    """Yield the cells of each record that is not empty, or its error message."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield f"the row is not valid CSV: {_explain(error, line)}"
            continue
        if cells is None:
            return
        if cells:
            yield cells


def _explain(error: csv.Error, line: int) -> str:
    """Return the error message; for an unclosed quote, one that is clearer than that of the library."""
    if "end of data" in str(error):
        return f"a quote that begins in line {line} is never closed, so everything after it was read as one row"
    return str(error)


def _build_record(number: int, header: Sequence[str], cells: list[str] | str) -> Row:
    if isinstance(cells, str):
        return Row(number, "", None, error=cells)
    columns = dict(zip(header, cells, strict=False))
    error = f"the row has {len(cells)} cells, but the header has {len(header)}"
    text = json.dumps(columns, ensure_ascii=False)
    return Row(number, text, columns, columns, error if len(cells) != len(header) else "")


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def open_input(options: Options, notify: Notify) -> RowInput:
    """Open the input; raise UsageError if there is none."""
    name = options.file[0] if options.file else "-"
    if name != "-":
        return RowInput(name, _open_file(name), notify)
    if options.no_stdin or not stdin.has_stdin():
        raise UsageError("--each has no rows to read", "pipe them in, or pass a file with -f")
    return RowInput("standard input", 0, notify)


def _open_file(name: str) -> int:
    if name.lower().startswith(SCHEMES):
        raise UsageError(f"{name}: --each reads rows from a file, not from a URL", f"curl {name} | aiml …")
    try:
        return os.open(find_path(name) or name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None


class SampledRows(Rows):
    """A random sample of the rows of a finite input; only the rows of the sample are kept in memory."""

    def __init__(self, row_format: str, source: RowInput, notify: Notify, *, size: int) -> None:
        super().__init__(row_format, source, notify)
        self._size = size

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows of the sample in the order of the input; not thread-safe."""
        yield from sorted(nsmallest(self._size, super().__iter__(), key=_rank), key=lambda row: row.number)

    def estimate_total(self) -> int:
        """Estimate the number of rows in the sample; 0 if the size of the input is unknown."""
        return min(self._size, super().estimate_total())


def _rank(row: Row) -> bytes:
    """Return a pseudorandom rank that is always the same for a row's number.

    So a resumed run has the same sample, a larger sample includes each smaller one, and all shards share one sample.
    """
    return blake2b(row.number.to_bytes(8, "big"), digest_size=8, person=b"aiml sample").digest()
