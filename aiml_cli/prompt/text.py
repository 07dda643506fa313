"""Turn bytes into text: UTF-8, UTF-16 by its mark, else cp1252; refuse what is no text."""

from aiml_cli.errors import Misuse

MAGIC = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive or an office document",
    b"\x1f\x8b": "compressed with gzip",
    b"\x7fELF": "a program",
}


def decoded(data: bytes, name: str) -> tuple[str, str]:
    """Give the text, and a notice ("" when there is nothing to say); raise Misuse for what is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _utf16(data, name), ""
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")
    if kind or b"\0" in data:
        raise Misuse(f"{name} is {kind or 'binary'}, not text", "only text can be sent")
    return loosely(data, name)


def loosely(data: bytes, name: str) -> tuple[str, str]:
    """Give text that is text for certain, whatever it begins with."""
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), f"{name} is not UTF-8; it is read as Windows-1252"


def _utf16(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise Misuse(f"{name} begins like UTF-16 text but is none", "only text can be sent") from None
