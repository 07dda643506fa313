"""What a tool is given: arguments that fit its parameters, and an environment without the API key."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import read_file
from aiml_cli.system.child_process import absolute_paths
from aiml_cli.tools.tool import Arguments, ToolError

# A shorter value is no key, and could be the value of many variables.
MIN_KEY_LENGTH = 8
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")


class ArgumentChecker:
    """Checks the arguments of calls against the JSON Schema of a tool's parameters."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = dict(parameters)

    def check(self, arguments: Arguments) -> dict[str, Any]:
        """Return the arguments; raise ToolError if they do not fit.

        Models write null for an optional parameter that they do not use: it is left out where null is no value.
        """
        if not self._find_error(given := dict(arguments)):
            return given
        required = self._parameters.get("required", [])
        given = {name: value for name, value in given.items() if value is not None or name in required}
        if error := self._find_error(given):
            raise ToolError(f"the arguments do not fit the tool's parameters: {error}")
        return given

    @cached_property
    def _find_error(self) -> Callable[[Any], str]:
        from aiml_cli.schema.check import make_checker  # needs jsonschema, which takes 100 ms

        return make_checker(self._parameters)


def build_environment(extra: Mapping[str, str], source: str) -> dict[str, str]:
    """Return the environment of a tool: the user's without the API key and without relative entries of PATH.

    `extra` is added, with `${VARIABLE}` and `${VARIABLE:-default}` replaced. Raises UsageError, which begins with
    `source`, for a variable that is not set, or that is or holds the API key.
    """
    keys = set(_find_keys())
    user = {
        name: value
        for name, value in os.environ.items()
        if not names_key(name) and not any(key in value for key in keys)
    }
    user["PATH"] = os.pathsep.join(absolute_paths(user.get("PATH", os.defpath)))
    added = {name: _expand(value, user, f"{source}: env: {name}") for name, value in extra.items()}
    for name, value in added.items():
        if any(key in value for key in keys):
            raise UsageError(f"{source}: env: {name} holds the API key, which no tool gets")
    return {**user, **added}


def names_key(variable: str) -> bool:
    """True for an environment variable of the API key."""
    return variable.upper() in {name for row in ROWS.values() if row.secret for name in row.variables}


def refuse_key_references(value: str, source: str) -> None:
    """Raise UsageError if a text refers to an environment variable of the API key."""
    for match in _REFERENCE.finditer(value):
        if names_key(match[1]):
            raise UsageError(f"{source}: {match[1]} is the API key, which no tool gets")


def _expand(value: str, environment: Mapping[str, str], source: str) -> str:
    refuse_key_references(value, source)

    def replace(match: re.Match[str]) -> str:
        found = environment.get(match[1]) or match[2]
        if found is None:
            raise UsageError(f"{source}: the variable {match[1]} is not set", f"${{{match[1]}:-}} is empty then")
        return found

    return _REFERENCE.sub(replace, value)


def _find_keys() -> Iterator[str]:
    """Yield the keys of the environment and of the file; a keyring takes 0.1 s, and is not asked."""
    yield from (value for name, value in os.environ.items() if names_key(name) and len(value) >= MIN_KEY_LENGTH)
    import json  # few calls have tools

    path = paths.keys_file()
    with suppress(UsageError, ValueError, AttributeError):
        stored = json.loads((path and read_file(path)) or b"{}")
        yield from (key for key in stored.values() if isinstance(key, str) and len(key) >= MIN_KEY_LENGTH)
