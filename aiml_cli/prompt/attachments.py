"""Make a part of a message from bytes: a block of text, an image, a PDF or a sound."""

from typing import NamedTuple

from aiml_cli.api.messages import Document, Image, Part, Sound
from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import MOST_ATTACHED, SOUNDS, format_size


class Attachment(NamedTuple):
    """Say what is sent besides text: its name, its media type, its size in bytes (None for an address)."""

    name: str
    type: str
    size: int | None

    def __str__(self) -> str:
        facts = self.type if self.size is None else f"{self.type}, {format_size(self.size)}"
        return f"{self.name} ({facts})"


def make_part(name: str, data: bytes, kind: str, detail: str | None) -> tuple[Part, Attachment]:
    """Make the part for bytes of a media type; raise UsageError for more than can be attached."""
    if len(data) > MOST_ATTACHED:
        raise UsageError(
            f"{name}: {format_size(len(data))}, and at most {format_size(MOST_ATTACHED)} can be attached",
            "make it smaller",
        )
    from base64 import b64encode  # most prompts are text

    return _part(name, b64encode(data).decode("ascii"), kind, detail), Attachment(name, kind, len(data))


def _part(name: str, coded: str, kind: str, detail: str | None) -> Part:
    if kind in SOUNDS:
        return Sound(coded, SOUNDS[kind])
    if kind == "application/pdf":
        return Document(_file_name(name), coded)
    return Image(f"data:{kind};base64,{coded}", detail)


def _file_name(name: str) -> str:
    """Give the last part of a name, with the ending that tells a server its type."""
    last = printable_name(name.partition("?")[0].rstrip("/").rpartition("/")[2]) or "document"
    return last if last.lower().endswith(".pdf") else f"{last}.pdf"


def printable_name(name: str) -> str:
    """Give a file's name without what could end a block, a line, or UTF-8."""
    return "".join(char if char.isprintable() and char not in '"<>' else "_" for char in name)


def text_block(tag: str, text: str, name: str = "") -> tuple[str, str, str]:
    """Set a text apart; the tag is lengthened until the text cannot end it.

    The parts are joined later, once: a text may be as large as all that can be sent.
    """
    while f"</{tag}>" in text:
        tag += "_"
    attribute = f' name="{printable_name(name)}"' if name else ""
    return f"<{tag}{attribute}>\n", text, f"{'' if text.endswith(chr(10)) else chr(10)}</{tag}>"
