"""Write only the code blocks of an answer that --extract selects."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AnswerMismatch
from aiml_cli.system.sanitize import sanitize

MAX_HINT_LENGTH = 400
MAX_PREVIEW_LENGTH = 40
HISTORY_HINT = "aiml history show prints the answer"
# Every fenced or indented block has one of these.
BLOCK_MARKS = ("```", "~~~", "    ", "\t")
# The names of each language, the canonical one first.
LANGUAGE_NAMES = (
    ("python", "py", "python3", "py3"), ("bash", "sh", "shell", "zsh", "console", "shell-session"),
    ("javascript", "js", "jsx", "mjs", "node"), ("typescript", "ts", "tsx"), ("yaml", "yml"),
    ("json", "jsonc", "json5"), ("html", "htm", "xhtml"), ("markdown", "md"),
    ("powershell", "ps1", "pwsh", "ps"), ("dockerfile", "docker"), ("makefile", "make", "mk"),
    ("cpp", "c++", "cc", "cxx", "hpp"), ("csharp", "c#", "cs"), ("rust", "rs"), ("ruby", "rb"), ("go", "golang"),
    ("kotlin", "kt"), ("perl", "pl"), ("latex", "tex"), ("diff", "patch"), ("text", "txt", "plain", "plaintext"),
)  # fmt: skip
_CANONICAL_NAMES = {name: names[0] for names in LANGUAGE_NAMES for name in names}


class CodeBlockRenderer:
    """Renderer that waits for the end of the answer, so that no incomplete block is written."""

    def __init__(self, write: Callable[[bytes], None], selector: str, *, terminal: bool) -> None:
        self._write, self._selector, self._terminal = write, selector, terminal

    def show(self, batch: EventBatch) -> None:
        """Do nothing until the end."""

    def close(self, answer: Answer) -> None:
        """Write the selected blocks of every choice, with an empty line between two blocks."""
        is_complete = answer.completion.is_complete
        blocks = [
            block
            for choice in answer.completion.choices
            for block in select_complete_blocks(choice.output_text, self._selector, is_complete)
        ]
        if text := "\n".join(map(extract_code, blocks)):
            self._write((sanitize(text) if self._terminal else text).encode("utf-8", "replace"))


class CodeBlock(NamedTuple):
    """A code block of a Markdown text; `language` is "" if the fence names none.

    `is_complete`: its fence is closed, or more text follows it. `is_alone`: the text contains nothing else.
    """

    language: str
    text: str
    is_complete: bool = True
    is_alone: bool = False


def select_complete_blocks(text: str, selector: str, is_complete: bool) -> list[CodeBlock]:
    """Return the selected blocks; for an incomplete answer only complete ones, and none for `last`."""
    blocks = [block for block in select_blocks(find_blocks(text), selector) if is_complete or block.is_complete]
    return blocks if is_complete or selector != "last" else []


def extract_code(block: CodeBlock) -> str:
    """Return the text of a block with exactly one newline at its end."""
    return block.text.rstrip("\n") + "\n"


def missing_block_error(selector: str, completion: Completion, *, is_saved: bool) -> AnswerMismatch | None:
    """Return the error of the first choice without a selected block; `is_saved`: the history has the answer."""
    for choice in completion.choices:
        if not select_complete_blocks(choice.output_text, selector, completion.is_complete):
            error = _build_error(choice, selector, completion)
            error.hint = error.hint or (HISTORY_HINT if is_saved else "")
            return error
    return None


def _build_error(choice: Choice, selector: str, completion: Completion) -> AnswerMismatch:
    blocks = find_blocks(choice.output_text)
    subject = f"choice {choice.index + 1}" if len(completion.choices) > 1 else "the answer"
    if not blocks or select_blocks(blocks, selector):
        return AnswerMismatch(f"{subject} has no {'complete code block of that name' if blocks else 'code block'}")
    missing = f"no code block {selector}" if selector.isdecimal() else f"no code block of {selector}"
    hint = f"it has {format_count(blocks)}: {describe_blocks(blocks)}"[:MAX_HINT_LENGTH]
    return AnswerMismatch(f"{subject} has {missing}", hint)


def find_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced and indented code blocks of a Markdown text, as they are drawn on a terminal."""
    # Parsing a million lines takes seconds; a text without these marks has no block.
    return list(_parse_blocks(text)) if any(mark in text for mark in BLOCK_MARKS) else []


@lru_cache(maxsize=8)  # an answer is checked for blocks before they are written
def _parse_blocks(text: str) -> tuple[CodeBlock, ...]:
    # Few calls need these modules.
    from aiml_cli.output.markdown.answer_sections import drop_reasoning
    from aiml_cli.output.markdown.block_parser import BlockParser

    parser = BlockParser()
    text = drop_reasoning(text).replace("\r\n", "\n").rstrip("\n") + "\n"
    complete = parser.feed(text)
    parsed = [*((block, True) for block in complete), *((block, False) for block in parser.finish())]
    blocks: list[CodeBlock] = []
    for block, is_complete in parsed:
        if block.kind not in ("fence", "code"):
            continue
        code = f"{block.text}\n" if block.text or block.part else ""
        if block.part:
            blocks[-1] = blocks[-1]._replace(text=blocks[-1].text + code, is_complete=is_complete and block.is_last)
        else:
            language = (block.info.split() or [""])[0]
            blocks.append(CodeBlock(language, code, is_complete and block.is_last))
    is_alone = all(block.kind in ("fence", "code") and not block.containers for block, _ in parsed) and len(blocks) == 1
    return tuple(block._replace(is_alone=is_alone) for block in blocks)


def select_blocks(blocks: Sequence[CodeBlock], selector: str) -> list[CodeBlock]:
    """Return the blocks that a selector selects: a number, `last`, `all`, or the first of a language."""
    if selector == "all":
        return list(blocks)
    if selector == "last":
        return list(blocks[-1:])
    if selector.isdecimal():
        return list(blocks[int(selector) - 1 : int(selector)]) if int(selector) else []
    return [block for block in blocks if _normalize(block.language) == _normalize(selector)][:1]


def _normalize(language: str) -> str:
    """Return the canonical name of a language, without the attributes of a fence such as `{.python}`."""
    name = language.strip("{}.").partition("{")[0].partition(":")[0].lower()
    return _CANONICAL_NAMES.get(name, name)


def format_count(blocks: Sequence[CodeBlock]) -> str:
    """Return the number of blocks in words, such as "2 code blocks"."""
    return f"{len(blocks) or 'no'} code block{'' if len(blocks) == 1 else 's'}"


def describe_blocks(blocks: Sequence[CodeBlock]) -> str:
    """Return the number, language and first line of each block."""
    return "; ".join(_describe_block(number, block) for number, block in enumerate(blocks, 1))


def _describe_block(number: int, block: CodeBlock) -> str:
    first_line = next((line.strip() for line in block.text.splitlines() if line.strip()), "")
    return " ".join(filter(None, (f"{number}:", block.language, first_line[:MAX_PREVIEW_LENGTH])))
