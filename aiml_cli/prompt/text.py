"""Turn bytes into text: UTF-8, UTF-16 by its mark, else cp1252; refuse what is no text."""

from aiml_cli.errors import Misuse
from aiml_cli.prompt.looks import WHAT_CAN_BE_SENT, type_of

MAGIC = {
    b"PK\x03\x04": "a zip archive or an office document",
    b"\x1f\x8b": "compressed with gzip",
    b"\x7fELF": "a program",
}


def decoded(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Give the text, and a notice ("" when there is nothing to say); raise Misuse for what is no text.

    `charset` is what a server said of it.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _utf16(data, name), ""
    kind = type_of(data) or next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")
    if kind or b"\0" in data:
        raise Misuse(f"{name} is {kind or 'binary'}, not text", WHAT_CAN_BE_SENT)
    return loosely(data, name, charset)


def loosely(data: bytes, name: str, charset: str = "") -> tuple[str, str]:
    """Give text that is text for certain, whatever it begins with."""
    for encoding in filter(None, ("utf-8-sig", charset)):
        try:
            return data.decode(encoding), ""
        except (UnicodeError, LookupError):  # another encoding; one that is unknown here
            continue
    return data.decode("cp1252", "replace"), f"{name} is not UTF-8; it is read as Windows-1252"


def _utf16(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise Misuse(f"{name} begins like UTF-16 text but is none", WHAT_CAN_BE_SENT) from None
