"""The program as a process of its own."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

Aiml = Callable[..., "subprocess.CompletedProcess[bytes]"]


def command(*arguments: str) -> list[str]:
    """Return the command line that starts the program under test."""
    return [sys.executable, "-m", "aiml_cli", *arguments]
