"""The types of the values of settings: how to parse one, what to suggest, and what messages call it."""

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
    """The type of a value.

    - `name` completes the message "… is not NAME".
    - `parse` raises ValueError for an invalid value.
    - `choices` are all valid values if `is_closed`, else suggestions.
    - `is_list`: the values of a repeated flag are joined; otherwise the last one wins.
    - `is_switch`: the flag has no value.
    - `bare_value`: the value of the flag if none follows it, as in `--web-search`. The word after such a flag is its
      value if `is_value` returns True, or without `is_value` if it is one of the `choices`, if there are any.
    - `repeats`: the flag may be repeated, to send a request for each value.
    - `separator`: the type is a table, with this between name and value. `is_merged`: entries of all sources are used.
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
    """Return the type of a value that must be one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return ValueType("one of " + ", ".join(words), parse, "|".join(words), words, is_closed=True, bare_value=bare)


def text(*suggestions: str) -> ValueType[str]:
    """Return the type of a non-empty string; help and completion show the suggestions."""
    return ValueType("a non-empty string", _parse_text, "|".join(suggestions) or "TEXT", suggestions)


def text_list(*suggestions: str) -> ValueType[tuple[str, ...]]:
    """Return the type of a list of words, separated by commas or from a repeated flag."""
    return ValueType("a list of strings", _parse_words, "WORD", suggestions, is_list=True)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the hint "did you mean …?" with the most similar known words, or ""."""
    return ask_if_meant(find_similar(word, known))


def find_similar(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words that begin with this one, else the longest that it begins with, else a similar one."""
    from difflib import get_close_matches  # only a wrong word needs it

    known = list(known)
    same_start = [name for name in known if word and name.startswith(word)]
    shorter = [name for name in known if word.startswith(name) and len(name) > len(word) / 2]
    return same_start[:MAX_SUGGESTIONS] or sorted(shorter, key=len)[-1:] or get_close_matches(word, known, 1)


def ask_if_meant(names: Sequence[str]) -> str:
    """Return the hint "did you mean …?" with these words, or "" if there are none."""
    return f"did you mean {' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}?" if names else ""


def _require_range(value: N, low: float | None, high: float | None) -> N:
    """Return the value; raise ValueError if it is out of range, which NaN and infinity always are."""
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
    """True if a text is JSON or begins like JSON, so that it is not the name of a file (which `./NAME` would be)."""
    if text.lstrip().startswith(("{", "[", '"')):
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def names_file(value_type: ValueType[Any], text: str) -> bool:
    """True if a value of this type is the name of a file, whether or not the file exists."""
    if value_type.metavar == "PATH":
        return True
    if value_type is JSON:
        return not is_json_text(text)
    if text.startswith("@"):
        return "@FILE" in value_type.metavar or value_type is JSON_OR_WORD
    is_path = text.startswith(("/", "~", "./", "../")) or (text.endswith(".json") and not set(text) & set(", :\n\t"))
    return value_type is SCHEMA and is_path and not is_json_text(text)


def _parse_json(value: str) -> Json:
    """Parse JSON, or the JSON file with this path (or `@path`)."""
    if is_json_text(value):
        parsed = json.loads(value)
    elif value.startswith("@") or value.endswith(".json") or (exists(value) and not isdir(value)):  # noqa: PTH110, PTH112 - those of Path raise for a long string
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
    except (ValueError, RecursionError):  # a number with thousands of digits, or too deeply nested
        raise UsageError(f"{path}: not JSON: nested too deeply, or a number is too long") from None


def _parse_json_or_word(value: str) -> Json:
    """Parse a JSON object or a file with one; return anything else unchanged."""
    return _parse_json(value) if value.lstrip().startswith(("{", "@")) else _parse_text(value)


def _parse_pair(value: str) -> tuple[str, str]:
    key, equals, rest = value.partition("=")
    if not equals or not key.strip("."):
        raise ValueError(value)
    return key, rest


def _parse_mapping(value: str) -> Mapping[str, str]:
    return dict([_parse_pair(value)])


def _parse_property(value: str) -> Mapping[str, Json]:
    """Parse KEY=VALUE; a value that is not JSON is a string."""
    key, rest = _parse_pair(value)
    try:
        return {key: json.loads(rest)}
    except ValueError:
        return {key: rest}


def _parse_variable(value: str) -> Mapping[str, Json]:
    """Parse NAME=VALUE; a JSON object is a content part, and anything else is a string, even a number."""
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
    """Return a shard such as 2/8, auto or auto/8; raise ValueError for anything else."""
    number, _, count = value.partition("/")
    is_count = count.isdecimal() and int(count) >= 1
    is_number = number == "auto" or (is_count and number.isdecimal() and 1 <= int(number) <= int(count))
    if value != "auto" and not (is_count and is_number):
        raise ValueError(value)
    return value


def _parse_folders(value: str) -> tuple[str, ...]:
    """Parse absolute paths separated by colons; a relative one would be another folder in each directory."""
    folders = tuple(part.strip() for part in value.split(":") if part.strip())
    if relative := [folder for folder in folders if not folder.startswith(("/", "~"))]:
        raise UsageError(f"{relative[0]!r} is not an absolute path", "begin it with / or ~")
    return folders


def parse_age(text: str) -> float:
    """Convert 30m, 12h, 7d or 2w to seconds; raise ValueError for anything else."""
    digits, unit = text[:-1], AGE_UNITS_S.get(text[-1:])
    if unit is None or not (digits.isascii() and digits.isdecimal()):
        raise ValueError(text)
    return float(int(digits) * unit)


def _parse_cache_age(value: str) -> str:
    """Return an age or the word off; raise ValueError for anything else."""
    if value != OFF and not 0 < parse_age(value) <= MAX_CACHE_AGE_S:
        raise ValueError(value)
    return value


def _starts_like_age(word: str) -> bool:
    """True for a word that is meant as an age, even without a unit, so that it gets an error message."""
    return word == OFF or word[:1].isdecimal()


def _parse_header(value: str) -> Mapping[str, str]:
    """Parse NAME: VALUE; raise UsageError, without the value, which may be a secret."""
    name, colon, content = value.partition(":")
    content = content.strip(" \t")
    if not colon:
        raise UsageError("a header is NAME: VALUE")
    if not name or set(name) - _NAME_CHARS:
        raise UsageError("a header is NAME: VALUE, and NAME consists of letters, digits and dashes")
    if any(char < " " or "\x7f" <= char < "\xa0" for char in content):
        raise UsageError(f"the header {name} has a line break or another control character in its value")
    if any(char > "\xff" for char in content):
        raise UsageError(f"the header {name} has a character in its value that HTTP cannot send", "use Latin-1 only")
    _refuse_reserved(name)
    return {name: content}


def _refuse_reserved(name: str) -> None:
    """Raise UsageError for a header that contains a credential, or that aiml or the connection sets itself."""
    plain = name.lower().replace("_", "-")
    joined = plain.replace("-", "")
    is_key = plain.endswith(("key", "keys", "token")) and not plain.endswith(_HARMLESS_KEYS)
    if is_key or set(plain.split("-")) & _CREDENTIAL_WORDS or any(word in joined for word in _CREDENTIAL_PARTS):
        message = f"the header {name} cannot be set, because it contains a credential"
        raise UsageError(message, "store the key with: aiml config key")
    if plain in _RESERVED_HEADERS or plain.startswith(_RESERVED_PREFIXES):
        raise UsageError(f"the header {name} cannot be set, because aiml or the connection sets it")


def _parse_loader(value: str) -> Mapping[str, list[str]]:
    """Parse EXTENSION=COMMAND; the command is a program with arguments, or a JSON array of them."""
    extension, rest = _parse_pair(value)
    extension = extension.strip().removeprefix(".").lower()
    if not extension or not all(char.isalnum() or char in "._-+" for char in extension):
        raise UsageError(f"{extension!r} is not a file extension")
    command = _split_command(rest)
    if not command or not all(isinstance(word, str) and word and "\0" not in word for word in command):
        raise UsageError(f"the loader of {extension} is not a command (an array of strings)", 'docx = ["pandoc", "{}"]')
    if not any(FILE_PLACEHOLDER in word for word in command[1:]):
        raise UsageError(f"the loader of {extension} does not contain {FILE_PLACEHOLDER}, the path of the file")
    if "/" in command[0] and not command[0].startswith(("/", "~/")):
        hint = "begin it with / or ~, or name a program that is in PATH"
        raise UsageError(f"the loader of {extension}: {command[0]!r} is not an absolute path", hint)
    return {extension: command}


def _split_command(text: str) -> Any:
    """Return the words of a command, or None if it cannot be split."""
    import shlex  # few users have loaders

    try:
        return json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValueError:
        return None


def _parse_code_block(value: str) -> str:
    """Return a number of at least 1, or a word; raise ValueError for anything else."""
    if not value.strip() or (value.lstrip("+-").isdecimal() and not value.isdecimal()) or value == "0":
        raise ValueError(value)
    return value.strip()


OFF = "off"
AGE_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_CACHE_AGE_S = 3650 * AGE_UNITS_S["d"]
SWITCH = ValueType("on or off", _parse_switch, "on|off", ("on", "off"), is_closed=True, is_switch=True)
TEXT = text()
JSON = ValueType("JSON (an object, an array, or a file with one)", _parse_json, "JSON|@FILE")
JSON_OR_WORD = ValueType("a word or a JSON object", _parse_json_or_word, "WORD|JSON")
PROPERTIES = ValueType("KEY=VALUE", _parse_property, "KEY=VALUE", is_list=True, separator="=")
VARIABLES = ValueType("NAME=VALUE", _parse_variable, "NAME=VALUE", is_list=True, separator="=")
JSON_TYPES = (JSON, JSON_OR_WORD, PROPERTIES, VARIABLES)
TEXT_OR_FILE = ValueType("a non-empty string", _parse_text, "TEXT|@FILE")
CONVERSATION = ValueType("a conversation", _parse_text, "ID|WORDS", bare_value="last")
NAME = ValueType("a name", _parse_text, "NAME")
PATH = ValueType("a path", _parse_text, "PATH")
BASE_URL = ValueType("the URL of a server", check_base_url, "URL")
TOOL_RESULTS = ValueType("ID=VALUE", _parse_mapping, "ID=VALUE|@FILE", is_list=True)
TEMPLATE_VARIABLES = ValueType("NAME=VALUE", _parse_mapping, "NAME=VALUE|@FILE", is_list=True)
SCHEMA = ValueType("a schema", _parse_text, "JSON|LIST|@FILE")
LOCATION_KEYS = ("city", "region", "country", "timezone")
LOCATION = ValueType(
    " or ".join(f"{part}=…" for part in LOCATION_KEYS), _parse_location, "city=…,country=…", is_list=True,
    separator="=",
)  # fmt: skip
_NAME_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Credentials, which --header cannot set: names with these words or parts, and names that end in key or token and are
# not harmless.
_CREDENTIAL_WORDS = frozenset({"auth", "jwt", "pat", "sig", "token"})
_CREDENTIAL_PARTS = (
    "authoriz", "authentic", "apikey", "bearer", "cookie", "credential", "passphrase", "passw", "secret", "signature",
)  # fmt: skip
_HARMLESS_KEYS = ("idempotency-key", "cache-key", "routing-key")
# Headers that the connection needs, or that change the encoding of the response or which part of it is sent.
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
MODELS = ValueType("the id of a model", _parse_text, "ID", repeats=True)
SHARD = ValueType("a shard such as 2/8, auto or auto/8", _parse_shard, "I/N|auto[/N]", ("auto",))
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
