"""Write the code blocks of an answer that were asked for, and nothing else."""

from collections.abc import Callable

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion import Choice, Completion
from aiml_cli.api.events import Batch
from aiml_cli.errors import Misuse, NotAsAsked
from aiml_cli.screen.markdown.codeblocks import Block, blocks, counted, listed, meant
from aiml_cli.screen.safe import visible
from aiml_cli.settings.options import Options

MOST_LISTED = 400
KEPT = "aiml history show has the answer"


class Extracted:
    """Write when the answer has ended: half a block is never shown. On a terminal it is made harmless."""

    def __init__(self, write: Callable[[bytes], None], word: str, *, terminal: bool) -> None:
        self._write, self._word, self._terminal = write, word, terminal

    def show(self, batch: Batch) -> None:
        """Wait for the end."""

    def close(self, answer: Answer) -> None:
        """Write the blocks of each choice, an empty line between any two."""
        whole = answer.completion.complete
        found = [block for choice in answer.completion.choices for block in chosen(choice.words, self._word, whole)]
        text = "\n".join(code(block) for block in found)
        if text:
            self._write((visible(text) if self._terminal else text).encode("utf-8", "replace"))


def chosen(text: str, word: str, is_complete: bool) -> list[Block]:
    """Give the blocks that a word means; of an incomplete answer only whole ones, and none for its last."""
    found = [block for block in meant(blocks(text), word) if is_complete or block.is_whole]
    return found if is_complete or word != "last" else []


def code(block: Block) -> str:
    """Give a block's text, which ends in one newline."""
    return block.text.rstrip("\n") + "\n"


def unmet(word: str, completion: Completion, *, is_kept: bool) -> NotAsAsked | None:
    """Give the failure of an answer that has no such block; `is_kept`: the history has the answer."""
    lacking = [choice for choice in completion.choices if not chosen(choice.words, word, completion.complete)]
    if not lacking:
        return None
    failure = _failure(lacking[0], word, completion)
    failure.hint = failure.hint or (KEPT if is_kept else "")
    return failure


def _failure(choice: Choice, word: str, completion: Completion) -> NotAsAsked:
    found = blocks(choice.words)
    whose = f"choice {choice.index + 1}" if len(completion.choices) > 1 else "the answer"
    if not found or meant(found, word):
        return NotAsAsked(f"{whose} has no {'whole code block of that name' if found else 'code block'}")
    what = f"no code block {word}" if word.isdecimal() else f"no code block of {word}"
    return NotAsAsked(f"{whose} has {what}", f"it has {counted(found)}: {listed(found)}"[:MOST_LISTED])


def see_that_it_agrees(options: Options) -> None:
    """Raise Misuse for what cannot be had together with a block only."""
    form = "json" if options.json else options.format
    if form in ("json", "jsonl", "raw"):
        raise Misuse(f"--extract and --format {form} exclude each other", "a program reads the whole text of that")
    for flag, is_said in (
        ("--schema", options.schema),
        ("--json-object", options.json_object),
        ("--items", options.items),
    ):
        if is_said:
            raise Misuse(f"--extract and {flag} exclude each other", "such an answer has no code blocks")
