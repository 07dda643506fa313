"""Find the code blocks of a Markdown text, and the one that somebody means by a number or a language."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

SHOWN = 40
# A fence's, and those that indent a line far enough.
SIGNS = ("```", "~~~", "    ", "\t")
# Names that are said of one language; the first of each row stands for it.
SAME = (
    ("python", "py", "python3", "py3"),
    ("bash", "sh", "shell", "zsh", "console", "shell-session"),
    ("javascript", "js", "jsx", "mjs", "node"),
    ("typescript", "ts", "tsx"),
    ("yaml", "yml"),
    ("json", "jsonc", "json5"),
    ("html", "htm", "xhtml"),
    ("markdown", "md"),
    ("powershell", "ps1", "pwsh", "ps"),
    ("dockerfile", "docker"),
    ("makefile", "make", "mk"),
    ("cpp", "c++", "cc", "cxx", "hpp"),
    ("csharp", "c#", "cs"),
    ("rust", "rs"),
    ("ruby", "rb"),
    ("go", "golang"),
    ("kotlin", "kt"),
    ("perl", "pl"),
    ("latex", "tex"),
    ("diff", "patch"),
    ("text", "txt", "plain", "plaintext"),
)
_NAMES = {name: names[0] for names in SAME for name in names}


class Block(NamedTuple):
    """Hold a code block: its language, "" where none is said, its text, and whether all of it is there.

    A block is whole when its fence is closed, or when something follows it. `is_alone`: there is nothing else.
    """

    language: str
    text: str
    is_whole: bool = True
    is_alone: bool = False


def blocks(answer: str) -> list[Block]:
    """List the fenced and indented code blocks of a Markdown text, as CommonMark reads them."""
    # No block is without one of these; to read a million lines for nothing takes some seconds.
    return list(_blocks(answer)) if any(sign in answer for sign in SIGNS) else []


@lru_cache(maxsize=8)  # whether there is one is asked before it is shown
def _blocks(answer: str) -> tuple[Block, ...]:
    from markdown_it import MarkdownIt  # for few lines only

    tokens = MarkdownIt("commonmark").disable("inline").parse(answer)
    lines = answer.rstrip().count("\n") + 1
    return tuple(
        Block(
            (token.info.split() or [""])[0],
            token.content,
            _is_closed(token.map or [0, 0], token.content) or (token.map or [0, 0])[1] < lines,
            len(tokens) == 1,
        )
        for token in tokens
        if token.type in ("fence", "code_block")
    )


def _is_closed(place: Sequence[int], text: str) -> bool:
    """Say whether a block takes two lines more than its text: those of the fences."""
    return (not text or text.endswith("\n")) and place[1] - place[0] == text.count("\n") + 2


def meant(found: Sequence[Block], word: str) -> list[Block]:
    """Give the blocks that a word means: a number, last, all, or the first of a language."""
    if word == "all":
        return list(found)
    if word == "last":
        return list(found[-1:])
    if word.isdecimal():
        return list(found[int(word) - 1 : int(word)]) if int(word) else []
    return [block for block in found if _name(block.language) == _name(word)][:1]


def _name(language: str) -> str:
    """Give one name to a language; what stands around it in a fence's line (`{.python}`) says nothing."""
    plain = language.strip("{}.").partition("{")[0].partition(":")[0].lower()
    return _NAMES.get(plain, plain)


def counted(found: Sequence[Block]) -> str:
    """Say how many there are."""
    return f"{len(found) or 'no'} code block{'' if len(found) == 1 else 's'}"


def listed(found: Sequence[Block]) -> str:
    """Name the blocks by number, language and beginning."""
    return "; ".join(map(_line, range(1, len(found) + 1), found))


def _line(place: int, block: Block) -> str:
    begins = next((line.strip() for line in block.text.splitlines() if line.strip()), "")
    return " ".join(filter(None, (f"{place}:", block.language, begins[:SHOWN])))
