"""Read the bytes that a name stands for: a file, the texts of a folder, the files of a glob, or a URL."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit, decode_text, describe_binary, describe_start, format_size
from aiml_cli.system.atomic_write import open_source

Fetch = Callable[[str], tuple[bytes, str]]
Notify = Callable[[str], None]
SCHEMES = ("http://", "https://")
IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
GLOB_CHARS = "*?["
MAX_FILES = 1000
MAX_SCANNED = 200_000  # entries of folders; a pattern such as /**/x has no end otherwise
MAX_FOLDER_BYTES = 10_000_000


class FileContent(NamedTuple):
    """The bytes of a file or a URL; `charset` is what the server says of them."""

    name: str
    data: bytes
    charset: str = ""


def find_files(name: str, size_limit: SizeLimit, fetch: Fetch, notify: Notify) -> Iterator[FileContent]:
    """Yield the files that a name stands for; raise UsageError if there are none or they cannot be read or sent."""
    if name.lower().startswith(SCHEMES):
        yield _fetch_file(name, size_limit, fetch)
    elif (path := find_path(name)) is None:
        yield from (FileContent(match, read_input_file(match, size_limit)) for match in _expand_glob(name, notify))
    elif path.is_dir():
        yield from _read_folder(name, path, size_limit, notify)
    else:
        yield FileContent(name, read_input_file(name, size_limit))


def is_image_url(name: str) -> bool:
    """True if a name is the URL of an image, which the server can fetch itself."""
    return name.lower().startswith(SCHEMES) and urlsplit(name).path.lower().endswith(IMAGE_EXTENSIONS)


def find_path(name: str) -> Path | None:
    """Return the path that a name means, None if nothing is there."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user, or a zero byte
        return None


def read_input_file(name: str, size_limit: SizeLimit | None = None) -> bytes:
    """Read a file; raise UsageError if it cannot be read or is too large."""
    try:
        with open_source(name) as source:
            return (size_limit or SizeLimit()).read(name, source.read)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}", "nothing was sent") from None


def _fetch_file(url: str, size_limit: SizeLimit, fetch: Fetch) -> FileContent:
    data, media_type = fetch(url)
    size_limit.count(url, len(data))
    charset = media_type.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return FileContent(url, data, charset)


def _expand_glob(name: str, notify: Notify) -> list[str]:
    """Return the files that match, sorted, each once; raise UsageError if there are none or too many.

    Links are followed only to files of the folder that the pattern names: others may be files that nobody meant.
    """
    if not set(name) & set(GLOB_CHARS):
        return [name]
    pattern = str(Path(name).expanduser()) if name.startswith("~") else name
    start = min(pattern.index(char) for char in GLOB_CHARS if char in pattern)
    folder = pattern[: pattern.rfind("/", 0, start) + 1]
    matches = sorted(_match_parts(name, folder, [part for part in pattern[len(folder) :].split("/") if part]))
    files, left_out = _leave_out_links(folder, matches)
    notice = f"{left_out} linked, which are outside of {folder or 'this folder'} or there twice" if left_out else ""
    if not files:
        raise UsageError(f"{name}: no file matches", (notice and f"left out: {notice}") or "nothing was sent")
    if len(files) > MAX_FILES:
        raise UsageError(f"{name}: {len(files):,} files match, and at most {MAX_FILES:,} can be sent", "name fewer")
    if notice:
        notify(f"{name}: {len(files)} {'file' if len(files) == 1 else 'files'}; left out: {notice}")
    return files


def _match_parts(name: str, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield the files that the parts of a pattern match; raise UsageError if the pattern goes through too many."""
    todo = [(folder, tuple(parts))]
    seen, scanned = set(todo), 0
    while todo:
        folder, parts = todo.pop()
        entries = _scan(folder)
        scanned += len(entries)
        if scanned > MAX_SCANNED:
            raise UsageError(f"{name}: the pattern goes through more than {MAX_SCANNED:,} files", "name a folder")
        steps = [(folder, parts[1:])] if parts[0] == "**" and len(parts) > 1 else []
        steps += [(f"{folder}{entry.name}/", rest) for entry in entries for rest in _enter(entry, parts)]
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
        if len(parts) == 1:
            yield from (folder + entry.name for entry in entries if _matches(entry, parts[0]) and Path(entry).is_file())


def _enter(entry: "os.DirEntry[str]", parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what of a pattern is left inside an entry; `**` goes into folders, but not into links."""
    if not _matches(entry, parts[0]):
        return []
    if parts[0] == "**":
        return [parts] if entry.is_dir(follow_symlinks=False) else []
    return [parts[1:]] if len(parts) > 1 and Path(entry).is_dir() else []


def _matches(entry: "os.DirEntry[str]", part: str) -> bool:
    from fnmatch import fnmatchcase  # few names are globs

    return (part.startswith(".") or not entry.name.startswith(".")) and fnmatchcase(entry.name, part)


def _scan(folder: str) -> "list[os.DirEntry[str]]":
    """Return the entries of a folder; one that cannot be read has none, as in a shell."""
    try:
        with os.scandir(folder or ".") as entries:
            return list(entries)
    except OSError:
        return []


def _leave_out_links(folder: str, paths: Iterable[str]) -> tuple[list[str], int]:
    """Return the paths, each file once and under its own name, and the number of links that are left out."""
    root = os.path.realpath(folder or ".")
    inside = root.rstrip("/") + "/"
    own, links = dict[str, str](), list[tuple[str, str]]()
    for path in paths:
        target = os.path.realpath(path)
        if target == inside + path[len(folder) :]:
            own[target] = path
        else:
            links.append((target, path))
    left_out = 0
    for target, path in links:
        if not target.startswith(inside) or own.setdefault(target, path) != path:
            left_out += 1
    return sorted(own.values()), left_out


def _read_folder(name: str, folder: Path, size_limit: SizeLimit, notify: Notify) -> Iterator[FileContent]:
    """Yield the text files of a folder, sorted; raise UsageError if there are none or too many.

    Links are left out: they may lead to files outside that nobody meant to send.
    """
    paths, hidden, links = _list_folder(name, folder)
    left, sent, others = MAX_FOLDER_BYTES, 0, 0
    for path in paths:
        data = _read_if_text(path, left, name)
        if data is None:
            others += 1
            continue
        left, sent = left - len(data), sent + 1
        size_limit.count(name, len(data))
        yield FileContent(f"{name.rstrip('/')}/{path.relative_to(folder).as_posix()}", data)
    if not sent:
        raise UsageError(f"{name}: no text files are in this folder", "name a file")
    counts = {"hidden": hidden, "not text": others, "linked": links}
    left_out = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    size = format_size(MAX_FOLDER_BYTES - left)
    notify(f"{name}: {sent} {'file' if sent == 1 else 'files'}, {size}" + (left_out and f"; left out: {left_out}"))


def _list_folder(name: str, folder: Path) -> tuple[list[Path], int, int]:
    """Return the sorted visible files of a folder, and the numbers of hidden names and of links."""
    paths, hidden, links = [], 0, 0
    for root, folders, files in os.walk(folder, onerror=_raise_unreadable):
        visible = [entry for entry in (*folders, *files) if not entry.startswith(".")]
        hidden += len(folders) + len(files) - len(visible)
        kept = {entry for entry in visible if not Path(root, entry).is_symlink()}
        links += len(visible) - len(kept)
        folders[:] = [entry for entry in folders if entry in kept]
        paths += [Path(root, entry) for entry in files if entry in kept]
        if len(paths) > MAX_FILES:
            raise UsageError(
                f"{name}: more than {MAX_FILES:,} files are in this folder", "name a smaller one, or a glob"
            )
    return sorted(paths), hidden, links


def _raise_unreadable(error: OSError) -> NoReturn:
    raise UsageError(f"{error.filename}: {error.strerror}", "nothing was sent")


def _read_if_text(path: Path, left: int, folder: str) -> bytes | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(8192)
            if describe_start(head):
                return None
            data = head + file.read(left + 1)
    except OSError as error:
        _raise_unreadable(error)
    if len(data) > left:
        raise UsageError(
            f"{folder}: more than {format_size(MAX_FOLDER_BYTES)} of text are in this folder",
            "name a smaller one, or a glob",
        )
    return None if describe_binary(data) else data


def read_at_file(text: str) -> str:
    """Return the text of the file that `@name` names, or any other text unchanged."""
    return decode_text(read_input_file(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text
