"""The command line of the program, to run it as a process."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

Aiml = Callable[..., "subprocess.CompletedProcess[bytes]"]


def build_command(*arguments: str) -> list[str]:
    """Return the command line that starts the program under test."""
    return [sys.executable, "-m", "aiml_cli", *arguments]
