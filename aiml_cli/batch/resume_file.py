"""Read which rows are in the results file of an earlier run, and append results to it."""

import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, BinaryIO

from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import encode_body
from aiml_cli.batch.rows import Row
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import OutputFailed, UsageError

DIGEST_SIZE = 12
# The start and the end of a result without an error, as written here; the long part between them is not parsed.
_HEAD = re.compile(rb'\{"row": ([0-9]{1,14}), "hash": "([0-9a-f]{%d})", "' % (2 * DIGEST_SIZE))
_TAIL = re.compile(rb'"error": null, "seconds": (?:null|[0-9.e+-]{1,24})\}\n')
_TAIL_BYTES = 64
_START = b'{"row": '
# The first bytes of a digest choose a bucket of the table; the bucket contains the other bytes and the row's number.
_BUCKET_BYTES, _NUMBER_BYTES = 2, 6
_KEY_BYTES = DIGEST_SIZE - _BUCKET_BYTES
_RECORD_BYTES = _KEY_BYTES + _NUMBER_BYTES
_PAGE_BITS = 13


class RowHasher:
    """Hashes the request of a row: the part that all rows share, the row's text, and the files that it names."""

    def __init__(
        self, request: ChatRequest, template: Conversation, digest_files: Callable[[Row], bytes] = lambda _: b""
    ) -> None:
        self._digest_files = digest_files
        self._person = request.endpoint.name.encode()
        self._common = self._begin(request.build_body(template))

    def _begin(self, body: Any) -> "blake2b":
        return blake2b(bytes(encode_body(body)), digest_size=DIGEST_SIZE, person=self._person)

    def hash(self, row: Row) -> str:
        """Return the hash of a row, in hexadecimal."""
        digest = self._common.copy()
        digest.update(row.text.encode("utf-8", "replace"))
        if files := self._digest_files(row):
            digest.update(b"\0" + files)
        return digest.hexdigest()

    def hash_body(self, row: Row, body: Any) -> str:
        """Return the hash that older versions wrote: that of the complete request, which takes longer to compute."""
        digest = self._begin(body)
        digest.update(row.text.encode("utf-8", "replace"))
        return digest.hexdigest()


class NumberSet:
    """A compact set of row numbers: one bit for each."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> None:
        """Add a number, 0 or greater."""
        page = self._pages.setdefault(number >> _PAGE_BITS, bytearray(1 << _PAGE_BITS - 3))
        page[(number >> 3) & (len(page) - 1)] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        """True if the number was added."""
        page = self._pages.get(number >> _PAGE_BITS)
        return page is not None and bool(page[(number >> 3) & (len(page) - 1)] >> (number & 7) & 1)


class ResultTable:
    """A compact table of digests and row numbers: about 30 MB for a million results."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}

    def __bool__(self) -> bool:
        return any(self._buckets.values())

    def add(self, digest: bytes, number: int) -> None:
        """Add a result; several rows may have the same digest."""
        bucket = self._buckets.setdefault(digest[:_BUCKET_BYTES], bytearray())
        bucket += digest[_BUCKET_BYTES:] + number.to_bytes(_NUMBER_BYTES, "big")

    def find(self, digest: bytes) -> list[int]:
        """Return the numbers of the rows with this digest, in the order in which they were added."""
        bucket, key = self._buckets.get(digest[:_BUCKET_BYTES], b""), digest[_BUCKET_BYTES:]
        numbers, place = [], _find_record(bucket, key)
        while place >= 0:
            numbers.append(int.from_bytes(bucket[place + _KEY_BYTES : place + _RECORD_BYTES], "big"))
            place = _find_record(bucket, key, place + _RECORD_BYTES)
        return numbers

    def remove(self, digest: bytes, number: int) -> bool:
        """Remove a result; return False if there is none with this digest and row."""
        bucket = self._buckets.get(digest[:_BUCKET_BYTES])
        if not bucket:
            return False
        place = _find_record(bucket, digest[_BUCKET_BYTES:] + number.to_bytes(_NUMBER_BYTES, "big"))
        if place < 0:
            return False
        del bucket[place : place + _RECORD_BYTES]
        return True


def _find_record(bucket: bytes | bytearray, key: bytes, start: int = 0) -> int:
    """Return the position of the next record that starts with a key, or -1."""
    place = bucket.find(key, start)
    while place % _RECORD_BYTES and place >= 0:
        place = bucket.find(key, place + 1)
    return place


class ResumeFile:
    """An open file of results.

    A row is done if the file has a result with its hash and without an error. If the input has equal rows, or was
    changed between the runs, the row's number decides which result belongs to it. With `is_read_only` nothing is
    created, changed or locked, and a missing file has no results.
    """

    def __init__(self, name: str, *, is_read_only: bool = False) -> None:
        if name == "-":
            raise UsageError("--resume-from cannot be used with -: it reads a file and appends to it", "name a file")
        self._name, self._is_read_only = name, is_read_only
        self._done, self._numbers, self._passed = ResultTable(), NumberSet(), NumberSet()
        try:
            self.fd = self._open()
            self._read()
        except BlockingIOError:
            raise UsageError(f"{name}: another run is writing to it", "use a separate file for each run") from None
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}") from None

    def _open(self) -> int:
        """Open the file, and lock it for writing; raise OSError, or UsageError if it is not a regular file."""
        flags = os.O_RDONLY if self._is_read_only else os.O_RDWR | os.O_CREAT | os.O_APPEND
        try:
            fd = os.open(self._name, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except FileNotFoundError:
            if not self._is_read_only:
                raise
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{self._name}: --resume-from needs a file, and this is not a regular file")
        if not self._is_read_only:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def close(self) -> None:
        """Close the file, which ends its lock; later calls do nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def has_results(self) -> bool:
        """True if there are results that `has` has not matched to a row yet."""
        return bool(self._done)

    def has(self, number: int, row_hash: str) -> bool:
        """True if a row is done; each result is matched to one row only."""
        self._passed.add(number)
        digest = bytes.fromhex(row_hash)
        if self._done.remove(digest, number):
            return True
        numbers = self._done.find(digest)
        # The result of another row counts if that row was looked up already, or if the rows have moved. Workers look
        # rows up in any order, so an earlier row with the same text may still need its own result.
        is_moved = bool(numbers) and (number in self._numbers or min(numbers) in self._passed)
        return is_moved and self._done.remove(digest, min(numbers))

    def write(self, data: bytes) -> None:
        """Append all of the data or nothing: a shorter result may still fit on a full disk. Raises OutputFailed."""
        size, view = os.fstat(self.fd).st_size, memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except OSError as error:
                os.ftruncate(self.fd, size)
                raise OutputFailed(f"{self._name}: {error.strerror}") from None

    def _read(self) -> None:
        """Read which rows are done; remove an incomplete last line."""
        end = 0
        with open(self.fd, "rb", closefd=False) as file:
            for number, record in enumerate(self._split(file), 1):
                if not self._is_whole(record):
                    if not end and not self._may_be_ours(record):
                        raise self._build_error(number)  # another kind of file, which must not be changed
                    if not self._is_read_only:
                        os.ftruncate(self.fd, end)
                    return
                self._read_record(number, record)
                end += len(record)

    def _split(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the results as they are written; the last one may be incomplete."""
        return iter(file)

    def _is_whole(self, record: bytes) -> bool:
        return record.endswith(b"\n")

    def _may_be_ours(self, record: bytes) -> bool:
        """True if the only record of a file, which is incomplete, can be the beginning of a result."""
        return _START.startswith(record[: len(_START)])

    def _read_record(self, number: int, line: bytes) -> None:
        if (head := _HEAD.match(line)) and _TAIL.search(line, len(line) - _TAIL_BYTES):
            self._add(int(head[1]), bytes.fromhex(head[2].decode()))
        elif line.strip():
            self._parse_line(number, line)

    def _parse_line(self, number: int, line: bytes) -> None:
        """Add the result of a line that another program may have written, or that has an error."""
        try:
            result: Any = json.loads(line)
            row, row_hash, error = result["row"], result["hash"], result["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._build_error(number) from None
        if error is None and type(row) is int and isinstance(row_hash, str):
            self._add_hash(row, row_hash)

    def _build_error(self, number: int) -> UsageError:
        """Return the error for a record that is not a result."""
        hint = "name a file that --each wrote, or a new one; for results in CSV add --format csv"
        return UsageError(f"{self._name}, line {number}: not a result of --each", hint)

    def _add_hash(self, row: int, row_hash: str) -> None:
        """Add a result; ignore a hash or a number that no row can have."""
        try:
            digest = bytes.fromhex(row_hash)
        except ValueError:
            return
        if len(digest) == DIGEST_SIZE and 0 <= row < 1 << 8 * _NUMBER_BYTES:
            self._add(row, digest)

    def _add(self, row: int, digest: bytes) -> None:
        self._done.add(digest, row)
        self._numbers.add(row)
