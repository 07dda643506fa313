"""Write the answer's text and nothing else, as it comes."""

from collections.abc import Callable, Iterator

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import AudioDelta, EventBatch, TextDelta
from aiml_cli.system.sanitize import Sanitizer, sanitize


class PlainTextRenderer:
    """Write the first choice as it comes, the others after it: mixed they could not be read.

    On a terminal control characters are made visible, the choices are told apart by a line, and the sources
    stand below.
    """

    def __init__(self, write: Callable[[bytes], None], *, terminal: bool) -> None:
        self._write = write
        self._terminal = terminal
        self._gate = Sanitizer()
        self._last = ""
        self._has_text = False

    def show(self, batch: EventBatch) -> None:
        """Write what a network read brought, at once; what is spoken where nothing is written."""
        text = "".join([event.text for event in batch if type(event) is TextDelta and not event.choice])
        if text:
            self._has_text = True
            self._put(text)
        elif not self._has_text:
            self._put("".join([event.transcript for event in batch if type(event) is AudioDelta and not event.choice]))

    def close(self, answer: Answer) -> None:
        """Write the other choices, the sources, and the newline that the last line lacks."""
        self._end_line()
        for choice in answer.completion.choices:
            if choice.index == 0 or not choice.output_text:
                continue
            if self._terminal:
                self._put(f"--- choice {choice.index + 1} ---\n")
            self._say(choice)
            self._end_line()
        if self._terminal and (notes := citation_lines(answer.completion)):
            self._put("\n".join(["", *map(sanitize, notes), ""]))

    def _say(self, choice: Choice) -> None:
        self._put(choice.output_text)

    def _put(self, text: str) -> None:
        """Write a text."""
        self._out(self._safe(text))

    def _out(self, shown: str) -> None:
        """Write what is harmless."""
        if shown:
            self._last = shown[-1]
            self._write(shown.encode("utf-8", "replace"))

    def _safe(self, text: str) -> str:
        return self._gate.feed(text) if self._terminal else text

    def _end_line(self) -> None:
        self._out(self._gate.finish())
        if self._last not in ("", "\n"):
            self._put("\n")


def citation_lines(completion: Completion) -> list[str]:
    """Give a line for each source: pages by their address, files by their id."""
    titles: dict[str, str] = {}
    for address, title in _sources(completion):
        titles[address] = titles.get(address) or title
    return [
        f"[{number}] {title}  {address}" if title else f"[{number}] {address}"
        for number, (address, title) in enumerate(titles.items(), 1)
    ]


def _sources(completion: Completion) -> Iterator[tuple[str, str]]:
    for citation in completion.citations:
        yield _in_a_line(citation.url), _in_a_line(citation.title or "")
    for file in completion.files:
        yield _in_a_line(file.id), _in_a_line(file.name or "")


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
