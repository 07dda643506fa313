"""Ask for each row of an input."""

from collections.abc import Sequence

from aiml_cli.settings.resolve import Settings


def ask(name: str, words: Sequence[str], settings: Settings, models: int = 1) -> int:
    """Ask for each row, and write what came of each; give 0 when all are whole, else raise what went wrong.

    `models` is how many were named.
    """
    from aiml_cli.batch.course import ask_each  # a plain question loads nothing of this

    return ask_each(name, words, settings, models)
