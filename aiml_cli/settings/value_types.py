"""The kinds of values a setting can have: how one is read, what it offers, how it is named in a sentence."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiml_cli.errors import UsageError

T = TypeVar("T")
Json = Any


@dataclass(frozen=True, slots=True)
class ValueType(Generic[T]):
    """Say what a value must be.

    `name` completes the sentence "… is not NAME". `parse` raises ValueError for a bad value.
    `choices` are all there are when `closed`, else suggestions. `many`: the values of a repeated
    flag are joined, a single one replaces what was there. `switch`: a flag without a value. `bare`: what a
    flag without a value means, where it may have one (`--web-search`, `--web-search low`). `repeats`: the flag may
    be said several times, for a call each; one call has one of the values.
    """

    name: str
    parse: Callable[[str], T]
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    is_closed: bool = False
    is_list: bool = False
    is_switch: bool = False
    bare_value: str = ""
    repeats: bool = False
    limits: tuple[float | None, float | None] = (None, None)


def number(low: float | None = None, high: float | None = None) -> ValueType[float]:
    """Take a number from `low` to `high`, both included."""

    def parse(text: str) -> float:
        value = float(text)
        if not _within(value, low, high):
            raise ValueError(text)
        return int(value) if value.is_integer() and "." not in text else value

    return ValueType("a number" + _range(low, high), parse, "NUMBER", limits=(low, high))


def integer(low: int | None = None, high: int | None = None) -> ValueType[int]:
    """Take a whole number from `low` to `high`, both included."""

    def parse(text: str) -> int:
        value = int(text)
        if not _within(value, low, high):
            raise ValueError(text)
        return value

    return ValueType("a whole number" + _range(low, high), parse, "N", limits=(low, high))


def choice(*words: str, bare: str = "") -> ValueType[str]:
    """Take one of these words and no other."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return ValueType("one of " + ", ".join(words), parse, "|".join(words), words, is_closed=True, bare_value=bare)


def text(*suggestions: str) -> ValueType[str]:
    """Take any text that is not empty; offer these words in help and completion."""

    def parse(value: str) -> str:
        if not value:
            raise ValueError(value)
        return value

    return ValueType("a text", parse, "|".join(suggestions) or "TEXT", suggestions)


def _within(value: float, low: float | None, high: float | None) -> bool:
    """Compare so that NaN and infinity are outside of every range."""
    return (low if low is not None else -1e300) <= value <= (high if high is not None else 1e300)


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f" of at least {low}" if high is None else f" from {low} to {high}"


def _switch(value: str) -> bool:
    words = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
    if value.lower() not in words:
        raise ValueError(value)
    return words[value.lower()]


def _json(value: str) -> Json:
    """Read JSON, or the file that a path or `@path` names."""
    is_file = value.startswith("@") or value.endswith(".json") or isfile(value)  # noqa: PTH113 - that of a Path raises for a long text
    parsed: Json = read_json_file(value.removeprefix("@")) if is_file else json.loads(value)
    if not isinstance(parsed, dict | list):
        raise ValueError(value)
    return parsed


def read_json_file(path: str) -> Json:
    """Read a JSON file; raise UsageError naming the file and the line of a fault."""
    try:
        parsed: Json = json.loads(Path(path).expanduser().read_text("utf-8-sig"))
    except (OSError, RuntimeError) as fault:  # expanduser knows no such user
        raise UsageError(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None
    except json.JSONDecodeError as fault:
        raise UsageError(f"{path}: not JSON: {fault.msg}, line {fault.lineno}, column {fault.colno}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not JSON: it is not UTF-8 text") from None
    return parsed


def _json_or_word(value: str) -> Json:
    """Read a JSON object, else take the word as it is."""
    return _json(value) if value.startswith(("{", "@")) else text().parse(value)


def _json_or_text(value: str) -> Json:
    """Read any JSON value; what does not parse is text."""
    try:
        parsed: Json = json.loads(value)
    except ValueError:
        return value
    return parsed


def _pair(value: str) -> tuple[str, str]:
    key, equals, rest = value.partition("=")
    if not equals or not key.strip("."):
        raise ValueError(value)
    return key, rest


def _properties(value: str) -> Mapping[str, Json]:
    key, rest = _pair(value)
    return {key: _json_or_text(rest)}


def _variables(value: str) -> Mapping[str, Json]:
    """Read NAME=VALUE; a JSON object is a content part, all else is text (a number too)."""
    key, rest = _pair(value)
    return {key: _json(rest) if rest.startswith("{") else rest}


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _places(value: str) -> Mapping[str, Json]:
    found = dict(_pair(part) for part in _words(value))
    if not found or set(found) - set(PARTS_OF_A_PLACE):
        raise ValueError(value)
    return found


def _share(value: str) -> str:
    """Read 2/8, auto or auto/8; raise ValueError."""
    number, slash, count = value.partition("/")
    if value != "auto" and (not slash or not count.isdecimal() or int(count) < 1):
        raise ValueError(value)
    if number != "auto" and not (number.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(value)
    return value


def _block(value: str) -> str:
    """Read a number from 1 on, or a word."""
    if not value.strip() or (value.lstrip("+-").isdecimal() and not value.isdecimal()) or value == "0":
        raise ValueError(value)
    return value.strip()


def text_list(*suggestions: str) -> ValueType[tuple[str, ...]]:
    """Take several words, separated by commas or by repeating the flag."""
    return ValueType("a list of words", _words, "WORD", suggestions, is_list=True)


SWITCH = ValueType("on or off", _switch, "on|off", ("on", "off"), is_closed=True, is_switch=True)
TEXT = text()
JSON = ValueType("JSON (an object, a list, or a file of one)", _json, "JSON|@FILE")
JSON_OR_WORD = ValueType("a word or a JSON object", _json_or_word, "WORD|JSON")
PROPERTIES = ValueType("KEY=VALUE", _properties, "KEY=VALUE", is_list=True)
VARIABLES = ValueType("NAME=VALUE", _variables, "NAME=VALUE", is_list=True)
TEXT_OR_FILE = ValueType("a text", text().parse, "TEXT|@FILE")
LATEST = ValueType("a conversation", text().parse, "ID|WORDS", bare_value="last")
NAME = ValueType("a name", text().parse, "NAME")
PATH = ValueType("a path", text().parse, "PATH")
RESULTS = ValueType("ID=VALUE", lambda value: dict([_pair(value)]), "ID=VALUE|@FILE", is_list=True)
FILLINGS = ValueType("NAME=VALUE", lambda value: dict([_pair(value)]), "NAME=VALUE|@FILE", is_list=True)
SCHEMA = ValueType("a text", text().parse, "JSON|LIST|@FILE")
PARTS_OF_A_PLACE = ("city", "region", "country", "timezone")
PLACES = ValueType(" or ".join(f"{part}=…" for part in PARTS_OF_A_PLACE), _places, "city=…,country=…", is_list=True)
MODELS = ValueType("a text", text().parse, "ID", repeats=True)
SHARD = ValueType("a share such as 2/8, auto or auto/8", _share, "I/N|auto[/N]", ("auto",))
# The languages that a word behind --extract is taken for; others are said with an equals sign.
LANGUAGES = (
    "python", "py", "bash", "sh", "zsh", "fish", "powershell", "json", "yaml", "toml", "xml", "html", "css", "sql",
    "javascript", "js", "typescript", "ts", "go", "rust", "c", "cpp", "java", "kotlin", "swift", "ruby", "php", "perl",
    "r", "lua", "diff", "dockerfile", "makefile", "markdown", "latex", "csv",
)  # fmt: skip
BLOCK = ValueType(
    "the number of a code block, last, all, or a language", _block, "N|last|all|LANG",
    ("last", "all", *map(str, range(1, 10)), *LANGUAGES), bare_value="1",
)  # fmt: skip
PATHS = ValueType("a path", lambda value: (text().parse(value),), "PATH", is_list=True)
