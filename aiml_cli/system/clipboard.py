"""Copy text to the clipboard, or read an image or text from it, with a program on this machine or the terminal."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.system.child_process import (
    MAX_WRITTEN_BYTES,
    ProcessGroup,
    ProgramFailed,
    ProgramOutput,
    collect_output,
    run_program,
)
from aiml_cli.system.stdio import write_out
from aiml_cli.system.terminal import TERMINAL, is_terminal

TIMEOUT_S = 5
# About the limit of the terminals that support OSC 52, in base64 characters.
MAX_OSC_52 = 74_994
OSC_52 = "OSC 52"
OSC_52_WARNING = "; if paste is empty, your terminal blocks it"
NO_CLIPBOARD = "there is no clipboard"
INSTALL_HINT = "install wl-clipboard, xclip or xsel; in a conversation, /write FILE saves the answer"

READ_HINT = "install wl-clipboard (Wayland), xclip (X11) or pngpaste (macOS)"
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")  # the best one first
TEXT_TYPES = ("text/plain;charset=utf-8", "UTF8_STRING", "text/plain", "STRING")
_HEX_OF_PNG = re.compile(rb"PNGf([0-9A-Fa-f]+)")


def check_clipboard() -> None:
    """Raise UsageError if there is no way to copy; an installed program may still fail later."""
    if any(shutil.which(command[0]) for command in _list_copy_commands(os.environ)) or _is_in_tmux(os.environ):
        return
    with _open_screen(os.environ) as screen:
        if screen is None:
            raise UsageError(NO_CLIPBOARD, INSTALL_HINT)


def copy_text(text: str) -> str:
    """Copy a text to the clipboard; return a message such as `copied 135 characters (xclip)`.

    The first program that works is used, else the terminal (OSC 52). In tmux, its buffer is filled too. Raises
    OutputFailed if the text cannot be copied.
    """
    data = text.encode("utf-8", "replace")
    programs = _copy_with_programs(data, os.environ)
    how = " and ".join(programs) if programs else _copy_with_terminal(data, os.environ)
    count = "1 character" if len(text) == 1 else f"{len(text):,} characters"
    return f"copied {count} ({how})" + (OSC_52_WARNING if how == OSC_52 else "")


def _copy_with_programs(data: bytes, environ: Mapping[str, str]) -> list[str]:
    """Copy with the first program that works, and with tmux; return the names of the programs that worked."""
    in_tmux = ["tmux"] if _is_in_tmux(environ) and _run_copy(("tmux", "load-buffer", "-w", "-"), data) else []
    for command in _list_copy_commands(environ):
        if _run_copy(command, data.decode().encode("utf-16") if command[0] == "clip.exe" else data):
            return [command[0], *in_tmux]
    return in_tmux


def _list_copy_commands(environ: Mapping[str, str]) -> Iterator[Sequence[str]]:
    if environ.get("WAYLAND_DISPLAY"):
        yield ("wl-copy",)
    if environ.get("DISPLAY"):
        yield "xclip", "-selection", "clipboard"
        yield "xsel", "--clipboard", "--input"
    yield ("pbcopy",)
    yield ("clip.exe",)


def _is_in_tmux(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("TMUX") and shutil.which("tmux"))


def _run_copy(command: Sequence[str], data: bytes) -> bool:
    """Run a program with this input; return True if it is installed and succeeded."""
    path = shutil.which(command[0])
    if not path:
        return False
    try:
        run_program([path, *command[1:]], data=data, seconds=TIMEOUT_S, reads_output=False)
    except ProgramFailed:
        return False
    return True


def _copy_with_terminal(data: bytes, environ: Mapping[str, str]) -> str:
    """Copy with an escape sequence of the terminal; raise OutputFailed if there is none or the text is too long."""
    encoded = base64.b64encode(data)
    with _open_screen(environ) as screen:
        if screen is None:
            raise OutputFailed(f"{NO_CLIPBOARD} that accepts this text", INSTALL_HINT)
        if len(encoded) > MAX_OSC_52:
            raise OutputFailed(f"{len(data):,} bytes are too much for the clipboard of a terminal", INSTALL_HINT)
        write_out(b"\x1b]52;c;" + encoded + b"\x07", screen, "the terminal")
    return OSC_52


@contextmanager
def _open_screen(environ: Mapping[str, str]) -> Iterator[int | None]:
    """Yield a descriptor for writing to the terminal, even if both outputs are pipes; None if there is none."""
    if environ.get("TERM", "") in ("", "dumb"):
        yield None
        return
    for fd in (1, 2):
        if is_terminal(fd):
            yield fd
            return
    opened = None
    with suppress(OSError):
        opened = os.open(TERMINAL, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        if opened is not None:
            os.close(opened)


def read_clipboard() -> bytes:
    """Return the image in the clipboard, or else its text; raise UsageError if it contains neither.

    The programs are tried in the order wl-paste, xclip, xsel, pngpaste, osascript, pbpaste.
    """
    runner = _Runner()
    readers = list(_list_readers(os.environ))
    if not readers:
        raise UsageError("no installed program can read the clipboard", READ_HINT)
    for read in readers:
        if data := read(runner):
            return data
    raise UsageError("the clipboard contains neither an image nor text", runner.failure)


class _Runner:
    """Runs programs that print the content of the clipboard; `failure` says how the last program failed."""

    def __init__(self) -> None:
        self.failure = ""

    def run(self, *command: str) -> bytes:
        """Return the output of a program, or b"" if it fails; raise UsageError for more than 16 MiB."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            group = ProcessGroup(command, os.environ, **pipes)
        except ProgramFailed as failure:
            self.failure = f"{command[0]} {failure.reason}"
            return b""
        result = collect_output(group, b"", seconds=TIMEOUT_S, limit=MAX_WRITTEN_BYTES)
        if result.has_flooded or result.size > len(result.out):
            raise UsageError(f"the clipboard contains more than {MAX_WRITTEN_BYTES // 2**20} MiB", "save it to a file")
        if result.exit_code or result.has_timed_out:
            self.failure = _explain(command[0], result)
            return b""
        return result.out


def _explain(program: str, result: ProgramOutput) -> str:
    """Return how a program failed, with the last line of its standard error."""
    lines = result.err.decode("utf-8", "replace").strip().splitlines() or [""]
    how = f"did not end within {TIMEOUT_S} s" if result.has_timed_out else f"ended with {result.exit_code}"
    return f"{program} {how}" + (f": {lines[-1]}" if lines[-1] else "")


def _list_readers(environ: Mapping[str, str]) -> Iterator[Callable[[_Runner], bytes]]:
    if environ.get("WAYLAND_DISPLAY") and shutil.which("wl-paste"):
        yield lambda runner: _read_best(runner, ("wl-paste",), "--list-types", ("--no-newline", "--type"))
    if environ.get("DISPLAY") and shutil.which("xclip"):
        yield lambda runner: _read_best(runner, ("xclip", "-selection", "clipboard", "-o", "-t"), "TARGETS", ())
    if environ.get("DISPLAY") and shutil.which("xsel"):
        yield lambda runner: runner.run("xsel", "--clipboard", "--output")
    if shutil.which("pngpaste"):
        yield lambda runner: runner.run("pngpaste", "-")
    if shutil.which("osascript"):
        yield _read_with_osascript
    if shutil.which("pbpaste"):
        yield lambda runner: runner.run("pbpaste")


def _read_best(runner: _Runner, command: Sequence[str], list_word: str, words: Sequence[str]) -> bytes:
    """Return the clipboard in the best type that it offers: an image, or else text."""
    types = runner.run(*command, list_word).decode("utf-8", "replace").split()
    known = (*IMAGE_TYPES, *TEXT_TYPES, *(name for name in types if name.startswith("text/plain")))
    best = next((name for name in known if name in types), "")
    return runner.run(*command, *words, best) if best else b""


def _read_with_osascript(runner: _Runner) -> bytes:
    """Return the image in the clipboard of macOS, which osascript prints in hexadecimal digits."""
    found = _HEX_OF_PNG.search(runner.run("osascript", "-e", "the clipboard as «class PNGf»"))
    return bytes.fromhex(found[1].decode()) if found and len(found[1]) % 2 == 0 else b""
