"""Make the next message of words, standard input and files."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiml_cli.api.messages import Image, Part
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.attachments import Attachment, make_part, text_block
from aiml_cli.prompt.decode_text import SizeLimit, decode_any_text, decode_text, detect_type
from aiml_cli.prompt.file_sources import (
    SCHEMES,
    Fetch,
    FileContent,
    Notify,
    existing_path,
    find_files,
    is_image_url,
    read_input_file,
)

PLACE = "{stdin}"
STDIN = "standard input"
CheckText = Callable[[str, str], None]
FitInputs = Callable[["PromptParts"], Sequence[str]]


class InputText(NamedTuple):
    """Hold a text that was not typed: its name, and what it says."""

    name: str
    text: str


class PromptParts(NamedTuple):
    """Hold what a message is made of: the inputs, which may be cut, and all other texts, which may not."""

    inputs: Sequence[InputText]
    others: Sequence[str]
    pictures: int


def _nobody(_name: str, _text: str) -> None:
    """Look at nothing."""


class Prompt(NamedTuple):
    """Hold the parts of a message, text joined, and what of it is no text."""

    parts: tuple[Part, ...]
    attached: tuple[Attachment, ...]


class Composer(NamedTuple):
    """Turn names and bytes into parts; `see` looks at each text, `detail` is how closely to look at images."""

    fetch: Fetch
    tell: Notify
    see: CheckText
    detail: str | None
    budget: SizeLimit

    def files(self, name: str) -> list["_Piece"]:
        """Make the pieces of all that a name stands for."""
        if is_image_url(name):
            return [_Piece((), Image(name, self.detail), Attachment(name, "image", None))]
        return [self.file(source) for source in find_files(name, self.budget, self.fetch, self.tell)]

    def file(self, source: FileContent) -> "_Piece":
        """Make the piece of a source."""
        if kind := detect_type(source.data):
            return _Piece((), *make_part(source.name, source.data, kind, self.detail))
        return _Piece(text_block("file", self.text(source), source.name), name=source.name, inputs=(1,))

    def piped(self, data: bytes) -> "_Piped":
        """Read what came on standard input; its bytes are kept only where they are no text."""
        kind = detect_type(data)
        return _Piped("", data, kind) if kind else _Piped(self.text(FileContent(STDIN, data)))

    def asked(self, piped: "_Piped", tag: str, name: str = "") -> "_Piece":
        """Make the piece of standard input."""
        if piped.kind:
            return _Piece((), *make_part(STDIN, piped.data, piped.kind, self.detail))
        return _Piece(text_block(tag, piped.text, name), name=STDIN, inputs=(1,))

    def text(self, source: FileContent) -> str:
        """Read text; tell when it is in an old encoding."""
        text, notice = decode_text(source.data, source.name, source.charset)
        if notice:
            self.tell(notice)
        self.see(source.name, text)
        return text


class _Piece(NamedTuple):
    """Hold a text in the parts that it will be joined of, or what is no text.

    `inputs` are the places of those parts that were not typed, but read under a name.
    """

    texts: tuple[str, ...]
    part: Part | None = None
    attached: Attachment | None = None
    name: str = ""
    inputs: tuple[int, ...] = ()


class _Piped(NamedTuple):
    """Hold standard input: its text, or the bytes of what is none and their type."""

    text: str
    data: bytes = b""
    kind: str = ""


def compose_prompt(
    words: Sequence[str],
    files: Sequence[str],
    *,
    use_stdin: bool,
    tell: Notify,
    fetch: Fetch,
    see: CheckText = _nobody,
    detail: str | None = None,
    texts: Sequence[FileContent] = (),
    may_be_empty: bool = False,
    fit: FitInputs | None = None,
) -> Prompt:
    """Make the prompt: files and texts first, then standard input, the instruction last.

    Without words standard input is the prompt itself. `tell` is given what the user should know; `fetch` gives
    the bytes and the media type at an address; `see` gets each text that was not typed, and `fit` gives what of them
    is sent. Raises UsageError for an empty prompt, and for what cannot be sent.
    """
    composer = Composer(fetch, tell, see, detail, SizeLimit())
    text, names = _mentioned(words)
    # Bytes of the command line that are no UTF-8 are read like those of a file.
    typed, notice = decode_any_text(os.fsencode(text), "the prompt")
    if notice:
        tell(notice)
    files = [*files, *(name for name in names if name not in files)]
    piped = _piped(typed, files, composer, use_stdin=use_stdin)
    pieces = [piece for name in files for piece in (_asked(piped, composer) if name == "-" else composer.files(name))]
    pieces += [composer.file(each) for each in texts]
    pieces += _instruction(typed, None if "-" in files else piped, composer)
    return _prompt(_fitted(pieces, fit) if fit else pieces, may_be_empty=may_be_empty)


def read_at_file(text: str) -> str:
    """Read the file that `@name` names; other text is itself."""
    return decode_text(read_input_file(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text


def _mentioned(words: Sequence[str]) -> tuple[str, list[str]]:
    if not any("@" in word for word in words):
        return " ".join(words), []
    return extract_mentions(words)


def _piped(typed: str, files: Sequence[str], composer: Composer, *, use_stdin: bool) -> _Piped | None:
    is_there = use_stdin and stdin.has_stdin()
    if PLACE in typed and not is_there:
        raise UsageError(f"the prompt says {PLACE}, but nothing is piped in")
    if is_there or typed.strip() == "-" or "-" in files:
        return composer.piped(stdin.read_stdin(composer.tell, composer.budget))
    return None


def _asked(piped: _Piped | None, composer: Composer) -> list[_Piece]:
    return [composer.asked(piped, "file", STDIN)] if piped else []


def _instruction(typed: str, piped: _Piped | None, composer: Composer) -> list[_Piece]:
    """Join standard input and the words: as a block before them, in its place among them, or alone."""
    if PLACE in typed:
        if piped and piped.kind:
            raise UsageError(f"{PLACE} stands for text, and {STDIN} is {piped.kind}", "leave it out of the prompt")
        between = piped.text if piped else ""
        texts = [text for typed_text in typed.split(PLACE) for text in (typed_text, between)][:-1]
        return [_Piece(tuple(texts), name=STDIN, inputs=tuple(range(1, len(texts), 2)))]
    says_nothing = not typed.strip() or typed.strip() == "-"
    if piped is None or not (piped.text or piped.kind):
        return [] if says_nothing else [_Piece((typed,))]
    if not says_nothing:
        return [composer.asked(piped, "stdin"), _Piece((typed,))]
    return [composer.asked(piped, "stdin") if piped.kind else _Piece((piped.text,), name=STDIN, inputs=(0,))]


def _fitted(pieces: Sequence[_Piece], fit: FitInputs) -> list[_Piece]:
    """Put what is sent of each input in its place."""
    inputs = [InputText(piece.name, piece.texts[place]) for piece in pieces for place in piece.inputs]
    others = [text for piece in pieces for place, text in enumerate(piece.texts) if place not in piece.inputs]
    kept = iter(fit(PromptParts(inputs, others, sum(piece.part is not None for piece in pieces))) if inputs else ())
    return [
        piece._replace(
            texts=tuple(next(kept) if place in piece.inputs else text for place, text in enumerate(piece.texts))
        )
        for piece in pieces
    ]


def _prompt(pieces: Sequence[_Piece], *, may_be_empty: bool) -> Prompt:
    others = tuple(piece.attached for piece in pieces if piece.attached)
    parts = _joined(pieces)
    if not parts and not may_be_empty:
        raise UsageError("the prompt is empty", "type it behind the command, or pipe it in")
    return Prompt(parts, others)


def _joined(pieces: Sequence[_Piece]) -> tuple[Part, ...]:
    """Join neighbouring texts, all at once; texts that say nothing are no part."""
    joined: list[Part] = []
    texts: list[str] = []
    for piece in [*pieces, None]:
        if piece and piece.part is None:
            texts += ["\n\n", *piece.texts] if texts else piece.texts
            continue
        if any(text and not text.isspace() for text in texts):
            joined.append("".join(texts))
        texts = []
        if piece and piece.part is not None:
            joined.append(piece.part)
    return tuple(joined)


def extract_mentions(words: Sequence[str]) -> tuple[str, list[str]]:
    """Give the text that is left, and the names.

    Only a whole word of the command line names a file, and only when it is there, or when it is an address: a
    text that a script puts between quotes must not be able to send files. `@@x` means the text `@x`. In the
    text a name loses its @; where nothing else was said no text is left.
    """
    names = [word[1:] for word in words if _is_name(word)]
    text = " ".join(word[1:] if _is_name(word) or word.startswith("@@") else word for word in words)
    return "" if names and len(names) == len(words) else text, list(dict.fromkeys(names))


def _is_name(word: str) -> bool:
    name = word[1:]
    if not name or not word.startswith("@") or name.startswith("@"):
        return False
    return name.lower().startswith(SCHEMES) or existing_path(name) is not None
