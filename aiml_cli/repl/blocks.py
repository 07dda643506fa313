"""Find the code blocks of an answer, which people name by their numbers."""

from typing import NamedTuple

from aiml_cli.errors import Misuse
from aiml_cli.repl.session import Session
from aiml_cli.repl.words import number

SHOWN = 40


class Block(NamedTuple):
    """Hold a code block: its language, "" where none is said, and its text."""

    language: str
    text: str


def blocks(answer: str) -> list[Block]:
    """List the fenced and indented code blocks of a Markdown text."""
    from markdown_it import MarkdownIt  # for few lines only

    tokens = MarkdownIt("commonmark").parse(answer)
    return [
        Block((token.info.split() or [""])[0], token.content)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def chosen(session: Session, words: str) -> str:
    """Give the last answer, or its code block of a number; raise Misuse where there is none."""
    if not session.exchanges:
        raise Misuse("there is no answer yet")
    answer = session.exchanges[-1].text
    if not words:
        return answer
    found, wanted = blocks(answer), number(words)
    if not 1 <= wanted <= len(found):
        raise Misuse(f"the answer has {_counted(found)}", "; ".join(map(_line, range(1, len(found) + 1), found)))
    return found[wanted - 1].text


def _counted(found: list[Block]) -> str:
    return f"{len(found) or 'no'} code block{'' if len(found) == 1 else 's'}"


def _line(place: int, block: Block) -> str:
    """Name a block by its number, its language and its beginning."""
    begins = next((line.strip() for line in block.text.splitlines() if line.strip()), "")
    return " ".join(filter(None, (f"{place}:", block.language, begins[:SHOWN])))
