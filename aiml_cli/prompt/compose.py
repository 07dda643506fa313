"""Make the next message of words, standard input and files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from aiml_cli.errors import Misuse
from aiml_cli.prompt import stdin
from aiml_cli.prompt.text import decoded, loosely

PLACE = "{stdin}"
Tell = Callable[[str], None]


def compose(words: Sequence[str], files: Sequence[str], *, use_stdin: bool, tell: Tell) -> str:
    """Make the prompt: files first, then standard input, the instruction last.

    Without words standard input is the prompt itself. `tell` is given what the user should know.
    Raises Misuse for an empty prompt, and for a file that is missing or no text.
    """
    # Bytes of the command line that are no UTF-8 are read like those of a file.
    typed, notice = loosely(os.fsencode(" ".join(words)), "the prompt")
    if notice:
        tell(notice)
    piped = _piped(typed, files, use_stdin=use_stdin, tell=tell)
    blocks = [_file(name, piped, tell) for name in files]
    text = _joined(typed, "" if "-" in files else piped, blocks)
    if not text.strip():
        raise Misuse("the prompt is empty", "type it behind the command, or pipe it in")
    return text


def from_file(text: str) -> str:
    """Read the file that `@name` names; other text is itself."""
    return decoded(_bytes(text[1:]), text[1:])[0].rstrip("\n") if text.startswith("@") else text


def _piped(typed: str, files: Sequence[str], *, use_stdin: bool, tell: Tell) -> str:
    is_there = use_stdin and stdin.holds_something()
    if PLACE in typed and not is_there:
        raise Misuse(f"the prompt says {PLACE}, but nothing is piped in")
    if is_there or typed.strip() == "-" or "-" in files:
        return _decoded(stdin.read(tell), "standard input", tell)
    return ""


def _file(name: str, piped: str, tell: Tell) -> str:
    if name == "-":
        return _block("file", piped, "standard input")
    return _block("file", _decoded(_bytes(name), name, tell), name)


def _decoded(data: bytes, name: str, tell: Tell) -> str:
    text, notice = decoded(data, name)
    if notice:
        tell(notice)
    return text


def _bytes(name: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except (OSError, RuntimeError) as fault:  # expanduser knows no such user
        raise Misuse(f"{name}: {getattr(fault, 'strerror', None) or fault}", "nothing was sent") from None


def _joined(typed: str, piped: str, blocks: list[str]) -> str:
    if PLACE in typed:
        return "\n\n".join([*blocks, typed.replace(PLACE, piped)])
    if not typed.strip() or typed.strip() == "-":
        return "\n\n".join([*blocks, *([piped] if piped else [])])
    return "\n\n".join([*blocks, *([_block("stdin", piped)] if piped else []), typed])


def _block(tag: str, text: str, name: str = "") -> str:
    """Set a text apart; the tag is lengthened until the text cannot end it."""
    while f"</{tag}>" in text:
        tag += "_"
    attribute = f' name="{name}"' if name else ""
    return f"<{tag}{attribute}>\n{text}{'' if text.endswith(chr(10)) else chr(10)}</{tag}>"
