"""Make the next message of words, standard input and files."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from aiml_cli.api.messages import Image, Part
from aiml_cli.errors import Misuse
from aiml_cli.prompt import stdin
from aiml_cli.prompt.attach import Attached, attached, block
from aiml_cli.prompt.budget import Budget
from aiml_cli.prompt.looks import type_of
from aiml_cli.prompt.sources import Fetch, Source, Tell, is_image_address, read, sources
from aiml_cli.prompt.text import decoded, loosely

PLACE = "{stdin}"
STDIN = "standard input"


class Prompt(NamedTuple):
    """Hold the parts of a message, text joined, and what of it is no text."""

    parts: tuple[Part, ...]
    attached: tuple[Attached, ...]


class Composer(NamedTuple):
    """Turn names and bytes into parts; `detail` is how closely to look at images."""

    fetch: Fetch
    tell: Tell
    detail: str | None
    budget: Budget

    def files(self, name: str) -> list["_Piece"]:
        """Make the pieces of all that a name stands for."""
        if is_image_address(name):
            return [_Piece(Image(name, self.detail), Attached(name, "image", None))]
        return [self.file(source) for source in sources(name, self.budget, self.fetch, self.tell)]

    def file(self, source: Source, tag: str = "file") -> "_Piece":
        """Make the piece of a source."""
        kind = type_of(source.data)
        if kind:
            return _Piece(*attached(source.name, source.data, kind, self.detail))
        return _Piece(block(tag, self.text(source), "" if tag == "stdin" else source.name))

    def text(self, source: Source) -> str:
        """Read text; tell when it is in an old encoding."""
        text, notice = decoded(source.data, source.name, source.charset)
        if notice:
            self.tell(notice)
        return text


class _Piece(NamedTuple):
    part: Part
    attached: Attached | None = None


def compose(
    words: Sequence[str],
    files: Sequence[str],
    *,
    use_stdin: bool,
    tell: Tell,
    fetch: Fetch,
    detail: str | None = None,
    may_be_empty: bool = False,
) -> Prompt:
    """Make the prompt: files first, then standard input, the instruction last.

    Without words standard input is the prompt itself. `tell` is given what the user should know; `fetch` gives
    the bytes and the media type at an address. Raises Misuse for an empty prompt, and for what cannot be sent.
    """
    composer = Composer(fetch, tell, detail, Budget())
    text, names = _mentioned(words)
    # Bytes of the command line that are no UTF-8 are read like those of a file.
    typed, notice = loosely(os.fsencode(text), "the prompt")
    if notice:
        tell(notice)
    files = [*files, *(name for name in names if name not in files)]
    piped = _piped(typed, files, composer, use_stdin=use_stdin)
    pieces = [piece for name in files for piece in (_asked(piped, composer) if name == "-" else composer.files(name))]
    pieces += _instruction(typed, None if "-" in files else piped, composer)
    return _prompt(pieces, may_be_empty=may_be_empty)


def from_file(text: str) -> str:
    """Read the file that `@name` names; other text is itself."""
    return decoded(read(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text


def _mentioned(words: Sequence[str]) -> tuple[str, list[str]]:
    if not any("@" in word for word in words):
        return " ".join(words), []
    from aiml_cli.prompt.mentions import mentioned  # few prompts name a file

    return mentioned(words)


def _piped(typed: str, files: Sequence[str], composer: Composer, *, use_stdin: bool) -> Source | None:
    is_there = use_stdin and stdin.holds_something()
    if PLACE in typed and not is_there:
        raise Misuse(f"the prompt says {PLACE}, but nothing is piped in")
    if is_there or typed.strip() == "-" or "-" in files:
        return Source(STDIN, stdin.read(composer.tell, composer.budget))
    return None


def _asked(piped: Source | None, composer: Composer) -> list[_Piece]:
    return [composer.file(piped)] if piped else []


def _instruction(typed: str, piped: Source | None, composer: Composer) -> list[_Piece]:
    """Join standard input and the words: as a block before them, in its place among them, or alone."""
    kind = type_of(piped.data) if piped else ""
    if PLACE in typed:
        if kind:
            raise Misuse(f"{PLACE} stands for text, and {STDIN} is {kind}", "leave it out of the prompt")
        return [_Piece(typed.replace(PLACE, composer.text(piped) if piped else ""))]
    says_nothing = not typed.strip() or typed.strip() == "-"
    if piped is None or not piped.data:
        return [] if says_nothing else [_Piece(typed)]
    if not says_nothing:
        return [composer.file(piped, "stdin"), _Piece(typed)]
    return [composer.file(piped) if kind else _Piece(composer.text(piped))]


def _prompt(pieces: Sequence[_Piece], *, may_be_empty: bool) -> Prompt:
    others = tuple(piece.attached for piece in pieces if piece.attached)
    parts = _joined([piece.part for piece in pieces])
    if not parts and not may_be_empty:
        raise Misuse("the prompt is empty", "type it behind the command, or pipe it in")
    return Prompt(parts, others)


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Join neighbouring texts; one that says nothing is no part."""
    joined: list[Part] = []
    texts: list[str] = []
    for part in [*parts, None]:
        if isinstance(part, str):
            texts.append(part)
            continue
        if any(text and not text.isspace() for text in texts):
            joined.append("\n\n".join(texts))
        texts = []
        if part is not None:
            joined.append(part)
    return tuple(joined)
