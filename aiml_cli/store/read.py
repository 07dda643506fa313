"""Read a file of the user's, or say in words why that cannot be done."""

from pathlib import Path

from aiml_cli.errors import Misuse


def existing(path: Path) -> bytes | None:
    """Read a file; None when there is none. Raises Misuse when there is one that cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise Misuse(f"{path}: {fault.strerror or fault}") from None


def decoded(data: bytes, path: Path) -> str:
    """Read bytes as UTF-8, with or without a byte order mark; raise Misuse naming line and column."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = data[: fault.start].decode()
        raise Misuse(f"{path}, {place(before, len(before))}: not UTF-8 text") from None


def place(text: str, offset: int) -> str:
    """Name an offset in a text by line and column, both counted from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - before.rfind(chr(10))}"
