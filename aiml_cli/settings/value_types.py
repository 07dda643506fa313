"""The types of values a setting can have: how to parse one, what to suggest, and what messages call it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import exists, isdir
from typing import Any, Generic, NamedTuple, TypeVar

from aiml_cli.errors import UsageError
from aiml_cli.settings.urls import check_base_url
from aiml_cli.system.atomic_write import MEBIBYTE, read_bounded

T = TypeVar("T")
N = TypeVar("N", int, float)
Json = Any
MAX_SUGGESTIONS = 3
MAX_JSON_BYTES = 16 * MEBIBYTE  # of a file of tools, or a schema


class ValueType(NamedTuple, Generic[T]):
    """What a value must be.

    `name` completes the message "… is not NAME". `parse` raises ValueError for a bad value. `choices` are all valid
    values if `is_closed`, else suggestions. `is_list`: the values of a repeated flag are joined; otherwise the last one
    wins. `is_switch`: the flag has no value. `bare_value`: the value of the flag alone, if it may be alone
    (`--web-search`, `--web-search low`); `is_value` decides whether the word after such a flag is its value, otherwise
    each of the `choices` is, or without them every word. `repeats`: the flag may be repeated to make a call for each
    value. A table has a `separator` between name and value; `is_merged`: each source adds its entries to those before.
    """

    name: str
    parse: Callable[[str], T]
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    is_closed: bool = False
    is_list: bool = False
    is_switch: bool = False
    bare_value: str = ""
    is_value: Callable[[str], bool] | None = None
    repeats: bool = False
    separator: str = ""
    is_merged: bool = False
    limits: tuple[float | None, float | None] = (None, None)


def number(low: float | None = None, high: float | None = None) -> ValueType[float]:
    """Return the type of a number from `low` to `high`, both included."""

    def parse(text: str) -> float:
        value = _require_range(float(text), low, high)
        return int(value) if value.is_integer() and "." not in text else value

    return ValueType("a number" + _format_range(low, high), parse, "NUMBER", limits=(low, high))


def integer(low: int | None = None, high: int | None = None) -> ValueType[int]:
    """Return the type of a whole number from `low` to `high`, both included."""
    name = "a whole number" + _format_range(low, high)
    return ValueType(name, lambda value: _require_range(int(value), low, high), "N", limits=(low, high))


def choice(*words: str, bare: str = "") -> ValueType[str]:
    """Return the type of a word that must be one of these."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return ValueType("one of " + ", ".join(words), parse, "|".join(words), words, is_closed=True, bare_value=bare)


def text(*suggestions: str) -> ValueType[str]:
    """Return the type of any text that is not empty; help and completion show the suggestions."""
    return ValueType("a text", _parse_text, "|".join(suggestions) or "TEXT", suggestions)


def text_list(*suggestions: str) -> ValueType[tuple[str, ...]]:
    """Return the type of several words, separated by commas or given by a repeated flag."""
    return ValueType("a list of strings", _parse_words, "WORD", suggestions, is_list=True)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known words that are most similar, or ""."""
    return ask_if_meant(find_similar(word, known))


def find_similar(word: str, known: Iterable[str]) -> list[str]:
    """Return the words that begin with this one, else the one that it begins with, else one with a similar spelling."""
    from difflib import get_close_matches  # only a wrong word needs it

    known = list(known)
    same_start = [name for name in known if word and name.startswith(word)]
    shorter = [name for name in known if word.startswith(name) and len(name) > len(word) / 2]
    return same_start[:MAX_SUGGESTIONS] or sorted(shorter, key=len)[-1:] or get_close_matches(word, known, 1)


def ask_if_meant(names: Sequence[str]) -> str:
    """Return the hint "did you mean …?" with these words, or "" if there are none."""
    return f"did you mean {' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}?" if names else ""


def _require_range(value: N, low: float | None, high: float | None) -> N:
    """Return the value; raise ValueError if it is out of range, as NaN and infinity always are."""
    if not (low if low is not None else -1e300) <= value <= (high if high is not None else 1e300):
        raise ValueError(value)
    return value


def _format_range(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f" of at least {low}" if high is None else f" from {low} to {high}"


def _parse_text(value: str) -> str:
    if not value:
        raise ValueError(value)
    return value


def _parse_switch(value: str) -> bool:
    words = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
    if value.lower() not in words:
        raise ValueError(value)
    return words[value.lower()]


def is_json_text(text: str) -> bool:
    """True if a text is JSON or begins like it, and so is never the name of a file: `./NAME` names such a file."""
    if text.lstrip().startswith(("{", "[", '"')):
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def names_file(value_type: ValueType[Any], text: str) -> bool:
    """True if a value of this type means a file, whether or not it exists."""
    if value_type.metavar == "PATH":
        return True
    if value_type is JSON:
        return not is_json_text(text)
    if text.startswith("@"):
        return "@FILE" in value_type.metavar or value_type is JSON_OR_WORD
    is_path = text.startswith(("/", "~", "./", "../")) or (text.endswith(".json") and not set(text) & set(", :\n\t"))
    return value_type is SCHEMA and is_path and not is_json_text(text)


def _parse_json(value: str) -> Json:
    """Parse JSON, or the file that a path or `@path` names."""
    if is_json_text(value):
        parsed = json.loads(value)
    elif value.startswith("@") or value.endswith(".json") or (exists(value) and not isdir(value)):  # noqa: PTH110, PTH112 - those of Path raise for a long text
        parsed = _read_json_file(value.removeprefix("@"))
    else:
        raise ValueError(value)
    if not isinstance(parsed, dict | list):
        raise ValueError(value)
    return parsed


def _read_json_file(path: str) -> Json:
    try:
        return json.loads(read_bounded(path, MAX_JSON_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not JSON: it is not UTF-8 text") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or too deep nesting
        raise UsageError(f"{path}: not JSON that can be read") from None


def _parse_json_or_word(value: str) -> Json:
    """Parse a JSON object or a file of one; return anything else as it is."""
    return _parse_json(value) if value.lstrip().startswith(("{", "@")) else _parse_text(value)


def _parse_pair(value: str) -> tuple[str, str]:
    key, equals, rest = value.partition("=")
    if not equals or not key.strip("."):
        raise ValueError(value)
    return key, rest


def _parse_mapping(value: str) -> Mapping[str, str]:
    return dict([_parse_pair(value)])


def _parse_property(value: str) -> Mapping[str, Json]:
    """Parse KEY=VALUE; a value that is not JSON is text."""
    key, rest = _parse_pair(value)
    try:
        return {key: json.loads(rest)}
    except ValueError:
        return {key: rest}


def _parse_variable(value: str) -> Mapping[str, Json]:
    """Parse NAME=VALUE; a JSON object is a content part, anything else is text (a number too)."""
    key, rest = _parse_pair(value)
    return {key: _parse_json(rest) if rest.startswith("{") else rest}


def _parse_words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _parse_location(value: str) -> Mapping[str, Json]:
    location = dict(_parse_pair(part) for part in _parse_words(value))
    if not location or set(location) - set(LOCATION_KEYS):
        raise ValueError(value)
    return location


def _parse_shard(value: str) -> str:
    """Check 2/8, auto or auto/8; raise ValueError for anything else."""
    number, _, count = value.partition("/")
    is_count = count.isdecimal() and int(count) >= 1
    is_number = number == "auto" or (is_count and number.isdecimal() and 1 <= int(number) <= int(count))
    if value != "auto" and not (is_count and is_number):
        raise ValueError(value)
    return value


def _parse_folders(value: str) -> tuple[str, ...]:
    """Parse full paths with colons between them; a relative one would be another folder in each directory."""
    folders = tuple(part.strip() for part in value.split(":") if part.strip())
    if relative := [folder for folder in folders if not folder.startswith(("/", "~"))]:
        raise UsageError(f"{relative[0]!r} is not an absolute path", "begin it with / or ~")
    return folders


def parse_age(text: str) -> float:
    """Parse 30m, 12h, 7d or 2w to seconds; raise ValueError."""
    digits, unit = text[:-1], AGE_UNITS_S.get(text[-1:])
    if unit is None or not (digits.isascii() and digits.isdecimal()):
        raise ValueError(text)
    return float(int(digits) * unit)


def _parse_cache_age(value: str) -> str:
    """Check an age, or the word off; raise ValueError for anything else."""
    if value != OFF and not 0 < parse_age(value) <= MAX_CACHE_AGE_S:
        raise ValueError(value)
    return value


def _starts_like_age(word: str) -> bool:
    """True for a word that can only be meant as an age: also one without a unit, so that it gets an error."""
    return word == OFF or word[:1].isdecimal()


def _parse_header(value: str) -> Mapping[str, str]:
    """Parse NAME: VALUE; raise UsageError, which never shows the value: it may be a secret."""
    name, colon, content = value.partition(":")
    content = content.strip(" \t")
    if not colon:
        raise UsageError("a header is NAME: VALUE")
    if not name or set(name) - _NAME_CHARS:
        raise UsageError("a header is NAME: VALUE, and NAME has only letters, digits and dashes")
    if any(char < " " or "\x7f" <= char < "\xa0" for char in content):
        raise UsageError(f"the header {name} has a line break or another control character in its value")
    if any(char > "\xff" for char in content):
        raise UsageError(f"the header {name} has a character in its value that HTTP cannot send", "use Latin-1 only")
    _refuse_reserved(name)
    return {name: content}


def _refuse_reserved(name: str) -> None:
    """Raise UsageError for a header that holds a credential, or that the program or the connection needs itself."""
    plain = name.lower().replace("_", "-")
    joined = plain.replace("-", "")
    is_key = plain.endswith(("key", "keys", "token")) and not plain.endswith(_HARMLESS_KEYS)
    if is_key or set(plain.split("-")) & _CREDENTIAL_WORDS or any(word in joined for word in _CREDENTIAL_PARTS):
        raise UsageError(f"the header {name} holds a credential and cannot be set", "store the key: aiml config key")
    if plain in _RESERVED_HEADERS or plain.startswith(_RESERVED_PREFIXES):
        raise UsageError(f"the header {name} cannot be set: aiml or the connection sets what it needs")


def _parse_loader(value: str) -> Mapping[str, list[str]]:
    """Parse EXTENSION=COMMAND; the command is words for a program, or a JSON list of them."""
    extension, rest = _parse_pair(value)
    extension = extension.strip().removeprefix(".").lower()
    if not extension or not all(char.isalnum() or char in "._-+" for char in extension):
        raise UsageError(f"{extension!r} is not a file extension")
    command = _split_command(rest)
    if not command or not all(isinstance(word, str) and word and "\0" not in word for word in command):
        raise UsageError(f"the loader of {extension} is not a command (a list of strings)", 'docx = ["pandoc", "{}"]')
    if not any(FILE_PLACEHOLDER in word for word in command[1:]):
        raise UsageError(f"the loader of {extension} has no {FILE_PLACEHOLDER} for the name of the file")
    if "/" in command[0] and not command[0].startswith(("/", "~/")):
        hint = "begin it with / or ~, or name a program that is in PATH"
        raise UsageError(f"the loader of {extension}: {command[0]!r} is not an absolute path", hint)
    return {extension: command}


def _split_command(text: str) -> Any:
    """Return the words of a command; what cannot be split is no list."""
    import shlex  # few users have loaders

    try:
        return json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValueError:
        return None


def _parse_code_block(value: str) -> str:
    """Check a number from 1 on, or a word; raise ValueError for anything else."""
    if not value.strip() or (value.lstrip("+-").isdecimal() and not value.isdecimal()) or value == "0":
        raise ValueError(value)
    return value.strip()


OFF = "off"
AGE_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_CACHE_AGE_S = 3650 * AGE_UNITS_S["d"]
SWITCH = ValueType("on or off", _parse_switch, "on|off", ("on", "off"), is_closed=True, is_switch=True)
TEXT = text()
JSON = ValueType("JSON (an object, a list, or a file of one)", _parse_json, "JSON|@FILE")
JSON_OR_WORD = ValueType("a word or a JSON object", _parse_json_or_word, "WORD|JSON")
PROPERTIES = ValueType("KEY=VALUE", _parse_property, "KEY=VALUE", is_list=True, separator="=")
VARIABLES = ValueType("NAME=VALUE", _parse_variable, "NAME=VALUE", is_list=True, separator="=")
JSON_TYPES = (JSON, JSON_OR_WORD, PROPERTIES, VARIABLES)
TEXT_OR_FILE = ValueType("a text", _parse_text, "TEXT|@FILE")
CONVERSATION = ValueType("a conversation", _parse_text, "ID|WORDS", bare_value="last")
NAME = ValueType("a name", _parse_text, "NAME")
PATH = ValueType("a path", _parse_text, "PATH")
BASE_URL = ValueType("the URL of a server", check_base_url, "URL")
TOOL_RESULTS = ValueType("ID=VALUE", _parse_mapping, "ID=VALUE|@FILE", is_list=True)
TEMPLATE_VARIABLES = ValueType("NAME=VALUE", _parse_mapping, "NAME=VALUE|@FILE", is_list=True)
SCHEMA = ValueType("a text", _parse_text, "JSON|LIST|@FILE")
LOCATION_KEYS = ("city", "region", "country", "timezone")
LOCATION = ValueType(
    " or ".join(f"{part}=…" for part in LOCATION_KEYS), _parse_location, "city=…,country=…", is_list=True,
    separator="=",
)  # fmt: skip
# The headers that --header cannot set. Credentials: the words of a name, parts of its words, and names that end in key.
_NAME_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CREDENTIAL_WORDS = frozenset({"auth", "jwt", "pat", "sig", "token"})
_CREDENTIAL_PARTS = (
    "authoriz", "authentic", "apikey", "bearer", "cookie", "credential", "passphrase", "passw", "secret", "signature",
)  # fmt: skip
_HARMLESS_KEYS = ("idempotency-key", "cache-key", "routing-key")
# What the connection needs, and what decides how the answer is written or which part of it is sent.
_RESERVED_HEADERS = frozenset({
    "host", "connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "expect",
    "http2-settings", "accept", "accept-encoding", "accept-charset", "range", "max-forwards",
})  # fmt: skip
_RESERVED_PREFIXES = ("content-", "proxy-", "if-")
HEADERS = ValueType("NAME: VALUE", _parse_header, "NAME:VALUE", is_list=True, separator=": ", is_merged=True)
FILE_PLACEHOLDER = "{}"  # of the name of a file, in the command of a loader
LOADERS = ValueType(
    "EXTENSION=COMMAND", _parse_loader, "EXTENSION=COMMAND", is_list=True, separator="=", is_merged=True
)
MODELS = ValueType("a text", _parse_text, "ID", repeats=True)
SHARD = ValueType("a share such as 2/8, auto or auto/8", _parse_shard, "I/N|auto[/N]", ("auto",))
# A word after --extract that is one of these is its value; other languages need an equals sign.
LANGUAGES = (
    "python", "py", "bash", "sh", "zsh", "fish", "powershell", "json", "yaml", "toml", "xml", "html", "css", "sql",
    "javascript", "js", "typescript", "ts", "go", "rust", "c", "cpp", "java", "kotlin", "swift", "ruby", "php", "perl",
    "r", "lua", "diff", "dockerfile", "makefile", "markdown", "latex", "csv",
)  # fmt: skip
CODE_BLOCK = ValueType(
    "the number of a code block, last, all, or a language", _parse_code_block, "N|last|all|LANG",
    ("last", "all", *map(str, range(1, 10)), *LANGUAGES), bare_value="1",
)  # fmt: skip
CACHE_AGE = ValueType(
    "an age with its unit, up to 3650d: 30m, 12h, 7d or 2w; or off", _parse_cache_age, "AGE|off",
    ("30m", "12h", "1d", "7d", OFF), bare_value="1d", is_value=_starts_like_age,
)  # fmt: skip
PATHS = ValueType("a path", lambda value: (_parse_text(value),), "PATH", is_list=True)
FOLDERS = ValueType("a list of folders", _parse_folders, "FOLDER[:FOLDER]", is_list=True)
TEMPLATES = ValueType(
    "the name of a template, or @FILE", lambda value: (_parse_text(value),), "NAME|@FILE", is_list=True
)
TOOL_PATTERNS = ValueType("a list of names and patterns", _parse_words, "PATTERN", is_list=True)
TOOL_NAMES = ValueType(
    "a tool",
    lambda value: (_parse_text(value),),
    "NAME|FILE.py|mcp:SERVER",
    is_list=True,
)
