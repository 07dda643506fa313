"""Read messages without a line editor: for dumb terminals and screen readers."""

import os
import re
import signal
import termios
from codecs import getincrementaldecoder
from collections.abc import Callable

from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import CHARACTERS, modes
from aiml_cli.system.text_width import text_width

QUOTES = '"""'
PROMPT = "> "
LEAVE_HINT = "aiml: Ctrl-D or /exit leaves"
PASTE_HINT = "aiml: pasted lines are one message; Enter sends it"
_ENTER = re.compile("\r\n?")
_NO_KEY = "\0"  # the terminal's value for a function that has no key
# Keys without a character, such as arrows, which would appear in the message as letters.
_SPECIAL_KEY = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|O.|.)?")
_CONTROL_KEY = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PlainInput:
    """Messages typed on a terminal that can only append to a line.

    The terminal could edit a line itself, but silently truncates a line of more than 4,095 bytes.
    """

    def __init__(self, record_paste: Callable[[str], None]) -> None:
        self._record_paste = record_paste
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._lines: list[str] = [""]
        self._unread = ""

    def read(self) -> str | None:
        """Return the next message, or None at the end; a final backslash or an open block continues it."""
        self._lines = [""]
        with modes.use(CHARACTERS, self._show):
            try:
                self._show()
                self._add_typed(*modes.take_typed())
                return self._read_message()
            except EOFError:
                return None
            except Stopped:
                write_err("\n" if any(self._lines) else f"\n{LEAVE_HINT}\n")
                raise

    def _read_message(self) -> str:
        while True:
            keys, self._unread = self._unread or self._read_keys(), ""
            if self._is_paste(keys) or self._is_burst(keys):
                self._add_paste(keys)
                if not self._lines[-1]:
                    print_err(PASTE_HINT)
            elif (message := self._type_keys(keys)) is not None:
                return message

    def _read_keys(self) -> str:
        if data := modes.read():
            return self._decode(data)
        raise EOFError

    def _decode(self, data: bytes) -> str:
        return _SPECIAL_KEY.sub("", _ENTER.sub("\n", self._decoder.decode(data)))

    def _is_paste(self, keys: str) -> bool:
        """True for several lines of text that arrived together."""
        return "\n" in keys[:-1] and bool(keys.strip()) and not _CONTROL_KEY.search(keys)

    def _is_burst(self, keys: str) -> bool:
        """True for keys that arrived together with text after an Enter, even with control characters."""
        return bool(_CONTROL_KEY.sub("", keys.partition("\n")[2]).strip())

    def _add_paste(self, text: str) -> None:
        text = _CONTROL_KEY.sub("", text)
        self._record_paste(text)
        self._insert(text)

    def _add_typed(self, data: bytes, is_draft: bool) -> None:
        """Add the text that was typed before the prompt appeared; an Enter in a draft does not send it."""
        keys = self._decode(data)
        if not is_draft:
            self._unread += keys
            return
        keys = keys.rstrip("\n")
        if self._is_paste(keys):
            self._add_paste(keys)
            return
        for index, line in enumerate(keys.split("\n")):
            if index:
                self._insert("\n")
            self._type_keys(line)

    def _type_keys(self, keys: str) -> str | None:
        """Handle typed keys, and return the message when Enter ends it; raise EOFError or Stopped."""
        erasing = {modes.character(index): erase for index, erase in _ERASE.items()} | {"\b": _cut_character}
        signals = {key: number for index, number in _SIGNALS.items() if (key := modes.character(index)) != _NO_KEY}
        for index, key in enumerate(keys):
            if key in erasing:
                self._erase(erasing[key](self._lines[-1]))
            elif key == modes.character(termios.VEOF):
                if not any(self._lines):
                    modes.echo("\n")
                    raise EOFError
            elif key in signals:
                self._unread = keys[index + 1 :]
                _send_signal(signals[key])
            elif key == "\n":
                if (message := self._end_line()) is not None:
                    self._unread = keys[index + 1 :]
                    return message
            elif not _CONTROL_KEY.match(key):
                self._insert(key)
        return None

    def _end_line(self) -> str | None:
        """Return the message that Enter ends, or None if Enter inserts a line break."""
        is_continued = self._lines[-1].endswith("\\")
        if is_continued:
            self._lines[-1] = self._lines[-1][:-1]
        message = "\n".join(self._lines)
        if is_continued or has_open_block(message):
            self._insert("\n")
            return None
        modes.echo("\n")
        return message

    def _insert(self, text: str) -> None:
        first, *more = text.split("\n")
        self._lines[-1] += first
        self._lines += more
        modes.echo(text)

    def _erase(self, rest: str) -> None:
        """Shorten the last line, in memory and on the screen."""
        columns = _count_columns(self._lines[-1]) - _count_columns(rest)
        self._lines[-1] = rest
        modes.echo("\b \b" * columns)

    def _show(self) -> None:
        """Show the prompt and the message so far."""
        write_err(PROMPT)
        modes.echo("\n".join(self._lines))


def _cut_character(line: str) -> str:
    while line and not text_width(line[-1]):  # combining marks belong to the character before them
        line = line[:-1]
    return line[:-1]


def _cut_word(line: str) -> str:
    line = line.rstrip()
    return line[: len(line) - len(line.split(" ")[-1])]


def _cut_line(_line: str) -> str:
    return ""


def _send_signal(number: int) -> None:
    """Send the signal of a key, as the terminal would do."""
    if number == signal.SIGINT:
        signal.raise_signal(number)
    else:
        os.kill(0, number)


_SIGNALS = {termios.VINTR: signal.SIGINT, termios.VQUIT: signal.SIGQUIT, termios.VSUSP: signal.SIGTSTP}
_ERASE = {termios.VERASE: _cut_character, termios.VWERASE: _cut_word, termios.VKILL: _cut_line}


def _count_columns(line: str) -> int:
    return text_width((PROMPT + line).expandtabs(8))


def has_open_block(text: str) -> bool:
    """True if the text begins a block with three quotes that is not closed."""
    return text.lstrip().startswith(QUOTES) and text.count(QUOTES) % 2 == 1
