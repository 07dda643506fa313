"""Find keys and passwords in text that is about to be sent."""

import re
import string
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from aiml_cli.prompt.secret_rules import (
    DEFAULT_PASSWORD,
    MIN_PASSWORD_LENGTH,
    SEQUENCE,
    Place,
    apply_rules,
    is_placeholder,
    is_random,
    list_markers,
)

MAX_FINDINGS = 20
MIN_WORD_LENGTH, MIN_KEY_LENGTH = 8, 16
MAX_NAME_LENGTH = 64
# Long text is searched for markers in pieces, which overlap by more than the distance between a marker and the
# characters that it needs.
PIECE_CHARS, OVERLAP_CHARS, MAX_WORDS = 64 * 1024, 2048, 10_000
# A token is a part of a word with at least this many of these characters.
MIN_TOKEN_LENGTH = 16
_ALNUM = string.ascii_letters + string.digits
_TOKEN_CHARS = f"{_ALNUM}_.~+/=%$:,@-"
# Text without one of these contains no assignment.
_SIGNS = dict.fromkeys(("=", ":", ">", "--", "ENV", "setx", "setenv"), "")
# The words in names of secrets, and how the value is assigned after them.
NAME_WORDS = ("pass", "pwd", "psk", "secret", "token", "key", "credential", "pat")
_NAME_CHARS = f"{_ALNUM}_.$-"
_ASSIGNMENT = (
    r"(?P<rest>[\w.$-]{0,40}+)"
    r"(?:\\?[\"'`]?\]?[ \t]{0,8}(?P<sign>=>|:=|:|=)(?!=)"  # name = , "name": , ["name"] =
    r"|(?P<other>[\"'][ \t]{1,4}value=|[ \t]{0,4}\r?\n[ \t-]{1,40}value:|>)"  # attributes, YAML lists, XML elements
    r"|(?P<space>[ \t]{1,4}))"  # --name value
    r"[ \t]{0,8}(?:[rbuf]{0,2}\\?(?P<quote>[\"'`])(?P<quoted>(?:(?!(?P=quote))[^\n]){0,300})(?P=quote)"
    r"|(?P<bare>[^\s\"'`<>]{1,300}))"
)
_NAME_PREFIXES = ("", "export", "set", "ENV", "ARG", "env", "-", "- name:", "$env:", "+", "-e", "--env", "<", "setx")
_SPACE_PREFIXES = ("ENV", "setx", "setenv")
_BEFORE_NAME = tuple(";&?,{([|>/:")
_SECRET_NAME = re.compile(
    r"(?:.*[_.$:-])?(?:(?:[a-z]{0,12})(?:token|secret|passwo?r?d|passphrase)|secrets|pass|pwd|psk|credentials?|pat"
    r"|(?:secret|api|access|auth|private|encryption|signing|master|service|account|app|client|shared|subscription|"
    r"license|admin|deploy|webhook|ssh)[_.-]?(?:access[_.-]?)?key(?:[_.-]?data)?)(?:_base|_prod|_live|_?\d+)?"
)
_ENV_NAME = re.compile(
    r"[A-Z][A-Z0-9_]{0,60}?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PWD|_PASS|_PAT|CREDENTIALS?)"
    r"(?:_BASE|_PROD|_LIVE|_?\d+)?|KEY|TOKEN|PASS"
)
_HARMLESS_NAME = re.compile(
    r"public|publishable|primary|foreign|cache|sort|partition|max|num|count|hash|csrf|xsrf|idempot|next|page|contin|"
    r"cursor|sync|file|path|_len|length",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[a-z]+(?:_[a-z0-9]+)+|[a-z]+(?:[A-Z][a-z]+)+\d?|(?:[A-Z][a-z]+){2,}\d?"
)
_IDENTIFIER = re.compile(r"[A-Za-z_]+(?:\d{1,2}[A-Za-z_]*)?")
_CAMEL_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class SecretFinding(NamedTuple):
    """The place and the kind of a secret, without the secret; a guess is not certain."""

    name: str
    line: int
    kind: str
    is_certain: bool

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}: {self.kind}"


@cache
def _compile_assignment(word: str) -> "re.Pattern[str]":
    return re.compile(word + _ASSIGNMENT)


def find_secrets(name: str, text: str, known: Sequence[str] = ()) -> list[SecretFinding]:
    """Return at most 20 likely secrets in a text, at most one per line; `known` are the user's own keys.

    Placeholders, names of variables and text about keys do not count. Certain secrets are preferred to guesses.
    """
    certain, guesses = dict[int, str](), dict[int, str]()
    line, counted = 1, 0
    for position, kind, is_certain in _find_all(text, known):
        findings = certain if is_certain else guesses
        if len(findings) < MAX_FINDINGS:
            # The positions of a rule ascend, so counting lines from the previous one takes linear time.
            line, counted = (line, counted) if position >= counted else (1, 0)
            line, counted = line + text.count("\n", counted, position), position
            findings.setdefault(line, kind)
        elif is_certain:
            break
    lines = {**guesses, **certain}
    shown = sorted(sorted(lines, key=lambda line: line not in certain)[:MAX_FINDINGS])
    return [SecretFinding(name, line, lines[line], line in certain) for line in shown]


def _find_all(text: str, known: Sequence[str]) -> Iterator[tuple[int, str, bool]]:
    """Yield the position, the kind and the certainty of each secret; a secret may be yielded more than once."""
    for key in known:
        if (position := text.find(key)) >= 0:
            yield position, "your API key", True
    present = list_present(text)
    yield from apply_rules(text, present)
    for variant in _list_name_words():
        if variant in present:
            yield from find_assignments(variant, text)


def list_present(text: str) -> set[str]:
    """Return the rule markers, and the words used in names of secrets, that occur in a text; some are false positives.

    In a long text, each of the 250 markers is searched for only where it can be part of a secret.
    """
    markers = {place: list_markers(place) for place in Place}
    if len(text) <= PIECE_CHARS:
        return {marker for group in (*markers.values(), _list_name_words()) for marker in group if marker in text}
    present, words = set[str](), set[bytes]()
    for start in range(0, len(text), PIECE_CHARS):
        piece = text[max(0, start - OVERLAP_CHARS) : start + PIECE_CHARS + OVERLAP_CHARS]
        long_words = {*_list_long_words(piece.encode("utf-8", "replace"))}
        present |= _search(markers[Place.ANYWHERE], piece, present)
        present |= _search(markers[Place.BEFORE_WORD], piece, present) if long_words else set()
        present |= _search(_list_name_words(), piece, present) if _search(_SIGNS, piece) else set()
        words |= long_words
        if len(words) > MAX_WORDS or start + PIECE_CHARS >= len(text):
            present |= _search(markers[Place.IN_WORD], b"\n".join(words).decode(), present)
            words.clear()
    return present


@cache
def _list_name_words() -> dict[str, str]:
    return {variant: "" for word in NAME_WORDS for variant in (word, word.capitalize(), word.upper())}


def _search(markers: Mapping[str, str], text: str, found: Container[str] = ()) -> set[str]:
    """Return the markers in a text that are not in `found`; single characters are tested first, which is faster."""
    wanted = {marker: marker + needs for marker, needs in markers.items() if marker not in found}
    absent = {char for char in set().union(*wanted.values()) if char not in text}
    return {marker for marker, chars in wanted.items() if absent.isdisjoint(chars) and marker in text}


def _list_long_words(data: bytes) -> Iterator[bytes]:
    """Yield the words that are long enough for a token."""
    marks, start = data.translate(_make_table()), 0
    while (start := marks.find(b"a" * MIN_TOKEN_LENGTH, start)) >= 0:
        end = marks.find(b" ", start)
        word = data[start : end if end >= 0 else None]
        yield word
        start += len(word)


@cache
def _make_table() -> bytes:
    """Return a table for `translate` that maps characters of tokens to `a`, and all others to spaces."""
    return bytes(ord("a" if chr(byte) in _TOKEN_CHARS else " ") for byte in range(256))


def find_assignments(word: str, text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the position, the kind and the certainty of each secret that is assigned to a name with this word."""
    for match in _compile_assignment(word).finditer(text):
        before = text[max(0, match.start() - MAX_NAME_LENGTH) : match.start()].rpartition("\n")[2]
        context = before.rstrip(_NAME_CHARS)
        name = before[len(context) :] + word + match["rest"]
        if len(name) >= MAX_NAME_LENGTH or _HARMLESS_NAME.search(name):
            continue
        is_certain = _rate_assignment(name.lstrip("-$."), match, context, is_flag=name.startswith("--"))
        if is_certain is not None:
            kind = "a password" if "pass" in name.lower() or "pwd" in name.lower() else "a secret"
            yield match.start(), f"{kind} ({name.lstrip('-$.')})", is_certain


def _rate_assignment(name: str, match: "re.Match[str]", context: str, *, is_flag: bool) -> bool | None:
    """Judge a name and its value; without quotes, they count only where settings are written."""
    before = context.strip().rstrip("\"'\\ \t")
    if match["space"] and not is_flag and before not in _SPACE_PREFIXES:
        return None
    is_env = bool(_ENV_NAME.fullmatch(name))
    if not is_env and not _SECRET_NAME.fullmatch(_CAMEL_BOUNDARY.sub("_", name).lower()):
        return None
    is_bare = match["quote"] is None
    value = re.split("[;&]", match["bare"])[0].rstrip(",)]}\\") if is_bare else match["quoted"].rstrip("\\")
    if is_placeholder(value) or SEQUENCE.search(value) or DEFAULT_PASSWORD.fullmatch(value) or _is_code(value):
        return None
    is_setting = is_flag or before in _NAME_PREFIXES or before.endswith((*_BEFORE_NAME, " -e", " -H", " --header"))
    is_env_line = is_env and match["sign"] == "="
    if len(value) >= MIN_KEY_LENGTH and is_random(value):
        return True if not is_bare or is_setting or is_env_line else None
    is_said_so = not is_bare or (is_env_line and is_setting)
    return False if (is_said_so or is_setting) and _is_chosen(name, value, is_word_enough=is_said_so) else None


def _is_code(value: str) -> bool:
    """True for a name in program code: dotted, snake case, camel case, or with a word such as `token` in it."""
    is_about_secrets = _IDENTIFIER.fullmatch(value) and re.search("key|token|secret|passw", value, re.IGNORECASE)
    return bool(_CODE.fullmatch(value) or is_about_secrets)


def _is_chosen(name: str, value: str, *, is_word_enough: bool) -> bool:
    """True if a person may have chosen this password; it must have a digit where a word could mean something else."""
    is_password = bool(re.search("pass|pwd|psk|secret", name, re.IGNORECASE))
    has_digit = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    minimum = MIN_PASSWORD_LENGTH if is_password and has_digit else MIN_WORD_LENGTH
    return len(value) >= minimum and (has_digit or (is_password and is_word_enough))
