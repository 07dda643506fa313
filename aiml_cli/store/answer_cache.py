"""Store complete answers on disk for --cache: a private file for each, written without locks.

A file has a random name while it is written, and then replaces an older one: readers and other writers, on any file
system, see a complete file or none. Its data is compressed, and the checksum of zlib detects a damaged file.
"""

import os
import re
import stat
import time
import zlib
from contextlib import suppress
from pathlib import Path
from threading import Lock

from aiml_cli.errors import AimlError
from aiml_cli.store.paths import ANY_BY_OTHERS, WRITE_BY_OTHERS, cache_dir
from aiml_cli.system.atomic_write import MEBIBYTE, make_private_folder, write_all
from aiml_cli.system.stdio import Notifier

MAX_BYTES = 256 * MEBIBYTE
MAX_ENTRY_BYTES = 16 * MEBIBYTE
# The total size is computed after this much was added; the file `growth` gets a byte for each block that is added.
GROWTH_BYTES = 8 * MEBIBYTE
GROWTH_FILE = "growth"
BLOCK_BYTES = 4096  # a small file takes a whole block of the disk
_OWN_NAME = re.compile(rf"[0-9a-f]{{64}}(\.[0-9a-f]+)?|{GROWTH_FILE}")
CLOCK_ERROR_S = 60.0  # the clocks of two machines may differ by this much
_problems = set[str]()  # already reported by this process
_problems_lock = Lock()


def answer_cache_dir() -> Path:
    """Return the folder of the answers; raise UsageError without a home directory."""
    return cache_dir() / "answer_cache"


class AnswerStore:
    """The store of complete answers. A failure never affects the answer: each reason is printed once per process."""

    def __init__(self, notify: Notifier) -> None:
        self._notify = notify

    def load(self, name: str, max_age_s: float) -> tuple[bytes, float] | None:
        """Return the data under a name and its age in seconds; None if it is missing, too old or damaged."""
        try:
            folder = _check_folder()
            stored = _read_private(folder / name) if folder else None
        except (OSError, AimlError) as error:
            self._report_once(error)
            return None
        with suppress(ValueError, zlib.error):
            head, _, data = zlib.decompress(stored or b"").partition(b"\n")
            age_s = time.time() - float(head)
            if -CLOCK_ERROR_S < age_s < max_age_s:
                return data, max(0.0, age_s)
        return None

    def save(self, name: str, data: bytes) -> None:
        """Write data under a name, and delete the oldest files if there is too much."""
        packed = zlib.compress(b"%.3f\n%b" % (time.time(), data), 1)
        try:
            if len(packed) > MAX_ENTRY_BYTES:
                raise OSError(0, f"it is larger than {MAX_ENTRY_BYTES // MEBIBYTE} MiB")
            folder = _check_folder() or answer_cache_dir()
            make_private_folder(folder)
            _write_file(folder / name, packed)
            if _count_growth(folder / GROWTH_FILE, len(packed)) > GROWTH_BYTES:
                _delete_oldest(folder)
        except (OSError, AimlError) as error:
            self._report_once(error)

    def remove(self, name: str) -> None:
        """Delete the data under a name."""
        with suppress(OSError, AimlError):
            (answer_cache_dir() / name).unlink(missing_ok=True)

    def _report_once(self, error: OSError | AimlError) -> None:
        reason = error.message if isinstance(error, AimlError) else error.strerror or str(error)
        with _problems_lock:
            is_new = reason not in _problems
            _problems.add(reason)
        if is_new and self._notify:
            self._notify(f"this answer was not cached: {reason}")


def list_problems() -> list[str]:
    """Return the reasons why answers could not be stored or read in this process."""
    with _problems_lock:
        return sorted(_problems)


def forget_problems() -> None:
    """Let each problem be reported again."""
    with _problems_lock:
        _problems.clear()


def delete_answers() -> int:
    """Delete all answers, and return how many there were; raise OSError if that fails."""
    with suppress(AimlError):  # without a home directory, there are none
        if folder := _check_folder():
            files = _list_files(folder)
            for path in files:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # it contains other files
                folder.rmdir()
            return sum(path.name != GROWTH_FILE for path in files)
    return 0


def count_answers() -> int:
    """Return how many answers there are; 0 if they cannot be read."""
    with suppress(AimlError, OSError):
        folder = _check_folder()
        return sum(path.name != GROWTH_FILE for path in _list_files(folder)) if folder else 0
    return 0


def _check_folder() -> Path | None:
    """Return the folder, or None if it does not exist; raise OSError if other users could have written answers."""
    folder = answer_cache_dir()
    try:
        status = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(0, f"{folder} is not a folder")
    if status.st_uid != os.geteuid() or status.st_mode & WRITE_BY_OTHERS:
        raise OSError(0, f"{folder} is not used: others can change it (it must be yours, with mode 700)")
    return folder


def _read_private(path: Path) -> bytes | None:
    """Return the bytes of a file that only this user can have written, or None if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        is_private = status.st_uid == os.geteuid() and not status.st_mode & ANY_BY_OTHERS
        return file.read() if is_private and stat.S_ISREG(status.st_mode) else None


def _write_file(path: Path, data: bytes) -> None:
    """Write a file under a random name, and then rename it; it is not synced, because a damaged file is ignored."""
    part = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(fd, 0o600)
            write_all(fd, data)
        finally:
            os.close(fd)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _count_growth(path: Path, size: int) -> int:
    """Add a size to the bytes that were added since the last cleanup, and return the total."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, b"." * _count_blocks(size))
        return os.fstat(fd).st_size * BLOCK_BYTES
    finally:
        os.close(fd)


def _delete_oldest(folder: Path) -> None:
    """Delete the oldest files until there is space for GROWTH_BYTES."""
    files = []
    for path in _list_files(folder):
        with suppress(FileNotFoundError):  # another process deleted it
            status = path.stat()
            files.append((status.st_mtime, _count_blocks(status.st_size) * BLOCK_BYTES, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MAX_BYTES - GROWTH_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size
    os.truncate(folder / GROWTH_FILE, 0)


def _count_blocks(size: int) -> int:
    return max(1, -(-size // BLOCK_BYTES))


def _list_files(folder: Path) -> list[Path]:
    """Return the files of the store, without other files in its folder."""
    return [path for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name)]
