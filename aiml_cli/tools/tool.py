"""The common parts of all kinds of tools: definition, call, checked arguments, environment, result."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from aiml_cli.api.json_values import Json
from aiml_cli.api.messages import Image, Sound
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS
from aiml_cli.store import paths
from aiml_cli.system.atomic_write import read_file
from aiml_cli.system.child_process import absolute_paths

Arguments = Mapping[str, Any]
# Only the beginning of a longer result is sent to the model.
MAX_RESULT_BYTES = 64 * 1024
# A shorter value is not a key, and could be the value of many variables.
MIN_KEY_LENGTH = 8
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")


class CallResult(NamedTuple):
    """The result of a call: text, and the images and audio that are sent to the model with it."""

    text: str
    is_error: bool = False
    media: tuple[Image | Sound, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of a tool for the model.

    `name` is shown to the user and matched by --allow: `weather`, or `fs.read_file` of the server `fs`. `parameters`
    is a JSON Schema of an object. `hints` come from the tool's author, such as "read-only"; they are shown but
    not trusted.
    """

    name: str
    description: str
    parameters: Mapping[str, Json]
    hints: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return a hash that changes with any part of the definition."""
        text = repr((self.name, self.description, self.parameters, self.hints))
        return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


class Tool(Protocol):
    """Something that the model can call; thread-safe."""

    @property
    def definition(self) -> Definition:
        """Return the definition that is sent to the model."""

    def preview(self, arguments: Arguments) -> str:
        """Return the complete call as it would run, for the approval; raise ToolError if it cannot run."""

    def call(self, arguments: Arguments) -> CallResult:
        """Run the tool and return its result, or a failure with `is_error`. Closing its source ends the call."""


class ToolSource(Protocol):
    """A tool file or a server, with the processes it needs; usable once `wait_until_ready` has returned.

    `label` names it in messages: `weather`, `tools.py`, `mcp:fs`.
    """

    label: str

    def start(self) -> None:
        """Start the processes, without waiting for them."""

    def wait_until_ready(self) -> None:
        """Wait until the tools are known; raise UsageError if that takes too long."""

    def list_tools(self) -> Sequence[Tool]:
        """Return the current tools."""

    def cancel_calls(self) -> None:
        """End the running calls; later calls work, and restart processes that were ended."""

    def close(self) -> None:
        """End the processes and the running calls."""


class ToolError(Exception):
    """A call that cannot run; `args[0]` says why, to the model and to the user."""


def cut_result(text: str, size: int = 0) -> str:
    """Return the beginning of a long result, and a line that says how much was left out.

    `size` is the total number of bytes, if `text` does not contain all of them.
    """
    data = text.encode("utf-8", "replace")
    size = max(size, len(data))
    if size <= MAX_RESULT_BYTES:
        return text
    head = data[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return f"{head}\n[cut here: the first {MAX_RESULT_BYTES // 1024} KiB of {size // 1024} KiB]"


class ArgumentChecker:
    """Checks the arguments of calls against the JSON Schema of a tool's parameters."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = dict(parameters)

    def check(self, arguments: Arguments) -> dict[str, Any]:
        """Return the arguments; raise ToolError if they do not fit.

        Models write null for an optional parameter that they do not use: it is left out if null is not allowed.
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

    `extra` is added, with `${VARIABLE}` and `${VARIABLE:-default}` replaced. Raises UsageError, whose message begins
    with `source`, for a variable that is not set, or that is or contains the API key.
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
            raise UsageError(f"{source}: env: {name} contains the API key, which is never passed to a tool")
    return {**user, **added}


def names_key(variable: str) -> bool:
    """True for the name of an environment variable of the API key."""
    return variable.upper() in {name for row in ROWS.values() if row.secret for name in row.variables}


def refuse_key_references(value: str, source: str) -> None:
    """Raise UsageError if a string refers to an environment variable of the API key."""
    for match in _REFERENCE.finditer(value):
        if names_key(match[1]):
            raise UsageError(f"{source}: {match[1]} is the API key, which is never passed to a tool")


def _expand(value: str, environment: Mapping[str, str], source: str) -> str:
    refuse_key_references(value, source)

    def replace(match: re.Match[str]) -> str:
        found = environment.get(match[1]) or match[2]
        if found is None:
            hint = f"set it, or write ${{{match[1]}:-}} to leave it empty"
            raise UsageError(f"{source}: the variable {match[1]} is not set", hint)
        return found

    return _REFERENCE.sub(replace, value)


def _find_keys() -> Iterator[str]:
    """Yield the keys in the environment and in the key file; a keyring is not read, because it takes 0.1 s."""
    yield from (value for name, value in os.environ.items() if names_key(name) and len(value) >= MIN_KEY_LENGTH)
    import json  # few calls have tools

    path = paths.keys_file()
    with suppress(UsageError, ValueError, AttributeError):
        stored = json.loads((path and read_file(path)) or b"{}")
        yield from (key for key in stored.values() if isinstance(key, str) and len(key) >= MIN_KEY_LENGTH)
