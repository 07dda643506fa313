"""Convert files to text with the user's commands, by extension: [loaders] in the config file."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import FILE_PLACEHOLDER
from aiml_cli.system.child_process import ProcessGroup, ProgramFailed, collect_output, explain_failure, find_program

SECONDS = 30.0
MAX_TEXT_BYTES = 16 * 1024 * 1024  # a program that writes more is stopped
ROOT = "/"  # the working directory of a command, so that it reads nothing from the current one
HINT = "aiml config get loaders shows the command"


class Loaders(NamedTuple):
    """The commands by lower-case extension, and a function that builds their environment without the API key."""

    commands: Mapping[str, Sequence[str]]
    build_environment: Callable[[], Mapping[str, str]]

    def find_extension(self, name: str) -> str:
        """Return the longest extension of a file name that has a command, or "" if there is none."""
        base = name.rpartition("/")[2].lower()
        ends = (base[index + 1 :] for index, char in enumerate(base) if char == "." and index)
        return next((end for end in ends if end in self.commands), "")

    def load(self, name: str, path: Path) -> bytes:
        """Return the text of a file as UTF-8; raise UsageError if its command fails or writes anything else."""
        program, *words = self.commands[self.find_extension(name)]
        found = find_program(program)
        if found is None:
            raise UsageError(f"{name}: its loader {program} is not an executable program", HINT)
        full = os.path.abspath(path)  # noqa: PTH100 - keeps the name of a link, and so its extension
        data = self._run(name, [found, *(word.replace(FILE_PLACEHOLDER, full) for word in words)], program)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{name}: its loader {program} did not write UTF-8 text", HINT) from None
        if not text.strip() and path.stat().st_size:  # such as the scans in a PDF
            raise UsageError(f"{name}: its loader {program} found no text in it", HINT)
        return data

    def _run(self, name: str, command: Sequence[str], program: str) -> bytes:
        encoded = [os.fsencode(word) for word in command]
        try:
            group = ProcessGroup(encoded, self.build_environment(), stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT)
        except ProgramFailed as error:
            raise UsageError(f"{name}: its loader {program} {error.reason}", HINT) from None
        output = collect_output(group, b"", seconds=SECONDS, limit=MAX_TEXT_BYTES)
        if problem := explain_failure(output, SECONDS):
            lines = output.err.decode("utf-8", "replace").strip().splitlines()
            reason = f": {lines[-1].strip()}" if lines else ""
            raise UsageError(f"{name}: its loader {program} failed: {problem}{reason}", HINT)
        return output.out
