"""Find the texts in a folder: what is hidden, a link or no text is left out, and told."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from aiml_cli.errors import Misuse
from aiml_cli.prompt.budget import Budget, size
from aiml_cli.prompt.looks import type_of

MOST_FILES = 1000
MOST_BYTES = 10_000_000


def texts(name: str, folder: Path, budget: Budget, tell: Callable[[str], None]) -> Iterator[tuple[str, bytes]]:
    """Give the name and the bytes of each text file, in order; raise Misuse for too many, or none.

    A link is left out: it may lead out of the folder, to what nobody meant to send.
    """
    paths, hidden, links = _listed(name, folder)
    left, sent, others = MOST_BYTES, 0, 0
    for path in paths:
        data = _text(path, left, name)
        if data is None:
            others += 1
            continue
        left, sent = left - len(data), sent + 1
        budget.spend(name, len(data))
        yield f"{name.rstrip('/')}/{path.relative_to(folder).as_posix()}", data
    if not sent:
        raise Misuse(f"{name}: no text files are in this folder", "name a file")
    left_out = {"hidden": hidden, "not text": others, "linked": links}
    words = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
    tell(f"{name}: {sent} {'file' if sent == 1 else 'files'}, {size(MOST_BYTES - left)}" + _without(words))


def _without(words: str) -> str:
    return f"; left out: {words}" if words else ""


def _listed(name: str, folder: Path) -> tuple[list[Path], int, int]:
    """List the files that can be seen, and count what is hidden and what is a link."""
    found, hidden, links = [], 0, 0
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        here = [*folders, *files]
        hidden += sum(each.startswith(".") for each in here)
        seen = [each for each in here if not each.startswith(".")]
        linked = {each for each in seen if Path(root, each).is_symlink()}
        links += len(linked)
        folders[:] = [each for each in folders if each in seen and each not in linked]
        found += [Path(root, each) for each in files if each in seen and each not in linked]
        if len(found) > MOST_FILES:
            raise Misuse(f"{name}: more than {MOST_FILES:,} files are in this folder", "name a smaller one, or a glob")
    return sorted(found), hidden, links


def _unreadable(fault: OSError) -> NoReturn:
    raise Misuse(f"{fault.filename}: {fault.strerror}", "nothing was sent")


def _text(path: Path, left: int, folder: str) -> bytes | None:
    """Read a file if it is a text; a pipe or a device is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(8192)
            if type_of(head) or (b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))):
                return None
            data = head + file.read(left + 1)
    except OSError as fault:
        _unreadable(fault)
    if len(data) > left:
        raise Misuse(
            f"{folder}: more than {size(MOST_BYTES)} of text are in this folder", "name a smaller one, or a glob"
        )
    return data if b"\0" not in data or data.startswith((b"\xff\xfe", b"\xfe\xff")) else None
