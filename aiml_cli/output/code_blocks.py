"""Write the code blocks of an answer that were asked for, and nothing else."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AnswerMismatch
from aiml_cli.system.sanitize import sanitize

MOST_LISTED = 400
KEPT = "aiml history show has the answer"
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


class CodeBlockRenderer:
    """Write when the answer has ended: half a block is never shown. On a terminal it is made harmless."""

    def __init__(self, write: Callable[[bytes], None], word: str, *, terminal: bool) -> None:
        self._write, self._word, self._terminal = write, word, terminal

    def show(self, batch: EventBatch) -> None:
        """Wait for the end."""

    def close(self, answer: Answer) -> None:
        """Write the blocks of each choice, an empty line between any two."""
        whole = answer.completion.is_complete
        found = [
            block
            for choice in answer.completion.choices
            for block in select_complete(choice.output_text, self._word, whole)
        ]
        text = "\n".join(block_code(block) for block in found)
        if text:
            self._write((sanitize(text) if self._terminal else text).encode("utf-8", "replace"))


class CodeBlock(NamedTuple):
    """Hold a code block: its language, "" where none is said, its text, and whether all of it is there.

    A block is whole when its fence is closed, or when something follows it. `is_alone`: there is nothing else.
    """

    language: str
    text: str
    is_complete: bool = True
    is_alone: bool = False


def select_complete(text: str, word: str, is_complete: bool) -> list[CodeBlock]:
    """Give the blocks that a word means; of an incomplete answer only whole ones, and none for its last."""
    found = [block for block in select_blocks(find_blocks(text), word) if is_complete or block.is_complete]
    return found if is_complete or word != "last" else []


def block_code(block: CodeBlock) -> str:
    """Give a block's text, which ends in one newline."""
    return block.text.rstrip("\n") + "\n"


def missing_block_error(word: str, completion: Completion, *, is_kept: bool) -> AnswerMismatch | None:
    """Give the failure of an answer that has no such block; `is_kept`: the history has the answer."""
    lacking = [
        choice for choice in completion.choices if not select_complete(choice.output_text, word, completion.is_complete)
    ]
    if not lacking:
        return None
    failure = _failure(lacking[0], word, completion)
    failure.hint = failure.hint or (KEPT if is_kept else "")
    return failure


def _failure(choice: Choice, word: str, completion: Completion) -> AnswerMismatch:
    found = find_blocks(choice.output_text)
    whose = f"choice {choice.index + 1}" if len(completion.choices) > 1 else "the answer"
    if not found or select_blocks(found, word):
        return AnswerMismatch(f"{whose} has no {'whole code block of that name' if found else 'code block'}")
    what = f"no code block {word}" if word.isdecimal() else f"no code block of {word}"
    return AnswerMismatch(f"{whose} has {what}", f"it has {count_text(found)}: {list_blocks(found)}"[:MOST_LISTED])


def find_blocks(answer: str) -> list[CodeBlock]:
    """List the fenced and indented code blocks of a Markdown text, as CommonMark reads them."""
    # No block is without one of these; to read a million lines for nothing takes some seconds.
    return list(_blocks(answer)) if any(sign in answer for sign in SIGNS) else []


@lru_cache(maxsize=8)  # whether there is one is asked before it is shown
def _blocks(answer: str) -> tuple[CodeBlock, ...]:
    from markdown_it import MarkdownIt  # for few lines only

    tokens = MarkdownIt("commonmark").disable("inline").parse(answer)
    lines = answer.rstrip().count("\n") + 1
    return tuple(
        CodeBlock(
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


def select_blocks(found: Sequence[CodeBlock], word: str) -> list[CodeBlock]:
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


def count_text(found: Sequence[CodeBlock]) -> str:
    """Say how many there are."""
    return f"{len(found) or 'no'} code block{'' if len(found) == 1 else 's'}"


def list_blocks(found: Sequence[CodeBlock]) -> str:
    """Name the blocks by number, language and beginning."""
    return "; ".join(map(_line, range(1, len(found) + 1), found))


def _line(place: int, block: CodeBlock) -> str:
    begins = next((line.strip() for line in block.text.splitlines() if line.strip()), "")
    return " ".join(filter(None, (f"{place}:", block.language, begins[:SHOWN])))
