"""Files that the user names, one for each template or tool: read with a limit, and never replaced unasked."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import MEBIBYTE, refuse_symlink, update_file


def read_named_file(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file, None if it does not exist; raise UsageError if it is no regular file of that size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = "a symbolic link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise UsageError(f"{path}: {reason}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise UsageError(f"{path}: not a regular file of at most {limit // MEBIBYTE} MiB")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)


def save_named_file(path: Path, data: bytes, what: str, limit: int, may_replace: Callable[[Path], bool]) -> None:
    """Write a file; `may_replace` is called if there is one, and `what` names it, such as "a tool 'weather'".

    Raises UsageError if it returns False, or if another program changed the file in the meantime.
    """
    refuse_symlink(path)
    before = read_named_file(path, limit)
    if before is not None and not may_replace(path):
        raise UsageError(f"there is {what} already: {path}", "-y replaces it")

    def change(current: bytes | None) -> bytes:
        if current != before:
            raise UsageError(f"{path} was changed by another program meanwhile")
        return data

    update_file(path, change)
