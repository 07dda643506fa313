"""Ask several models at once."""

from collections.abc import Sequence

from aiml_cli.settings.resolve import Settings


def ask(name: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Ask all, and show what each answers, or the one that is whole first; give the exit code."""
    from aiml_cli.compare.call import ask_all  # a plain question loads nothing of this

    return ask_all(name, words, models)
