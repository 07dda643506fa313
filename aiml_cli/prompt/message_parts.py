"""Build the parts of a message: tagged texts, images, PDFs and audio from words, standard input and files."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiml_cli.api.messages import Document, Image, Part, Sound
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import (
    AUDIO_FORMATS,
    MAX_ATTACHMENT_BYTES,
    SizeLimit,
    decode_text,
    detect_type,
    format_size,
)
from aiml_cli.prompt.file_sources import FileContent, FileFinder, Notify, is_image_url

CheckText = Callable[[str, str], None]
FitInputs = Callable[["PromptParts"], Sequence[str]]


class Attachment(NamedTuple):
    """A part that is not text: its name, media type, and size in bytes (None if it is a URL)."""

    name: str
    media_type: str
    size: int | None

    def __str__(self) -> str:
        facts = self.media_type if self.size is None else f"{self.media_type}, {format_size(self.size)}"
        return f"{self.name} ({facts})"


def make_part(name: str, data: bytes, media_type: str, detail: str | None) -> tuple[Part, Attachment]:
    """Return the part for an image, a PDF or audio; raise UsageError if it is too large to attach."""
    if len(data) > MAX_ATTACHMENT_BYTES:
        raise UsageError(
            f"{name}: {format_size(len(data))}; at most {format_size(MAX_ATTACHMENT_BYTES)} can be attached",
            "make it smaller",
        )
    from base64 import b64encode  # most prompts are text

    encoded, attachment = b64encode(data).decode("ascii"), Attachment(name, media_type, len(data))
    if media_type in AUDIO_FORMATS:
        return Sound(encoded, AUDIO_FORMATS[media_type]), attachment
    if media_type == "application/pdf":
        return Document(_make_file_name(name), encoded), attachment
    return Image(f"data:{media_type};base64,{encoded}", detail), attachment


def _make_file_name(name: str) -> str:
    """Return the last part of a path or URL; servers read the type from its extension."""
    last = _replace_unsafe(name.partition("?")[0].rstrip("/").rpartition("/")[2]) or "document"
    return last if last.lower().endswith(".pdf") else f"{last}.pdf"


def _replace_unsafe(name: str) -> str:
    """Replace the characters of a file name that could end a tag or a line, or are not valid UTF-8."""
    return "".join(char if char.isprintable() and char not in '"<>' else "_" for char in name)


def wrap_in_tag(tag: str, text: str, name: str = "") -> tuple[str, str, str]:
    """Enclose text in a tag, which is lengthened until the text does not contain its end tag.

    The three parts are joined later, so that a large text is copied only once.
    """
    while f"</{tag}>" in text:
        tag += "_"
    attribute = f' name="{_replace_unsafe(name)}"' if name else ""
    return f"<{tag}{attribute}>\n", text, f"{'' if text.endswith(chr(10)) else chr(10)}</{tag}>"


class InputText(NamedTuple):
    """A text that was not typed, and its name."""

    name: str
    text: str


class PromptParts(NamedTuple):
    """The parts of a message: the inputs, which can be shortened, and the other texts, which cannot."""

    inputs: Sequence[InputText]
    other_texts: Sequence[str]
    image_count: int


class _Piece(NamedTuple):
    """Texts that will be joined, or a part that is not text; `inputs` are indexes of texts that were not typed."""

    texts: tuple[str, ...]
    part: Part | None = None
    attachment: Attachment | None = None
    name: str = ""
    inputs: tuple[int, ...] = ()


class _StdinContent(NamedTuple):
    """Standard input: its text, or the bytes and the media type of data that is not text."""

    text: str
    data: bytes = b""
    media_type: str = ""


class PartReader(NamedTuple):
    """Reads names and bytes; `detail` is the detail of images, `check_text` is called with each text.

    `timeout` limits the wait for standard input if there is also a prompt.
    """

    finder: FileFinder
    notify: Notify
    check_text: CheckText | None
    detail: str | None
    size_limit: SizeLimit
    timeout: stdin.StdinTimeout | None = None

    def read_name(self, name: str) -> list[_Piece]:
        """Return the pieces of a file, a folder, a glob or a URL."""
        if is_image_url(name):
            return [_Piece((), Image(name, self.detail), Attachment(name, "image", None))]
        return [self.make_piece(content) for content in self.finder.find(name)]

    def make_piece(self, content: FileContent) -> _Piece:
        """Return the piece of a file: an attachment, or text in a tag."""
        if media_type := detect_type(content.data):
            return _Piece((), *make_part(content.name, content.data, media_type, self.detail))
        return _Piece(wrap_in_tag("file", self._decode(content), content.name), name=content.name, inputs=(1,))

    def read_stdin(self, *, is_named: bool) -> _StdinContent:
        """Read standard input to its end; if it is named, wait without a limit."""
        data = stdin.read_stdin_text(self.notify, self.size_limit, timeout=None if is_named else self.timeout)
        if isinstance(data, str):
            return _StdinContent(self._decode(FileContent(stdin.NAME, b"", text=data)))
        if media_type := detect_type(data):
            return _StdinContent("", data, media_type)
        return _StdinContent(self._decode(FileContent(stdin.NAME, data)))

    def make_stdin_piece(self, content: _StdinContent, tag: str, name: str = "") -> _Piece:
        """Return the piece of standard input: an attachment, or text in a tag."""
        if content.media_type:
            return _Piece((), *make_part(stdin.NAME, content.data, content.media_type, self.detail))
        return _Piece(wrap_in_tag(tag, content.text, name), name=stdin.NAME, inputs=(1,))

    def _decode(self, content: FileContent) -> str:
        text, notice = content.text, ""
        if not text:
            text, notice = decode_text(content.data, content.name, content.charset)
        if notice:
            self.notify(notice)
        if self.check_text:
            self.check_text(content.name, text)
        return text


def read_parts(
    segments: Sequence[str],
    files: Sequence[str],
    texts: Sequence[FileContent],
    reader: PartReader,
    *,
    is_piped: bool,
    fit_inputs: FitInputs | None,
) -> tuple[tuple[Part, ...], tuple[Attachment, ...]]:
    """Return the parts of a message, with adjacent texts joined, and the attachments among them.

    Files come first, then standard input, and the typed words last. Standard input is between the `segments` of the
    words if there are several. `fit_inputs` selects what to send of the texts that were not typed.
    """
    typed = "".join(segments)
    is_named = typed.strip() in ("", "-") or "-" in files
    piped = reader.read_stdin(is_named=is_named) if is_piped or typed.strip() == "-" or "-" in files else None
    is_blank = piped and not piped.media_type and (not piped.text or piped.text.isspace())
    if is_blank and typed.strip() not in ("", "-"):
        others = "prompt and the files are" if texts or any(name != "-" for name in files) else "prompt is"
        reader.notify(f"{stdin.NAME} was empty; only the {others} sent")
    pieces: list[_Piece] = []
    for name in files:
        if name != "-":
            pieces += reader.read_name(name)
        elif piped:
            pieces.append(reader.make_stdin_piece(piped, "file", stdin.NAME))
    pieces += [reader.make_piece(content) for content in texts]
    pieces += _make_instruction(segments, None if "-" in files else piped, reader)
    pieces = _fit_pieces(pieces, fit_inputs) if fit_inputs else pieces
    return _join_texts(pieces), tuple(piece.attachment for piece in pieces if piece.attachment)


def _make_instruction(segments: Sequence[str], piped: _StdinContent | None, reader: PartReader) -> list[_Piece]:
    """Combine the words and standard input, which precedes them, replaces its placeholder, or is the prompt."""
    if len(segments) > 1:
        if piped and piped.media_type:
            raise UsageError(
                f"{stdin.PLACEHOLDER} is replaced by text, and {stdin.NAME} is {piped.media_type}",
                "leave it out of the prompt",
            )
        between = piped.text if piped else ""
        texts = [text for segment in segments for text in (segment, between)][:-1]
        return [_Piece(tuple(texts), name=stdin.NAME, inputs=tuple(range(1, len(texts), 2)))]
    typed = segments[0]
    has_words = typed.strip() not in ("", "-")
    if piped is None or not (piped.text or piped.media_type):
        return [_Piece((typed,))] if has_words else []
    if has_words:
        return [reader.make_stdin_piece(piped, "stdin"), _Piece((typed,))]
    if piped.media_type:
        return [reader.make_stdin_piece(piped, "stdin")]
    return [_Piece((piped.text,), name=stdin.NAME, inputs=(0,))]


def _fit_pieces(pieces: Sequence[_Piece], fit_inputs: FitInputs) -> list[_Piece]:
    """Replace each input by the part of it that is sent."""
    inputs = [InputText(piece.name, piece.texts[index]) for piece in pieces for index in piece.inputs]
    others = [text for piece in pieces for index, text in enumerate(piece.texts) if index not in piece.inputs]
    image_count = sum(piece.part is not None for piece in pieces)
    fitted = iter(fit_inputs(PromptParts(inputs, others, image_count)) if inputs else ())
    return [
        piece._replace(
            texts=tuple(next(fitted) if index in piece.inputs else text for index, text in enumerate(piece.texts))
        )
        for piece in pieces
    ]


def _join_texts(pieces: Sequence[_Piece]) -> tuple[Part, ...]:
    """Join adjacent texts, and leave out blank ones."""
    parts: list[Part] = []
    texts: list[str] = []
    for piece in [*pieces, None]:
        if piece and piece.part is None:
            texts += ["\n\n", *piece.texts] if texts else piece.texts
            continue
        if any(text and not text.isspace() for text in texts):
            parts.append("".join(texts))
        texts = []
        if piece and piece.part is not None:
            parts.append(piece.part)
    return tuple(parts)
