"""Run `aiml models`: search the catalog."""

import os
from collections.abc import Sequence

from aiml_cli.catalog.model_table import browse
from aiml_cli.core.start_demo import served
from aiml_cli.settings.resolve import Flags, resolve
from aiml_cli.store.config_file import layers


def models(words: Sequence[str], flags: Flags) -> int:
    """Search the catalogue of the settled server."""
    with served(resolve(layers(flags, os.environ))) as settings:
        return browse(list(words), settings, bool(settings.options.json))
