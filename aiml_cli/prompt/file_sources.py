"""Find the bytes that a name stands for: a file's, those of a folder's texts, of a glob's files, of an address."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit, detect_type, format_size

Fetch = Callable[[str], tuple[bytes, str]]
Notify = Callable[[str], None]
SCHEMES = ("http://", "https://")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
MOST_FILES = 1000
MOST_BYTES = 10_000_000


class FileContent(NamedTuple):
    """Hold what was found under a name; `charset` is what a server said of it."""

    name: str
    data: bytes
    charset: str = ""


def find_files(name: str, budget: SizeLimit, fetch: Fetch, tell: Notify) -> Iterator[FileContent]:
    """Give what a name stands for; raise UsageError when that is nothing, cannot be read, or is too much."""
    if name.lower().startswith(SCHEMES):
        yield _fetched(name, budget, fetch)
    elif (path := existing_path(name)) is None:
        yield from (FileContent(each, read_input_file(each, budget)) for each in _matches(name))
    elif path.is_dir():
        yield from (FileContent(each, data) for each, data in read_folder(name, path, budget, tell))
    else:
        yield FileContent(name, read_input_file(name, budget))


def is_image_url(name: str) -> bool:
    """Say whether a name is the address of an image, which the server can fetch itself."""
    return name.lower().startswith(SCHEMES) and urlsplit(name).path.lower().endswith(IMAGE_ENDINGS)


def existing_path(name: str) -> Path | None:
    """Give the path that a name means, if something is there."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long a name; no such user; a zero in it
        return None


def read_input_file(name: str, budget: SizeLimit | None = None) -> bytes:
    """Read a file; raise UsageError when it cannot be read, or is too large."""
    try:
        with Path(name).expanduser().open("rb", buffering=0) as file:
            return (budget or SizeLimit()).read(name, lambda most: file.read(most) or b"")
    except (OSError, RuntimeError, ValueError) as fault:
        raise UsageError(f"{name}: {getattr(fault, 'strerror', None) or fault}", "nothing was sent") from None


def _fetched(url: str, budget: SizeLimit, fetch: Fetch) -> FileContent:
    data, kind = fetch(url)
    budget.count(url, len(data))
    charset = kind.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return FileContent(url, data, charset)


def _matches(name: str) -> list[str]:
    """List the files that a glob means; a name that is no glob is its own only match."""
    if not set(name) & set("*?["):
        return [name]
    from glob import iglob  # few names are globs

    pattern = str(Path(name).expanduser()) if name.startswith("~") else name
    every = iglob(pattern, recursive=True)  # noqa: PTH207 - a Path's own finds hidden files too
    found = sorted(each for each in every if Path(each).is_file())
    if not found:
        raise UsageError(f"{name}: no file matches", "nothing was sent")
    if len(found) > MOST_FILES:
        raise UsageError(f"{name}: {len(found):,} files match, and at most {MOST_FILES:,} can be sent", "name fewer")
    return found


def read_folder(name: str, folder: Path, budget: SizeLimit, tell: Callable[[str], None]) -> Iterator[tuple[str, bytes]]:
    """Give the name and the bytes of each text file, in order; raise UsageError for too many, or none.

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
        budget.count(name, len(data))
        yield f"{name.rstrip('/')}/{path.relative_to(folder).as_posix()}", data
    if not sent:
        raise UsageError(f"{name}: no text files are in this folder", "name a file")
    left_out = {"hidden": hidden, "not text": others, "linked": links}
    words = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
    tell(f"{name}: {sent} {'file' if sent == 1 else 'files'}, {format_size(MOST_BYTES - left)}" + _without(words))


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
            raise UsageError(
                f"{name}: more than {MOST_FILES:,} files are in this folder", "name a smaller one, or a glob"
            )
    return sorted(found), hidden, links


def _unreadable(fault: OSError) -> NoReturn:
    raise UsageError(f"{fault.filename}: {fault.strerror}", "nothing was sent")


def _text(path: Path, left: int, folder: str) -> bytes | None:
    """Read a file if it is a text; a pipe or a device is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(8192)
            if detect_type(head) or (b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))):
                return None
            data = head + file.read(left + 1)
    except OSError as fault:
        _unreadable(fault)
    if len(data) > left:
        raise UsageError(
            f"{folder}: more than {format_size(MOST_BYTES)} of text are in this folder", "name a smaller one, or a glob"
        )
    return data if b"\0" not in data or data.startswith((b"\xff\xfe", b"\xfe\xff")) else None
