"""Find the files that typed text mentions: `@path`, `@"a path"`, `@https://…`."""

import os
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self
from unicodedata import category

from aiml_cli.errors import UsageError
from aiml_cli.prompt.file_sources import GLOB_CHARS, SCHEMES, find_path

MAX_NAME_LENGTH = 4096
MAX_CANDIDATES = 16
MAX_SPACES = 5
MAX_ESCAPED_LENGTH = 256
EXTENSIONS = (
    "7z avi bash bat bib bmp bz2 c cc cfg cjs conf cpp cs css csv diff doc docx ejs eml env epub erb ex exs fish flac "
    "gif go gz h hpp hs htm html ico ini ipynb java jl jpeg jpg js json jsonl jsx kt less lock log lua m4a md mjs mkv "
    "mov mp3 mp4 ods odt ogg patch pdf php pl png ppt pptx ps1 py pyi r rb rs rst rtf scala scss sh sql srt svelte svg "
    "swift tar tex tgz tif tiff toml ts tsv tsx txt vtt vue wav webp xls xlsx xml xz yaml yml zip zsh"
)
PATH_STARTS = ("/", "./", "../", "~/")
# A mention starts a line, or follows whitespace, an opening bracket or a quote. `@@` is a literal @.
OPENERS = "([<\"'\u2018\u201c\u201e\u00ab\uff08\u300c\u300e\u300a\u3010"
_BEFORE = rf"(?:(?<!\S)|(?<=[{re.escape(OPENERS)}]))"
_MENTION = re.compile(
    _BEFORE + r"""@(?:(@)|"((?:\\.|[^"\\\n])+)"|\u201c([^\u201d\n]+)\u201d|'([^'\n]+)'|((?:\\.|[^\s\\]){1,4096}))"""
)
_START = re.compile(_BEFORE + r"@(?=\S)")
# The quotes around a mention, by the opening quote.
_CLOSING = {'"': '"', "'": "'", "\u2018": "\u2019", "\u201c": "\u201d", "\u201e": "\u201c", "\u00ab": "\u00bb"}
_PLAIN = re.compile(r"(?:\\.|[^\s\\]){1,4096}")
_ESCAPE = re.compile(r"\\(.)")
_SPECIAL = re.compile(r"""([\s\\"'])""")
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})$")
_OPENING = {")": "(", "]": "[", "}": "{", ">": "<"}
_NAME_CHARS = frozenset("/\\-_*#%&@")  # punctuation that may end a name
_CODE_CHARS = frozenset("(){}[]<>=$;@\"'`|")


# Marks a typed @ before a file that each row names, as in `@{path}`. It is random, so that no template and no row can
# contain it, and it begins with a character that no name contains.
ROW_FILE_MARK = f"\x02{os.urandom(16).hex()}"
_BRACED = r"\{[^{}\n]+\}"
_ROW_FILE_NAME = (
    rf"""(?:"(?:[^"{{}}\n]*{_BRACED})+[^"{{}}\n]*"|'(?:[^'{{}}\n]*{_BRACED})+[^'{{}}\n]*'"""
    rf"""|(?:[\w./~+-]*{_BRACED})+(?:[\w./~+-]*[\w/~+-])?)"""
)
_ROW_FILE = re.compile(rf"(?:{_BEFORE}|(?<=\0))@(?=@?{_ROW_FILE_NAME})")
_MARKED_FILE = re.compile(rf"{ROW_FILE_MARK}({_ROW_FILE_NAME})")


class LiteralText(str):
    """Text that is not searched for mentions: it was searched already or not typed. `files` are its mentions."""

    __slots__ = ("files",)
    files: tuple[str, ...]

    def __new__(cls, text: str, files: Sequence[str] = ()) -> Self:
        """Create the text with the names of its files."""
        literal = super().__new__(cls, text)
        literal.files = tuple(files)
        return literal


class Kind(Enum):
    """The meaning of an @ at the start of a word."""

    FILE = 1  # a mention of something that exists, or of a URL
    MISSING = 2  # looks like a path, but nothing exists there
    DOUBTFUL = 3  # the same in brackets or quotes, where it may be code
    ESCAPE = 4  # `@@`, for a literal @


_UNKNOWN = (Kind.MISSING, Kind.DOUBTFUL)


class Mention(NamedTuple):
    """A mention in a text: its start and end, and the name that remains in the text without the @."""

    start: int
    end: int
    name: str
    kind: Kind


class ParsedWords(NamedTuple):
    """The text, the names of the files that it mentions, and the mentions without a file."""

    text: str
    names: list[str]
    missing: list[str]


def parse_mentions(words: Sequence[str]) -> ParsedWords:
    """Separate mentions from words; raise UsageError for a mention that is clearly a path but not a file.

    In the text a mention loses its @, and `@@x` becomes `@x`. Mentions alone leave no text. A complete word may
    be a mention with spaces: the shell has removed its quotes.
    """
    parsed = [(word, list(find_mentions(word))) for word in words]
    for word, found in parsed:
        if len(words) > 1 and all(mention.kind in _UNKNOWN for mention in found) and _is_missing_name(word):
            found[:] = [Mention(0, len(word), word[1:], Kind.MISSING)]
    mentions = [mention for _, found in parsed for mention in found]
    named = [name for word in words if isinstance(word, LiteralText) for name in word.files]
    named += [mention.name for mention in mentions if mention.kind is Kind.FILE]
    names = list(dict.fromkeys(named))
    for mention in mentions:
        if mention.kind is Kind.MISSING and is_clearly_path(mention.name):
            hint = "write @@ instead of @ to send it as text"
            raise UsageError(f"@{mention.name}: no such file", hint)
    missing = list(dict.fromkeys(mention.name for mention in mentions if mention.kind in _UNKNOWN))
    is_blank = (
        mentions and names and not any(_replace(word, found, keeps_names=False).strip() for word, found in parsed)
    )
    return ParsedWords("" if is_blank else " ".join(_replace(word, found) for word, found in parsed), names, missing)


def mark_row_files(words: Sequence[str]) -> list[str]:
    """Mark each @ before a name with a placeholder, such as `@{my file}`, and in `@@{name}`, which is literal."""
    return _ROW_FILE.sub(ROW_FILE_MARK, "\0".join(words)).split("\0")


def split_at_row_files(text: str) -> list[str]:
    """Split marked text; every other piece is the name of a file, possibly in quotes."""
    return _MARKED_FILE.split(text.replace(f"{ROW_FILE_MARK}@", "@"))


def describe_missing(missing: Sequence[str]) -> str:
    """Return the notice about mentions without a file."""
    return f"no such file, so it is sent as text: {', '.join(f'@{name}' for name in missing)}"


def find_mentions(text: str) -> Iterator[Mention]:
    """Yield mentions, possible mentions and escaped @; nothing in a LiteralText."""
    if isinstance(text, LiteralText) or "@" not in text:
        return
    if _is_name(text):
        yield Mention(0, len(text), text[1:], Kind.FILE)
        return
    position = 0
    while match := _MENTION.search(text, position):
        mention = _find_in_quotes(text, match.start()) or _to_mention(match)
        position = mention.end if mention else match.end()
        if mention:
            yield mention


def _to_mention(match: "re.Match[str]") -> Mention | None:
    """Return the mention of an @, or None for text. In brackets and quotes it may be code, such as '@/lib/x.ts'."""
    text, start, (escape, double, curly, single, plain) = match.string, match.start(), match.groups()
    if escape:
        return Mention(start, match.end(), "@", Kind.ESCAPE) if _needs_escape(text, start) else None
    name, length = _find_end(plain) if plain else (_ESCAPE.sub(r"\1", double) if double else curly or single, 0)
    if _exists(name):
        return Mention(start, start + 1 + length if plain else match.end(), name, Kind.FILE)
    if plain and (mention := _find_with_spaces(text, start, match.end())):
        return mention
    if _follows_opener(text, start):
        is_doubtful = bool(plain) and is_clearly_path(name)
        return Mention(start, start + 1 + length, name, Kind.DOUBTFUL) if is_doubtful else None
    return Mention(start, match.end(), name, Kind.MISSING) if _may_be_path(name, is_quoted=not plain) else None


def _find_in_quotes(text: str, start: int) -> Mention | None:
    """Return the mention of a file whose @ is inside the quotes, as in "@my file.txt"."""
    closing = _CLOSING.get(text[start - 1 : start], "")
    end = text.find(closing, start, start + MAX_NAME_LENGTH) if closing else -1
    name = text[start + 1 : end]
    return Mention(start, end, name, Kind.FILE) if end > 0 and "\n" not in name and find_path(name) else None


def _find_with_spaces(text: str, start: int, end: int) -> Mention | None:
    """Return an unquoted mention with spaces in its name, of a file or a possible path."""
    line = text[start + 1 : start + MAX_NAME_LENGTH].partition("\n")[0]
    words = line.split(" ", MAX_SPACES + 1)[: MAX_SPACES + 1]
    for count in range(2, len(words) + 1):
        name = _strip_punctuation(" ".join(words[:count]))
        if words[count - 1] and find_path(name):
            return Mention(start, start + 1 + len(name), name, Kind.FILE)
    first, second = (_strip_punctuation(word) for word in [*words, "", ""][:2])
    is_name = first.isalnum() and first == words[0] and not is_clearly_path(first)
    if is_name and second[:1].isalnum() and is_clearly_path(second) and not find_path(second):
        return Mention(start, end, f"{first} {second}", Kind.DOUBTFUL)
    return None


def _follows_opener(text: str, start: int) -> bool:
    return text[:start][-1:] in OPENERS and start > 0


def _needs_escape(text: str, start: int) -> bool:
    """True if @ or @@ would be a mention; in brackets and quotes only before a file or a clear path."""
    if not _follows_opener(text, start):
        return True
    rest = text[start : start + MAX_ESCAPED_LENGTH].lstrip("@")
    name = _find_end((_PLAIN.match(rest) or [""])[0])[0]
    quoted = rest.partition(_CLOSING.get(text[start - 1], "\n"))[0]
    return _exists(name) or is_clearly_path(name) or bool(find_path(quoted))


def escape_mentions(text: str, mentions: Sequence[Mention]) -> str:
    """Return the text with these mentions escaped."""
    starts = {mention.start for mention in mentions}
    return "".join(f"@{char}" if index in starts else char for index, char in enumerate(text)) if starts else text


def escape_name(name: str) -> str:
    """Return a file name as it is typed after an @, or as a word of a slash command."""
    return _SPECIAL.sub(r"\\\1", name)


def join_typed(words: Sequence[str]) -> str:
    """Join words to one string that is parsed to the same words and mentions."""
    return " ".join(map(_to_typed, words))


def _to_typed(word: str) -> str:
    if isinstance(word, LiteralText):
        return _START.sub(lambda match: "@@" if _needs_escape(word, match.start()) else "@", word)
    return f"@{escape_name(word[1:])}" if _SPECIAL.search(word) and _is_name(word) else word


def _is_name(word: str) -> bool:
    """True if a complete word is a mention of a path, with any characters."""
    return word.startswith("@") and word[1:2] not in ("", "@") and find_path(word[1:]) is not None


def _is_missing_name(word: str) -> bool:
    """True if a word was a quoted path, without the quotes that the shell has removed, and nothing exists there."""
    is_typed = not isinstance(word, LiteralText)
    return is_typed and word.startswith("@") and " " in word and is_clearly_path(word[1:])


def _replace(text: str, mentions: Sequence[Mention], *, keeps_names: bool = True) -> str:
    """Replace mentions of files by their names, or remove them, and `@@` by `@`."""
    position, pieces = 0, list[str]()
    for mention in mentions:
        if mention.kind not in _UNKNOWN:
            is_kept = keeps_names or mention.kind is Kind.ESCAPE
            pieces += [text[position : mention.start], mention.name if is_kept else ""]
            position = mention.end
    return "".join((*pieces, text[position:]))


def _find_end(raw: str) -> tuple[str, int]:
    """Return the name at the start of a text without whitespace, and how many characters it takes there.

    Punctuation after a name does not belong to it, unless a file with that name exists.
    """
    if raw.lower().startswith(SCHEMES):
        length = len(_strip_punctuation(raw))
        return raw[:length], length
    bare = len(_strip_punctuation(raw))
    ends = (end for end in range(len(raw) - 1, 0, -1) if _ends_name(raw[end]) and (end >= bare or raw[end] != "."))
    for end in (len(raw), *islice(ends, MAX_CANDIDATES)):
        if _exists(name := _unescape(raw[:end])):
            return name, end
    return _unescape(raw[:bare]), bare


def _strip_punctuation(raw: str) -> str:
    """Remove punctuation from the end, and ASCII brackets that are not opened in the text."""
    for _ in range(MAX_CANDIDATES):
        if not raw or not _is_punctuation(raw[-1]) or raw.count(raw[-1]) == raw.count(_OPENING.get(raw[-1], "")):
            break
        raw = raw[:-1]
    return raw


def _ends_name(char: str) -> bool:
    """True if a name may end before a character: punctuation or a symbol, such as an arrow."""
    return _is_punctuation(char) or category(char)[0] == "S"


def _is_punctuation(char: str) -> bool:
    return char in ">`" or (category(char)[0] == "P" and char not in _NAME_CHARS)


def _unescape(raw: str) -> str:
    return _ESCAPE.sub(r"\1", raw) if "\\" in raw else raw


def _exists(name: str) -> bool:
    """True if the name is a URL, an existing path, or a pattern with matches."""
    if name.lower().startswith(SCHEMES):
        return name.lower() not in SCHEMES
    if not name or len(name) > MAX_NAME_LENGTH:
        return False
    if find_path(name):
        return True
    if not {*name} & {*GLOB_CHARS}:
        return False
    from glob import iglob  # few names are patterns

    return any(iglob(str(Path(name).expanduser()), recursive=True))  # noqa: PTH207 - as file_sources does


def is_clearly_path(name: str) -> bool:
    """True if a name is almost certainly a path."""
    extension = _EXTENSION.search(name)
    has_extension = bool(extension and extension[1].lower() in EXTENSIONS.split())
    return has_extension or (name.startswith(PATH_STARTS) and name not in PATH_STARTS)


def _may_be_path(name: str, *, is_quoted: bool) -> bool:
    """True if a name without a file looks like a path; code, such as `@app.get("/")`, and placeholders do not."""
    if not name or len(name) > MAX_NAME_LENGTH or {*name} & _CODE_CHARS:
        return False
    return is_quoted or "/" in name or is_clearly_path(name) or bool(_EXTENSION.search(name))
