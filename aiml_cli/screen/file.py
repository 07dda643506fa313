"""Write the answer to a file that only a complete answer replaces."""

import os
import stat
from pathlib import Path

from aiml_cli.errors import Misuse, OutputFailed


class OutputFile:
    """Write beside the file, under its name and `.part`; take its place at the end.

    What is no regular file (a pipe, a terminal, /dev/null) is written as it is.
    """

    def __init__(self, name: str) -> None:
        self._target = Path(os.path.realpath(name))
        try:
            self._direct = self._target.exists() and not self._target.is_file()
            self.part = self._target if self._direct else self._target.with_name(self._target.name + ".part")
            if self._direct:
                self._fd = os.open(self._target, os.O_WRONLY | os.O_CLOEXEC)
            else:
                self._fd = self._opened(name)
        except OSError as fault:
            raise Misuse(f"{name}: cannot be written: {fault.strerror}", "nothing was sent") from None

    def _opened(self, name: str) -> int:
        """Open the part, with the modes of the file that it will replace."""
        if self._target.exists() and not os.access(self._target, os.W_OK):
            raise PermissionError(13, "Permission denied", name)
        fd = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        if self._target.exists():
            os.fchmod(fd, stat.S_IMODE(self._target.stat().st_mode))
        return fd

    def write(self, data: bytes) -> None:
        """Write all of it; raise OutputFailed."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as fault:
                raise OutputFailed(f"{self._target}: {fault.strerror}") from None

    def close(self, *, complete: bool) -> str:
        """Take the file's place when the answer is complete; else give the name of the part that holds it."""
        try:
            if not self._direct:
                os.fsync(self._fd)
            os.close(self._fd)
            if complete and not self._direct:
                self.part.replace(self._target)
        except OSError as fault:
            raise OutputFailed(f"{self._target}: {fault.strerror}", f"the answer is in {self.part}") from None
        if complete or self._direct:
            return ""
        if self.part.stat().st_size:
            return str(self.part)
        self.part.unlink()
        return ""
