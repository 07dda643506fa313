"""Write the results of rows in the order of the rows, as JSON lines or as CSV."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from threading import Condition, Lock
from typing import Any, BinaryIO

from aiml_cli.api.answer import Answer
from aiml_cli.batch.resume_file import ResumeFile
from aiml_cli.batch.rows import Row, Rows
from aiml_cli.errors import UsageError
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.prompt.decode_text import MAX_INPUT_BYTES
from aiml_cli.schema.check import ResponseSpec, parse_answer_json

# The keys that are copied from the object that --format json prints.
ANSWER_KEYS = (
    "text", "complete", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "usage", "cost_usd",
    "cost_source", "cached", "model", "id", "request_id", "status", "attempts", "error",
)  # fmt: skip
# How many rows per worker may be started after the first row without a result.
MAX_ROWS_AHEAD = 16
# The last columns: why a row failed ("" if it did not), its number in the whole input, and the hash of its request.
LAST_COLUMNS = ("error", "row_number", "row_hash")
ROW, TEXT = "row", "text"
# How many rows may be read to find one that names the columns of JSON lines.
MAX_ROWS_TO_FIRST_OBJECT = 1000
MAX_REFERENCES = 10
MAX_NAMES_IN_NOTICE = 3
# Cells that need quotes: with separators or quotes, whitespace at the ends, a byte order mark, or # of a comment.
_IS_QUOTED = re.compile(r'[",\r\n\0]|\A[\s\ufeff#]|\s\Z')
_LINE_END = b"\n"


def format_result(
    row: Row, row_hash: str | None, answer: Answer, *, is_json: bool, has_choices: bool, has_rounds: bool = False
) -> bytes:
    """Return the result of a row as one line of JSON.

    It always has the same keys, plus `data` if JSON was requested, `choices` if several answers were, and `rounds` if
    there are tools.
    """
    facts = answer_to_dict(answer)
    data: dict[str, Any] = {"data": parse_data(facts["text"])} if is_json else {}
    more = [name for name, is_shown in (("choices", has_choices), ("rounds", has_rounds)) if is_shown]
    result = {name: facts[name] for name in (*ANSWER_KEYS, *more)}
    if result["usage"]:
        del result["usage"]["details"]  # the same counts under the server's own names
    seconds = facts["timing"]["total_s"]
    return json_line({"row": row.number, "hash": row_hash, "input": row.value, **data, **result, "seconds": seconds})


def parse_data(text: str) -> Any:
    """Return the answer parsed as JSON, or None if it is not JSON."""
    with suppress(ValueError):
        return parse_answer_json(text)
    return None


class ResultWriter:
    """Writes the results of several threads; if `ordered`, in the order of the rows.

    `write_line` receives one complete result at a time, the first one with the `header` before it.
    """

    def __init__(self, write_line: Callable[[bytes], None], jobs: int, *, header: bytes = b"", ordered: bool) -> None:
        self._header = header
        self._write_line, self._limit, self._ordered = write_line, MAX_ROWS_AHEAD * jobs, ordered
        self._change = Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._is_finished = False

    def wait_for_room(self, position: int) -> None:
        """Wait until the row at this position, counted from 0, may be started; unordered rows never wait."""
        with self._change:
            while self._ordered and position >= self._next + self._limit and not self._is_finished:
                self._change.wait()

    def write(self, position: int, line: bytes) -> None:
        """Add the result of a row (b"" if it has none), and write all results that can be written in order.

        Errors of `write_line` propagate; after one, nothing more can be written in order.
        """
        with self._change:
            if self._is_finished:
                return
            if not self._ordered:
                self._write_if_any(line)
                return
            self._waiting[position] = line
            while self._next in self._waiting:
                self._write_if_any(self._waiting.pop(self._next))
                self._next += 1
            self._change.notify_all()

    def finish(self, *, is_lost: bool, is_complete: bool = False) -> None:
        """Accept no more results; write those that wait for earlier rows, unless the output is lost.

        If a complete run has no result, only the header is written.
        """
        with self._change:
            self._is_finished = True
            self._change.notify_all()
            if not is_lost:
                for position in sorted(self._waiting):
                    self._write_if_any(self._waiting[position])
            if is_complete and self._header:
                self._write_line(self._header)

    def release_waiters(self) -> None:
        """Stop holding back rows that are far ahead, because the run is ending."""
        with self._change:
            self._limit = sys.maxsize
            self._change.notify_all()

    def _write_if_any(self, line: bytes) -> None:
        if line:
            self._write_line(self._header + line)
            self._header = b""


class CsvFormat:
    """The columns of a run's results, and the conversion of a result to a record.

    If `input_columns` is None, the text of the row is one column. `fields` are the properties of the answer's JSON
    object that become columns; without them the answer's text is one column.
    """

    def __init__(
        self, input_columns: Sequence[str] | None, fields: Sequence[str], notify: Callable[[str], None]
    ) -> None:
        self._input_columns, self._fields, self._notify = input_columns, fields, notify
        self._known = frozenset(input_columns or ())
        self._notified, self._lock = set[bool](), Lock()
        self.columns = _name_columns((ROW,) if input_columns is None else input_columns, fields or (TEXT,))

    @property
    def header(self) -> bytes:
        """Return the first record."""
        return encode_record(self.columns)

    def format(self, row: Row, row_hash: str | None, answer: Answer) -> bytes:
        """Return the record of a result; a missing value is an empty cell."""
        text, error = answer.completion.first.output_text, answer.error
        cells = [text]
        if self._fields:
            data = parse_data(text)
            cells = [_to_cell(data.get(name)) if isinstance(data, dict) else "" for name in self._fields]
        reason = (error.message.strip() or error.name) if error else ""
        return encode_record([*self._format_input(row), *cells, reason, str(row.number), row_hash or ""])

    def _format_input(self, row: Row) -> Iterator[str]:
        """Yield the cells of the input."""
        if self._input_columns is None:
            yield row.text
            return
        members = row.value if isinstance(row.value, dict) else {}
        if not row.error:
            self._notify_of_columns(row, members)
        for name in self._input_columns:
            yield "" if members.get(name) is None else row.columns[name]

    def _notify_of_columns(self, row: Row, members: Mapping[str, Any]) -> None:
        """Print once that a row has properties without a column, and once that a row is not an object."""
        more = [name for name in members if name not in self._known]
        if not more and isinstance(row.value, dict):
            return
        with self._lock:
            if bool(more) in self._notified:
                return
            self._notified.add(bool(more))
        shown = ", ".join(more[:MAX_NAMES_IN_NOTICE]) + (", …" if len(more) > MAX_NAMES_IN_NOTICE else "")
        what = f"has properties that the first row does not have ({shown})" if more else "is not a JSON object"
        self._notify(f"row {row.number} {what}: a CSV file has only the columns of the first row")


def find_columns(row_format: str, rows: Rows) -> tuple[Sequence[str] | None, Iterator[Row]]:
    """Return the columns of the input (None if rows are strings), and all rows.

    The columns of JSON lines are the properties of the first valid row, if that is an object.
    """
    source = iter(rows)
    if row_format != "jsonl":
        return rows.header, source
    read: list[Row] = []
    for row in islice(source, MAX_ROWS_TO_FIRST_OBJECT):
        read.append(row)
        if not row.error:
            break
    first = read[-1].value if read and not read[-1].error else None
    return tuple(first) if isinstance(first, dict) and first else None, chain(read, source)


def find_schema(spec: ResponseSpec | None) -> Any:
    """Return the JSON Schema of the answers, or None if there is none."""
    response_format = spec.response_format if spec else None
    return (response_format or {}).get("json_schema", {}).get("schema")


def list_fields(schema: Any) -> Sequence[str]:
    """Return the top-level properties of a JSON Schema in its order; () if it has none."""
    root = schema
    for _ in range(MAX_REFERENCES):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        schema = _resolve(root, schema["$ref"])
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return tuple(properties) if isinstance(properties, Mapping) else ()


def _resolve(root: Any, reference: str) -> Any:
    """Return the part of a schema that a $ref points to, or None."""
    part = root
    for name in reference.removeprefix("#").split("/")[1:]:
        part = part.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(part, Mapping) else None
    return part


def _name_columns(input_columns: Sequence[str], answer_columns: Sequence[str]) -> list[str]:
    """Return all columns; a result column that the input also has gets a number: error_2."""
    names = list(input_columns)
    for name in (*answer_columns, *LAST_COLUMNS):
        number, free = 1, name
        while free in names:
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    return names


def _to_cell(value: Any) -> str:
    """Return a JSON value as a cell: a string unchanged, null as an empty cell, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json_line(value).decode().removesuffix("\n")


def encode_record(cells: Iterable[str]) -> bytes:
    """Return a CSV record as in RFC 4180, but with a single line feed at its end; cells are not changed otherwise."""
    quoted = ('"' + cell.replace('"', '""') + '"' if _IS_QUOTED.search(cell) else cell for cell in cells)
    return ",".join(quoted).encode("utf-8", "replace") + _LINE_END


class CsvResumeFile(ResumeFile):
    """An open CSV file of results; its last three columns say which rows are done. A new file has no `header`."""

    header: Sequence[str] = ()

    def _read(self) -> None:
        csv.field_size_limit(MAX_INPUT_BYTES)
        super()._read()

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise UsageError if the file has results with other columns."""
        if self.header and list(self.header) != list(columns):
            hint = "use another file, or the same input and --schema as before"
            theirs, ours = ", ".join(self.header), ", ".join(columns)
            raise UsageError(f"{self._name}: its columns are {theirs}; those of this run are {ours}", hint)

    def _split(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the records. Quotes are doubled, so a record ends with the line that makes their number even."""
        lines: list[bytes] = []
        quotes = 0
        for line in file:
            lines.append(line)
            quotes += line.count(b'"')
            if quotes % 2 == 0:
                yield b"".join(lines)
                lines, quotes = [], 0
        if lines:
            yield b"".join(lines)

    def _is_whole(self, record: bytes) -> bool:
        return record.endswith(_LINE_END) and record.count(b'"') % 2 == 0

    def _may_be_ours(self, record: bytes) -> bool:  # noqa: ARG002 - the header and the first result are one write
        return False

    def _read_record(self, number: int, record: bytes) -> None:
        cells = next(csv.reader([record.decode("utf-8-sig", "replace")], strict=False), [])
        if not self.header:
            self._read_header(cells)
        elif cells and (len(cells) != len(self.header) or not cells[-2].isdecimal()):
            raise self._build_error(number)
        elif cells and not cells[-3]:
            self._add_hash(int(cells[-2]), cells[-1])

    def _read_header(self, cells: Sequence[str]) -> None:
        last = [re.sub(r"_\d+\Z", "", name) for name in cells[-len(LAST_COLUMNS) :]]
        if last != list(LAST_COLUMNS):
            raise self._build_error(1)
        self.header = cells
