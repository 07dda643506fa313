"""Read the files that rows name, as with `@{path}` in the prompt: each when its row is sent."""

from collections.abc import Sequence
from hashlib import blake2b
from threading import local
from typing import NamedTuple, NoReturn

from aiml_cli.api.messages import Part
from aiml_cli.batch.rows import Row
from aiml_cli.catalog.check_request import check_attachments
from aiml_cli.core.build_conversation import make_loaders
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import MAX_INPUT_BYTES, SizeLimit
from aiml_cli.prompt.file_sources import FileContent, FileFinder, find_path, is_url
from aiml_cli.prompt.message_parts import Attachment, PartReader, read_parts
from aiml_cli.system.atomic_write import open_source

DIGEST_SIZE = 12
MAX_SHOWN_LENGTH = 200
TEXT_HINT = "write @@ instead of @ to send it as text"


class RowFiles(NamedTuple):
    """The files of a row: the parts of its message, their texts with their names, and a digest of all bytes."""

    parts: tuple[Part, ...] = ()
    texts: Sequence[tuple[str, str]] = ()
    digest: bytes = b""


class RowFileReader:
    """Reads the files of rows. Thread-safe: each thread keeps the files of its row until `take`."""

    def __init__(self, request: ChatRequest) -> None:
        self._request, self._loaders = request, make_loaders(request.options)
        self._accepted, self._has_notified = set[str](), False
        self._kept = local()

    def read(self, row: Row, names: Sequence[str]) -> RowFiles:
        """Return the files of a row; raise UsageError if one of them cannot be sent.

        They are kept for this thread: hashing and sending the row read them only once.
        """
        if not names:  # none of the braces is a placeholder
            return RowFiles()
        if getattr(self._kept, "row", None) is not row:
            self._kept.files, self._kept.row = self._try(names), row
        files: RowFiles | UsageError = self._kept.files
        if isinstance(files, UsageError):
            raise files
        return files

    def take(self, row: Row, names: Sequence[str]) -> RowFiles:
        """Return the files of a row as `read` does, and stop keeping them."""
        files = self.read(row, names)
        vars(self._kept).clear()
        return files

    def _try(self, names: Sequence[str]) -> RowFiles | UsageError:
        try:
            return self._read(names)
        except UsageError as error:
            return error

    def _read(self, names: Sequence[str]) -> RowFiles:
        size_limit, texts = SizeLimit(), list[tuple[str, str]]()
        contents = [self._read_file(name, size_limit) for name in dict.fromkeys(names)]
        finder = FileFinder(size_limit, _never_fetch, self._notify_once)  # finds nothing: the files are read already
        reader = PartReader(
            finder, self._notify_once, lambda *text: texts.append(text), self._request.options.detail, size_limit
        )
        parts, attachments = read_parts([""], (), contents, reader, is_piped=False, fit_inputs=None)
        self._check(attachments)
        return RowFiles(parts, texts, self._hash(contents))

    def _read_file(self, name: str, size_limit: SizeLimit) -> FileContent:
        """Return the bytes of a regular file, or the text that its loader returns."""
        name = trim_name(name)
        path, shown = find_path(name) if name else None, _shorten(name)
        if path is None:
            raise _build_missing_error(name, shown)
        if not (path.is_file() or path.is_dir()):  # opening a pipe may wake the process at its other end
            raise UsageError(f"{shown}: not a regular file")
        try:
            with open_source(name) as source:
                source.require_regular()
                source.refuse_larger(MAX_INPUT_BYTES)
                if not (self._loaders and self._loaders.find_extension(path.name)):
                    return FileContent(name, size_limit.read(shown, source.read))
        except OSError as error:
            raise UsageError(f"{shown}: {error.strerror or error}") from None
        data = self._loaders.load(name, path)
        size_limit.count(shown, len(data))
        return FileContent(name, data)

    def _notify_once(self, notice: str) -> None:
        """Print only the first notice, because a million rows may cause the same one."""
        if not self._has_notified:
            self._has_notified = True
            self._request.notify(notice)

    def _check(self, attachments: Sequence[Attachment]) -> None:
        """Raise UsageError if the model rejects an attachment; the catalog is read once for each media type."""
        if new := [attachment for attachment in attachments if attachment.media_type not in self._accepted]:
            check_attachments(new, self._request.settings, self._request.endpoint.name)
            self._accepted.update(attachment.media_type for attachment in new)

    def _hash(self, contents: Sequence[FileContent]) -> bytes:
        digest = blake2b(str(self._request.options.detail).encode(), digest_size=DIGEST_SIZE)
        for content in contents:
            digest.update(len(content.data).to_bytes(8, "big"))
            digest.update(content.data)
        return digest.digest()


def trim_name(name: str) -> str:
    """Return the name without spaces around it, as CSV may have after commas, unless a file has that name."""
    return name if name.strip() and find_path(name) else name.strip()


def _build_missing_error(name: str, shown: str) -> UsageError:
    if not name:
        return UsageError("the row does not name a file", TEXT_HINT)
    if is_url(name):
        return UsageError(f"{shown}: a row cannot name a URL", "download it, and name the file")
    return UsageError(f"{shown}: no such file", TEXT_HINT)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_SHOWN_LENGTH else f"{name[:MAX_SHOWN_LENGTH]}…"


def _never_fetch(_url: str) -> NoReturn:
    raise AssertionError("rows cannot name URLs")
