"""The clipboard: copy a text to it, with a program of this machine or through the terminal."""

import base64
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.system.child_process import ProgramFailed, run_program
from aiml_cli.system.stdio import write_out
from aiml_cli.system.terminal import TERMINAL, is_terminal

TIMEOUT_S = 5
# About the limit of the terminals that support OSC 52, in base64 characters.
MAX_OSC_52 = 74_994
OSC_52 = "OSC 52"
OSC_52_WARNING = "; if paste is empty, your terminal blocks it"
NO_CLIPBOARD = "there is no clipboard"
INSTALL_HINT = "install wl-clipboard, xclip or xsel; in a conversation, /write FILE saves the answer"


def check_clipboard() -> None:
    """Raise UsageError if nothing here can copy; a program that is there may still fail later."""
    if any(shutil.which(command[0]) for command in _list_copy_commands(os.environ)) or _is_in_tmux(os.environ):
        return
    with _open_screen(os.environ) as screen:
        if screen is None:
            raise UsageError(NO_CLIPBOARD, INSTALL_HINT)


def copy_text(text: str) -> str:
    """Copy a text to the clipboard; return the message that says so and how: `copied 135 characters (xclip)`.

    The first program that works is used, else the terminal (OSC 52). In tmux its buffer is filled too. Raises
    OutputFailed if nothing can copy the text.
    """
    data = text.encode("utf-8", "replace")
    programs = _copy_with_programs(data, os.environ)
    how = " and ".join(programs) if programs else _copy_with_terminal(data, os.environ)
    count = "1 character" if len(text) == 1 else f"{len(text):,} characters"
    return f"copied {count} ({how})" + (OSC_52_WARNING if how == OSC_52 else "")


def _copy_with_programs(data: bytes, environ: Mapping[str, str]) -> list[str]:
    """Copy with the first program that works, and with tmux; return the names of those that did."""
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
    """Run a program with this input; return whether it is there and succeeded."""
    path = shutil.which(command[0])
    if not path:
        return False
    try:
        run_program([path, *command[1:]], data=data, seconds=TIMEOUT_S, reads_output=False)
    except ProgramFailed:
        return False
    return True


def _copy_with_terminal(data: bytes, environ: Mapping[str, str]) -> str:
    """Ask the terminal to copy; raise OutputFailed if there is none, or if the text is too long for that."""
    encoded = base64.b64encode(data)
    with _open_screen(environ) as screen:
        if screen is None:
            raise OutputFailed(f"{NO_CLIPBOARD} that takes this text", INSTALL_HINT)
        if len(encoded) > MAX_OSC_52:
            raise OutputFailed(f"{len(data):,} bytes are too long for the clipboard of a terminal", INSTALL_HINT)
        write_out(b"\x1b]52;c;" + encoded + b"\x07", screen, "the terminal")
    return OSC_52


@contextmanager
def _open_screen(environ: Mapping[str, str]) -> Iterator[int | None]:
    """Yield a descriptor that writes to the terminal, also where both outputs are pipes; None if there is none."""
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
