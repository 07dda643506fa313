"""Put a text on the clipboard: by a program that can, else by asking the terminal."""

import base64
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from aiml_cli.errors import Misuse
from aiml_cli.screen.output import is_terminal, write

PATIENCE_S = 5
# Terminals that take it at all take about so much.
MOST_FOR_TERMINAL = 74_994


def put(text: str, environ: Mapping[str, str]) -> str:
    """Put it there, and say by what; raise Misuse where nothing can."""
    data = text.encode("utf-8", "replace")
    for program, *arguments in _programs(environ):
        path = shutil.which(program)
        if path and _taken([path, *arguments], text.encode("utf-16") if program == "clip.exe" else data):
            return program
    coded = base64.b64encode(data)
    if not is_terminal(1):
        raise Misuse("there is no clipboard: neither a program for it, nor a terminal")
    if len(coded) > MOST_FOR_TERMINAL:
        raise Misuse(f"{len(data):,} bytes are more than a terminal takes", "install wl-copy or xclip; or /write FILE")
    write(b"\x1b]52;c;" + coded + b"\x07")
    return "the terminal, if it allows that"


def _programs(environ: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """List the programs that may work here."""
    if environ.get("WAYLAND_DISPLAY"):
        yield ("wl-copy",)
    if environ.get("DISPLAY"):
        yield "xclip", "-selection", "clipboard"
        yield "xsel", "--clipboard", "--input"
    yield ("pbcopy",)
    yield ("clip.exe",)


def _taken(command: Sequence[str], data: bytes) -> bool:
    """Give it to a program; one that stays to serve it keeps none of our pipes."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(command, input=data, stdout=quiet, stderr=quiet, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
