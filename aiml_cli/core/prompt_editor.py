"""Open the user's editor to write a prompt."""

import os
from collections.abc import Mapping
from secrets import token_hex

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import create_file, decode_utf8, read_file
from aiml_cli.system.child_process import run_editor
from aiml_cli.system.signals import Stopped


def edit_text(start: str, environ: Mapping[str, str]) -> str:
    """Open `start` in the user's editor and return the edited text.

    Raises UsageError if the text is empty or the editor fails; if it fails, the file is kept and the hint names it.
    """
    path = paths.cache_dir() / f"prompt-{os.getpid()}-{token_hex(4)}.md"
    create_file(path, f"{start}\n".encode("utf-8", "replace") if start else b"")
    try:
        run_editor(path, environ.get("VISUAL") or environ.get("EDITOR") or "vi")
        text = decode_utf8(read_file(path) or b"", path).replace("\r\n", "\n").strip("\n")
    except (AimlError, Stopped) as stop:
        error = stop.error if isinstance(stop, Stopped) else stop
        error.hint = f"what you wrote is kept in {path}"
        raise
    path.unlink(missing_ok=True)
    if not text.strip():
        raise UsageError("the prompt is empty", "nothing was written in the editor, and nothing was sent")
    return text
