"""Write what is known of an answer, but for what it says, to a JSON file."""

from collections.abc import Iterable
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.errors import Misuse
from aiml_cli.screen.file import OutputFile
from aiml_cli.screen.json import as_object, line

FIELDS = (
    "endpoint", "model", "id", "finish_reason", "complete", "usage", "cost_usd", "cost_source", "timing",
    "request_id", "status", "attempts", "error",
)  # fmt: skip


class MetaFile:
    """Write the file of `--meta`, whole, whatever the answer became.

    It is opened at once: raises Misuse where it cannot be written, before anything is paid for.
    """

    def __init__(self, name: str) -> None:
        self._file = OutputFile(name)

    def close(self, answer: Answer) -> None:
        """Write the file; raise OutputFailed."""
        self._put(_known(answer))

    def close_all(self, answers: Iterable[Answer]) -> None:
        """Write what is known of several answers; raise OutputFailed."""
        self._put([_known(answer) for answer in answers])

    def _put(self, known: Any) -> None:
        self._file.write(line(known, indent=2))
        self._file.close(complete=True)


def _known(answer: Answer) -> dict[str, Any]:
    known = as_object(answer)
    return {name: known[name] for name in FIELDS}


def opened(name: str, answer: OutputFile | None) -> MetaFile:
    """Open the file; raise Misuse where that cannot be, and leave the answer's own file as it was."""
    try:
        if answer and answer.is_for(name):
            raise Misuse(f"{name}: --output and --meta name the same file", "nothing was sent")
        return MetaFile(name)
    except Misuse:
        if answer:
            answer.close(complete=False)
        raise
