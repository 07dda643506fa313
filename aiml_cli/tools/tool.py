"""What every kind of tool has in common: its definition, how it is called, and the result of a call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from aiml_cli.api.json_values import Json
from aiml_cli.api.messages import Image, Sound

Arguments = Mapping[str, Any]
# Of a longer result only the beginning goes to the model.
MAX_RESULT_BYTES = 64 * 1024


class CallResult(NamedTuple):
    """What a call returned: text, and the images and sounds that go to the model with it."""

    text: str
    is_error: bool = False
    media: tuple[Image | Sound, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """What the model is told of a tool.

    `name` is shown to the user and matched by --allow: `weather`, or `fs.read_file` of the server `fs`. `parameters`
    is a JSON Schema of an object. `hints` is what the tool's author says about it, such as "read-only"; it is shown,
    never trusted.
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
    """Something that the model can call; safe for several threads."""

    @property
    def definition(self) -> Definition:
        """Return what the model is told of it."""

    def preview(self, arguments: Arguments) -> str:
        """Return how a call would run, complete, for the question whether it may; raise ToolError if it cannot run."""

    def call(self, arguments: Arguments) -> CallResult:
        """Run it and return its result; a failure is a result with `is_error`. Closing its source ends the call."""


class ToolSource(Protocol):
    """A tool file or a server, with the processes it needs; usable once `wait_until_ready` has returned.

    `label` names it in messages: `weather`, `tools.py`, `mcp:fs`.
    """

    label: str

    def start(self) -> None:
        """Begin to start, without waiting for anything."""

    def wait_until_ready(self) -> None:
        """Wait until its tools are known; raise UsageError if it does not get ready in time."""

    def list_tools(self) -> Sequence[Tool]:
        """Return its tools as they are now."""

    def cancel_calls(self) -> None:
        """End the calls that still run; later calls work, and start again what was ended."""

    def close(self) -> None:
        """End its processes, and the calls that still run."""


class ToolError(Exception):
    """A call that cannot run; `args[0]` says why, to the model and to the user."""


def cut_result(text: str, size: int = 0) -> str:
    """Return the beginning of a long result, and a line that says how much is missing.

    `size` is how many bytes there were, if not all of them are in `text`.
    """
    data = text.encode("utf-8", "replace")
    size = max(size, len(data))
    if size <= MAX_RESULT_BYTES:
        return text
    head = data[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return f"{head}\n[cut here: the first {MAX_RESULT_BYTES // 1024} KiB of {size // 1024} KiB]"
