"""Compose the next message from words, standard input and files."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiml_cli.api.messages import Image, Part
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.attachments import Attachment, make_part, wrap_in_tag
from aiml_cli.prompt.decode_text import SizeLimit, decode_any_text, decode_text, detect_type
from aiml_cli.prompt.file_sources import (
    SCHEMES,
    Fetch,
    FileContent,
    Notify,
    find_files,
    find_path,
    is_image_url,
    read_input_file,
)

STDIN_PLACEHOLDER = "{stdin}"
STDIN_NAME = "standard input"
CheckText = Callable[[str, str], None]
FitInputs = Callable[["PromptParts"], Sequence[str]]


class InputText(NamedTuple):
    """A text that was not typed, and its name."""

    name: str
    text: str


class PromptParts(NamedTuple):
    """The parts of a message: the inputs, which can be shortened, and all other texts, which cannot."""

    inputs: Sequence[InputText]
    other_texts: Sequence[str]
    image_count: int


class Prompt(NamedTuple):
    """The parts of a message, with its texts joined, and the attachments among them."""

    parts: tuple[Part, ...]
    attachments: tuple[Attachment, ...]


class _Piece(NamedTuple):
    """Texts that will be joined, or a part that is not text; `inputs` are the indexes of texts that were not typed."""

    texts: tuple[str, ...]
    part: Part | None = None
    attachment: Attachment | None = None
    name: str = ""
    inputs: tuple[int, ...] = ()


class _StdinContent(NamedTuple):
    """Standard input: its text, or the bytes and the media type of what is not text."""

    text: str
    data: bytes = b""
    media_type: str = ""


class _Composer(NamedTuple):
    """What turns names and bytes into pieces; `detail` is how closely the model looks at images."""

    fetch: Fetch
    notify: Notify
    check_text: CheckText | None
    detail: str | None
    size_limit: SizeLimit

    def read_name(self, name: str) -> list[_Piece]:
        if is_image_url(name):
            return [_Piece((), Image(name, self.detail), Attachment(name, "image", None))]
        return [self.make_piece(content) for content in find_files(name, self.size_limit, self.fetch, self.notify)]

    def make_piece(self, content: FileContent) -> _Piece:
        if media_type := detect_type(content.data):
            return _Piece((), *make_part(content.name, content.data, media_type, self.detail))
        return _Piece(wrap_in_tag("file", self.decode(content), content.name), name=content.name, inputs=(1,))

    def read_stdin(self) -> _StdinContent:
        data = stdin.read_stdin(self.notify, self.size_limit)
        if media_type := detect_type(data):
            return _StdinContent("", data, media_type)
        return _StdinContent(self.decode(FileContent(STDIN_NAME, data)))

    def make_stdin_piece(self, content: _StdinContent, tag: str, name: str = "") -> _Piece:
        if content.media_type:
            return _Piece((), *make_part(STDIN_NAME, content.data, content.media_type, self.detail))
        return _Piece(wrap_in_tag(tag, content.text, name), name=STDIN_NAME, inputs=(1,))

    def decode(self, content: FileContent) -> str:
        text, notice = decode_text(content.data, content.name, content.charset)
        if notice:
            self.notify(notice)
        if self.check_text:
            self.check_text(content.name, text)
        return text


def compose_prompt(
    words: Sequence[str],
    files: Sequence[str],
    *,
    use_stdin: bool,
    notify: Notify,
    fetch: Fetch,
    check_text: CheckText | None = None,
    detail: str | None = None,
    texts: Sequence[FileContent] = (),
    may_be_empty: bool = False,
    fit_inputs: FitInputs | None = None,
) -> Prompt:
    """Compose the prompt: files and texts first, then standard input, the instruction last.

    Without words, standard input is the prompt. `notify` prints a notice. `fetch` returns the bytes and the media type
    of a URL. `check_text` sees each text that was not typed; `fit_inputs` returns what is sent of them.
    Raise UsageError if the prompt is empty or something in it cannot be sent.
    """
    composer = _Composer(fetch, notify, check_text, detail, SizeLimit())
    text, names = extract_mentions(words)
    # Bytes of the command line that are not UTF-8 are decoded like those of a file.
    typed, notice = decode_any_text(os.fsencode(text), "the prompt")
    if notice:
        notify(notice)
    files = [*files, *(name for name in names if name not in files)]
    piped = _read_stdin(typed, files, composer, use_stdin=use_stdin)
    pieces: list[_Piece] = []
    for name in files:
        if name != "-":
            pieces += composer.read_name(name)
        elif piped:
            pieces.append(composer.make_stdin_piece(piped, "file", STDIN_NAME))
    pieces += [composer.make_piece(content) for content in texts]
    pieces += _make_instruction(typed, None if "-" in files else piped, composer)
    return _make_prompt(_fit_pieces(pieces, fit_inputs) if fit_inputs else pieces, may_be_empty=may_be_empty)


def read_at_file(text: str) -> str:
    """Return the text of the file that `@name` names, or any other text unchanged."""
    return decode_text(read_input_file(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text


def _read_stdin(typed: str, files: Sequence[str], composer: _Composer, *, use_stdin: bool) -> _StdinContent | None:
    is_piped = use_stdin and stdin.has_stdin()
    if STDIN_PLACEHOLDER in typed and not is_piped:
        raise UsageError(f"the prompt says {STDIN_PLACEHOLDER}, but nothing is piped in")
    return composer.read_stdin() if is_piped or typed.strip() == "-" or "-" in files else None


def _make_instruction(typed: str, piped: _StdinContent | None, composer: _Composer) -> list[_Piece]:
    """Combine the words and standard input, which precedes them, replaces its placeholder, or is the whole prompt."""
    if STDIN_PLACEHOLDER in typed:
        if piped and piped.media_type:
            raise UsageError(
                f"{STDIN_PLACEHOLDER} stands for text, and {STDIN_NAME} is {piped.media_type}",
                "leave it out of the prompt",
            )
        between = piped.text if piped else ""
        texts = [text for typed_text in typed.split(STDIN_PLACEHOLDER) for text in (typed_text, between)][:-1]
        return [_Piece(tuple(texts), name=STDIN_NAME, inputs=tuple(range(1, len(texts), 2)))]
    has_words = typed.strip() not in ("", "-")
    if piped is None or not (piped.text or piped.media_type):
        return [_Piece((typed,))] if has_words else []
    if has_words:
        return [composer.make_stdin_piece(piped, "stdin"), _Piece((typed,))]
    if piped.media_type:
        return [composer.make_stdin_piece(piped, "stdin")]
    return [_Piece((piped.text,), name=STDIN_NAME, inputs=(0,))]


def _fit_pieces(pieces: Sequence[_Piece], fit_inputs: FitInputs) -> list[_Piece]:
    """Replace each input by what is sent of it."""
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


def _make_prompt(pieces: Sequence[_Piece], *, may_be_empty: bool) -> Prompt:
    parts = _join_texts(pieces)
    if not parts and not may_be_empty:
        raise UsageError("the prompt is empty", "type it behind the command, or pipe it in")
    return Prompt(parts, tuple(piece.attachment for piece in pieces if piece.attachment))


def _join_texts(pieces: Sequence[_Piece]) -> tuple[Part, ...]:
    """Join adjacent texts, each group at once, and leave out blank ones."""
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


def extract_mentions(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split the words into the text, in which a mention loses its @, and the names of the mentioned files.

    Only a whole word of the command line is a mention, and only if it is a URL or the file exists: a text that a
    script puts in quotes must not be able to send files. `@@x` is the text `@x`. Mentions alone leave no text.
    """
    names = [word[1:] for word in words if _is_mention(word)]
    text = " ".join(word[1:] if _is_mention(word) or word.startswith("@@") else word for word in words)
    return "" if names and len(names) == len(words) else text, list(dict.fromkeys(names))


def _is_mention(word: str) -> bool:
    name = word[1:]
    if not name or not word.startswith("@") or name.startswith("@"):
        return False
    return name.lower().startswith(SCHEMES) or find_path(name) is not None
