"""Run `aiml models`: search the catalog."""

import os
from collections.abc import Sequence

from aiml_cli.catalog.model_table import show_models
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.settings.resolve import Flags, check_conflicts, resolve
from aiml_cli.store.config_file import read_sources


def search_models(words: Sequence[str], flags: Flags) -> int:
    """Print the models in the server's catalog that match the words."""
    resolved = resolve(read_sources(flags, os.environ))
    check_conflicts(resolved)
    with start_demo_if_asked(resolved) as settings:
        return show_models(list(words), settings, bool(settings.options.json))
