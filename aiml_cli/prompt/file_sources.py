"""Read the content of a named source: a file, the text files of a folder, the files of a glob, or a URL."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import (
    SizeLimit,
    decode_text,
    describe_binary,
    describe_start,
    format_size,
)
from aiml_cli.system.atomic_write import open_source

if TYPE_CHECKING:
    from aiml_cli.prompt.loaders import Loaders

    Entry = os.DirEntry[str]

Content = TypeVar("Content")
Fetch = Callable[[str], tuple[bytes, str]]
Notify = Callable[[str], None]
RAW = "raw:"  # before a URL: the content is sent without conversion
SCHEMES = ("http://", "https://", f"{RAW}http://", f"{RAW}https://")
IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
GLOB_CHARS = "*?["
MAX_FILES = 1000
MAX_SCANNED = 200_000  # entries of folders; otherwise a pattern such as /**/x would run endlessly
MAX_FOLDER_BYTES = 10_000_000
IGNORED = "ignored by Git"


class FileContent(NamedTuple):
    """The bytes of a file or a URL; `charset` is from the server.

    If they are decoded already, `text` is the complete text, and `data` is empty.
    """

    name: str
    data: bytes
    charset: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class FileFinder:
    """Finds the files for names; a file that is named several times is found once.

    `fetch` returns the bytes and the media type of a URL, `notify` prints a notice.
    """

    size_limit: SizeLimit
    fetch: Fetch
    notify: Notify
    loaders: "Loaders | None" = None
    _found: set[str] = field(default_factory=set)

    def find(self, name: str) -> Iterator[FileContent]:
        """Yield the files for a name; raise UsageError if there are none or they cannot be read or sent."""
        path = find_path(name)
        if is_url(name) and not (path and name.lower().startswith(RAW)):
            if self._is_new(name):
                yield self._fetch_file(name)
        elif path is None:
            yield from self._read_glob(name)
        elif path.is_dir():
            yield from self._read_folder(name, path)
        elif self._is_new(name, path):
            yield self._read_file(name, path)

    def _is_new(self, name: str, path: Path | None = None) -> bool:
        """True if a file or a URL has not been found before; print a notice otherwise."""
        if is_new := self._remember(path or name.partition("#")[0]):
            return is_new
        self.notify(f"{name} is already sent, so it is left out here")
        return False

    def _remember(self, source: Path | str) -> bool:
        """Remember a regular file or a URL; return whether it is new, as a pipe always is."""
        if isinstance(source, Path):
            if not source.is_file():
                return True
            source = os.path.realpath(source)
        is_new = source not in self._found
        self._found.add(source)
        return is_new

    def _read_file(self, name: str, path: Path) -> FileContent:
        if not self._has_loader(path):
            return self._read_text(name)
        content = self._load(name, path)
        self.notify(f"{name}: sends the text from its loader, {format_size(len(content.data))}")
        return content

    def _read_text(self, name: str) -> FileContent:
        content = _read_source(name, self.size_limit.read_text)
        return FileContent(name, b"", text=content) if isinstance(content, str) else FileContent(name, content)

    def _has_loader(self, path: Path) -> bool:
        return bool(self.loaders and self.loaders.find_extension(path.name) and path.is_file())

    def _load(self, name: str, path: Path) -> FileContent:
        data = self.loaders.load(name, path) if self.loaders else b""
        self.size_limit.count(name, len(data))
        return FileContent(name, data)

    def _fetch_file(self, name: str) -> FileContent:
        """Return the content of a URL; a page becomes Markdown unless the name begins with `raw:`."""
        url = name[len(RAW) :] if name.lower().startswith(RAW) else name
        data, media_type = self.fetch(url)
        self.size_limit.count(url, len(data))
        charset = media_type.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
        from aiml_cli.prompt.html_to_markdown import convert_html, is_html  # few prompts name a URL

        if url != name or not is_html(data, media_type):
            return FileContent(url, data, charset)
        text = convert_html(data, url, charset)
        sizes = f"{format_size(len(data))} of HTML as {format_size(len(text))} of Markdown"
        self.notify(f"{url}: sends {sizes}; {RAW}{url} sends the HTML")
        return FileContent(url, text, "utf-8")

    def _read_glob(self, name: str) -> Iterator[FileContent]:
        loaded = 0
        for match in _expand_glob(name, self.notify):
            path = find_path(match) or Path(match)
            if match != name and not self._remember(path):
                continue
            is_loaded = self._has_loader(path)
            loaded += is_loaded
            yield self._load(match, path) if is_loaded else self._read_text(match)
        if loaded:
            self.notify(f"{name}: {loaded} read by loaders")

    def _read_folder(self, name: str, folder: Path) -> Iterator[FileContent]:
        """Yield the text files of a folder, sorted; raise UsageError if there are none or too many.

        Links are left out: they may lead to files outside the folder.
        """
        listing = list_folder(name, folder)
        left, sent, counts = MAX_FOLDER_BYTES, 0, {"read by loaders": 0, "not text": 0, "sent already": 0}
        for path in listing.paths:
            label, is_loaded = f"{name.rstrip('/')}/{path.relative_to(folder).as_posix()}", self._has_loader(path)
            if not self._remember(path):
                counts["sent already"] += 1
                continue
            data = self._load(label, path).data if is_loaded else _read_if_text(path, left, name)
            if data is None:
                counts["not text"] += 1
                continue
            counts["read by loaders"] += is_loaded
            left, sent = _subtract(left, data, name), sent + 1
            if not is_loaded:
                self.size_limit.count(name, len(data))
            yield FileContent(label, data)
        loaded = counts.pop("read by loaders")
        counts = {"hidden": listing.hidden, **counts, "linked": listing.links, IGNORED: listing.ignored}
        left_out = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        if not sent and not counts["sent already"]:
            raise UsageError(f"{name}: this folder contains no text files", _explain_empty(left_out, listing.ignored))
        size = format_size(MAX_FOLDER_BYTES - left) + (f", {loaded} read by loaders" if loaded else "")
        self.notify(f"{name}: {_count_files(sent)}, {size}" + (left_out and f"; left out: {left_out}"))


def _explain_empty(left_out: str, ignored: int) -> str:
    return f"left out: {left_out}; name a file itself to send it" if ignored else "name a file"


def _count_files(count: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}"


def _subtract(left: int, data: bytes, folder: str) -> int:
    """Return how many bytes of a folder may still be sent; raise UsageError if `data` is too long."""
    if len(data) > left:
        raise UsageError(
            f"{folder}: this folder contains more than {format_size(MAX_FOLDER_BYTES)} of text",
            "use a smaller folder, or a glob",
        )
    return left - len(data)


def is_url(name: str) -> bool:
    """True if a name is the URL of something to download, with or without `raw:` before it."""
    return name.lower().startswith(SCHEMES)


def is_image_url(name: str) -> bool:
    """True if a name is the URL of an image, which the server can fetch itself."""
    return is_url(name) and not name.lower().startswith(RAW) and urlsplit(name).path.lower().endswith(IMAGE_EXTENSIONS)


def find_path(name: str) -> Path | None:
    """Return the path for a name, or None if nothing exists there."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user, or a NUL byte
        return None


def read_input_file(name: str, size_limit: SizeLimit | None = None) -> bytes:
    """Read a file; raise UsageError if it cannot be read or is too large."""
    return _read_source(name, (size_limit or SizeLimit()).read)


def _read_source(name: str, read: Callable[[str, Callable[[int], bytes]], Content]) -> Content:
    try:
        with open_source(name) as source:
            return read(name, source.read)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from None


def _expand_glob(name: str, notify: Notify) -> list[str]:
    """Return the files that match, sorted, each once; raise UsageError if there are none or too many.

    Links are followed only to files in the folder that the pattern names.
    """
    if not set(name) & set(GLOB_CHARS):
        return [name]
    pattern = str(Path(name).expanduser()) if name.startswith("~") else name
    start = min(pattern.index(char) for char in GLOB_CHARS if char in pattern)
    folder = pattern[: pattern.rfind("/", 0, start) + 1]
    ignored = set[str]()
    parts = [part for part in pattern[len(folder) :].split("/") if part]
    files, links = _leave_out_links(folder, sorted(_match_parts(name, folder, parts, ignored)))
    linked = f"{links} linked (outside of {folder or 'this folder'}, or duplicates)" if links else ""
    notice = ", ".join(filter(None, (linked, f"{len(ignored)} {IGNORED}" if ignored else "")))
    if not files:
        raise UsageError(f"{name}: no file matches", f"left out: {notice}" if notice else "")
    if len(files) > MAX_FILES:
        raise UsageError(f"{name}: {len(files):,} files match; at most {MAX_FILES:,} can be sent", "narrow the glob")
    if notice:
        notify(f"{name}: {_count_files(len(files))}; left out: {notice}")
    return files


def _match_parts(name: str, folder: str, parts: Sequence[str], ignored: set[str]) -> Iterator[str]:
    """Yield the files that the parts of a pattern match; raise UsageError if too many entries are scanned.

    From `**` on, files that Git ignores are left out and added to `ignored`.
    """
    is_ignored = _make_filter(folder, parts, ignored)
    todo = [(folder, tuple(parts))]
    seen, scanned = set(todo), 0
    while todo:
        folder, parts = todo.pop()
        entries = _scan(folder)
        scanned += len(entries)
        if scanned > MAX_SCANNED:
            raise UsageError(f"{name}: the pattern would search more than {MAX_SCANNED:,} files", "name a folder")
        steps = [(folder, parts[1:])] if parts[0] == "**" and len(parts) > 1 else []
        entries = [entry for entry in entries if _may_match(entry, parts) and not is_ignored(folder, entry, parts)]
        steps += [(f"{folder}{entry.name}/", rest) for entry in entries for rest in _enter(entry, parts)]
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
        if len(parts) == 1:
            yield from (folder + entry.name for entry in entries if Path(entry).is_file())


def _make_filter(start: str, parts: Sequence[str], ignored: set[str]) -> "Callable[[str, Entry, Sequence[str]], bool]":
    """Return a function that returns True if Git ignores an entry of a folder, and adds the entry to `ignored`.

    An entry is not ignored before `**`, or if its part of the pattern begins with a dot: the user has named it.
    """
    if "**" not in parts:
        return lambda _folder, _entry, _rest: False
    from aiml_cli.prompt.gitignore import IgnoreRules  # few prompts have a pattern

    rules, deepest = IgnoreRules(start), len(parts) - list(parts).index("**")

    def is_ignored(folder: str, entry: "Entry", rest: Sequence[str]) -> bool:
        if len(rest) > deepest or rest[0].startswith("."):
            return False
        path = folder + entry.name
        found = rules.is_ignored(path[len(start) :], is_dir=entry.is_dir(follow_symlinks=False))
        if found:
            ignored.add(path)
        return found

    return is_ignored


def _enter(entry: "Entry", parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the remaining parts of a pattern inside an entry; `**` descends into folders, but not into links."""
    if parts[0] == "**":
        return [parts] if entry.is_dir(follow_symlinks=False) else []
    return [parts[1:]] if len(parts) > 1 else []


def _may_match(entry: "Entry", parts: Sequence[str]) -> bool:
    """True if an entry matches the first part of a pattern, and is a folder if there are more."""
    from fnmatch import fnmatchcase  # few names are globs

    is_visible = parts[0].startswith(".") or not entry.name.startswith(".")
    return is_visible and fnmatchcase(entry.name, parts[0]) and (len(parts) == 1 or Path(entry).is_dir())


def _scan(folder: str) -> "list[os.DirEntry[str]]":
    """Return the entries of a folder; a folder that cannot be read has none, as in a shell."""
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


class FolderListing(NamedTuple):
    """The sorted visible files of a folder, and the number of names that are left out."""

    paths: Sequence[Path]
    hidden: int
    links: int
    ignored: int


def list_folder(name: str, folder: Path) -> FolderListing:
    """Return the files of a folder except hidden, linked and Git-ignored ones; raise UsageError for too many."""
    from aiml_cli.prompt.gitignore import IgnoreRules  # few prompts have a folder

    rules = IgnoreRules(str(folder))
    paths, hidden, links, ignored = [], 0, 0, 0
    for root, folders, files in os.walk(folder, onerror=_raise_unreadable):
        start = root[len(str(folder)) :].lstrip("/")
        start = f"{start}/" if start else ""
        visible = [entry for entry in (*folders, *files) if not entry.startswith(".")]
        hidden += len(folders) + len(files) - len(visible)
        own = [entry for entry in visible if not Path(root, entry).is_symlink()]
        links += len(visible) - len(own)
        inner = set(folders)
        kept = {entry for entry in own if not rules.is_ignored(start + entry, is_dir=entry in inner)}
        ignored += len(own) - len(kept)
        folders[:] = [entry for entry in folders if entry in kept]
        paths += [Path(root, entry) for entry in files if entry in kept]
        if len(paths) > MAX_FILES:
            raise UsageError(
                f"{name}: this folder contains more than {MAX_FILES:,} files", "use a smaller folder, or a glob"
            )
    return FolderListing(sorted(paths), hidden, links, ignored)


def _raise_unreadable(error: OSError) -> NoReturn:
    raise UsageError(f"{error.filename}: {error.strerror}")


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
    _subtract(left, data, folder)
    return None if describe_binary(data) else data


def read_at_file(text: str) -> str:
    """Return the text of the file that `@name` names, or any other text unchanged."""
    return decode_text(read_input_file(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text
