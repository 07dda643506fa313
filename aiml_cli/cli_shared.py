"""What the command lines share: their Typer, rows that many have, and flags that only one has."""

from collections.abc import Callable
from typing import Any

from aiml_cli.settings.flags import Flags
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import read

# A command gives back what is to be done, and `main` does it: Typer would turn Ctrl-C and a reader that
# went away into endings of its own.
Task = Callable[[], int]

SERVER = [ROWS[name] for name in ("profile", "base_url", "timeout", "ca_bundle", "record", "replay")]
PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def said(row: Option[Any], flags: Flags) -> Any:
    """Read a flag that only one command has."""
    return read(row, flags[row.name]) if row.name in flags else row.default
