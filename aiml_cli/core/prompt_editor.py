"""Let the user write the prompt in an editor."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.store import paths
from aiml_cli.system import atomic_write
from aiml_cli.system.atomic_write import decode_utf8, read_file
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import is_terminal

TERMINAL = "/dev/tty"


def edit_text(start: str, environ: Mapping[str, str]) -> str:
    """Open a private file that begins with a text, and give what the user makes of it.

    Raises UsageError when nothing is written, and when the editor fails; then the file stays, and is named.
    """
    path = paths.cache_dir() / f"prompt-{os.getpid()}-{token_hex(4)}.md"
    atomic_write.create_file(path, f"{start}\n".encode("utf-8", "replace") if start else b"")
    try:
        _edit(path, environ.get("VISUAL") or environ.get("EDITOR") or "vi")
        text = decode_utf8(read_file(path) or b"", path).strip("\n")
    except (AimlError, Stopped) as fault:
        error = fault.error if isinstance(fault, Stopped) else fault
        error.hint = f"what you wrote is kept in {path}"
        raise
    path.unlink(missing_ok=True)
    if not text.strip():
        raise UsageError("the prompt is empty", "nothing was written in the editor, and nothing was sent")
    return text


def _edit(path: Path, editor: str) -> None:
    """Run the editor; it gets the terminal, whatever standard input and output are."""
    try:
        with _place(0) as stdin, _place(1) as stdout:
            ended = subprocess.run([*shlex.split(editor), str(path)], stdin=stdin, stdout=stdout, check=False)
        reason = f"ended with {ended.returncode}" if ended.returncode else ""
    except (OSError, ValueError) as fault:
        reason = f"cannot be started: {getattr(fault, 'strerror', None) or fault}"
    if reason:
        raise UsageError(f"the editor {editor!r} {reason}")


@contextmanager
def _place(fd: int) -> Iterator[int]:
    """Give standard input or output where it is a terminal, else the terminal, else what harms neither."""
    if is_terminal(fd):
        yield fd
        return
    try:
        there = os.open(TERMINAL, (os.O_WRONLY if fd else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:  # a script without a terminal may have a script for an editor
        there = os.dup(2) if fd else os.open(os.devnull, os.O_RDONLY)
    try:
        yield there
    finally:
        os.close(there)
