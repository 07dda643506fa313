"""Ask for each piece of a long input."""

from collections.abc import Sequence

from aiml_cli.settings.resolve import Settings


def ask(name: str, words: Sequence[str], settings: Settings) -> int:
    """Ask for each piece, and with --reduce for one answer of all; give the exit code."""
    from aiml_cli.chunks.call import ask_all  # a plain question loads nothing of this

    return ask_all(name, words, settings)
