"""Build a message part from bytes: a tagged text, an image, a PDF or a sound."""

from typing import NamedTuple

from aiml_cli.api.messages import Document, Image, Part, Sound
from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import AUDIO_FORMATS, MAX_ATTACHMENT_BYTES, format_size


class Attachment(NamedTuple):
    """A part that is not text: its name, media type, and size in bytes (None if it is a URL)."""

    name: str
    media_type: str
    size: int | None

    def __str__(self) -> str:
        facts = self.media_type if self.size is None else f"{self.media_type}, {format_size(self.size)}"
        return f"{self.name} ({facts})"


def make_part(name: str, data: bytes, media_type: str, detail: str | None) -> tuple[Part, Attachment]:
    """Return the part for an image, a PDF or a sound; raise UsageError if it is too large to attach."""
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
    """Return the last part of a path or URL; the extension tells a server the type."""
    last = _replace_unsafe(name.partition("?")[0].rstrip("/").rpartition("/")[2]) or "document"
    return last if last.lower().endswith(".pdf") else f"{last}.pdf"


def _replace_unsafe(name: str) -> str:
    """Replace the characters of a file name that could end a tag or a line, or are not valid UTF-8."""
    return "".join(char if char.isprintable() and char not in '"<>' else "_" for char in name)


def wrap_in_tag(tag: str, text: str, name: str = "") -> tuple[str, str, str]:
    """Enclose a text in a tag, which is lengthened until the text does not contain its end.

    The three parts are joined later, to copy a large text only once.
    """
    while f"</{tag}>" in text:
        tag += "_"
    attribute = f' name="{_replace_unsafe(name)}"' if name else ""
    return f"<{tag}{attribute}>\n", text, f"{'' if text.endswith(chr(10)) else chr(10)}</{tag}>"
