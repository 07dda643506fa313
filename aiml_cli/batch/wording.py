"""Make what is said of a row: its values in their places among the words, or the row before the words."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from aiml_cli.api.messages import Conversation, Message
from aiml_cli.batch.rows import Row
from aiml_cli.errors import Misuse
from aiml_cli.prompt.attach import block
from aiml_cli.prompt.fill import fill, variables
from aiml_cli.prompt.mentions import mentioned
from aiml_cli.prompt.text import loosely
from aiml_cli.question import Question

# A template says {stdin} where the row belongs: that is what would be piped in.
ROW, STDIN = "row", "stdin"


class Wording:
    """Hold what all rows have in common: the words, the files named among them, the turns before."""

    def __init__(self, words: Sequence[str], question: Question) -> None:
        text, names = mentioned(words)
        self._words, notice = loosely(os.fsencode("" if text.strip() == "-" else text), "the prompt")
        if notice:
            question.tell(notice)
        self._places = variables(self._words)
        mark = os.urandom(16).hex()
        options = replace(question.options, file=tuple(names) or None, no_stdin=question.options.messages != "-")
        settings = replace(question.settings, options=options)
        *before, last = replace(question, words=[mark], settings=settings).said().turns
        self._before = tuple(before)
        self._parts = [part.split(mark) if isinstance(part, str) else part for part in getattr(last, "content", ())]

    def know(self, columns: Iterable[str] | None) -> None:
        """Raise Misuse for a place that none of the columns fills."""
        if columns is not None:
            self._see_that_all_are_there(dict.fromkeys(columns, ""))

    def said(self, row: Row) -> Conversation:
        """Give what is said of a row; raise Misuse where that cannot be."""
        if row.wrong:
            raise Misuse(row.wrong)
        text = self._text(row)
        if not text.strip():
            raise Misuse("the prompt is empty")
        parts = tuple(text.join(part) if isinstance(part, list) else part for part in self._parts)
        return Conversation((*self._before, Message("user", parts)))

    def _text(self, row: Row) -> str:
        if not self._words.strip():
            return row.text
        if not self._places:
            return "".join((*block("stdin", row.text), "\n\n", fill(self._words, {})))
        self._see_that_all_are_there(row.columns)
        return fill(self._words, {ROW: row.text, STDIN: row.text, **row.columns})

    def _see_that_all_are_there(self, columns: Mapping[str, str]) -> None:
        for name in self._places:
            if name not in columns and name not in (ROW, STDIN):
                near = get_close_matches(name, [*columns, ROW], 1)
                known = f"there is {', '.join(f'{{{each}}}' for each in (ROW, *columns))}"
                hint = f"did you mean {{{near[0]}}}? {known}" if near else f"{known}; {{{{{name}}}}} is that text"
                raise Misuse(f"no column is called {{{name}}}", hint)
