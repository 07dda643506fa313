"""Write the text of the answer unchanged, as it arrives, or discard it."""

from collections.abc import Callable, Iterator

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import AudioDelta, EventBatch, TextDelta
from aiml_cli.system.sanitize import Sanitizer, sanitize


class NullRenderer:
    """Renderer that shows nothing, for --format raw and for answers that the program uses itself."""

    def show(self, batch: EventBatch) -> None:
        """Show nothing."""

    def close(self, answer: Answer) -> None:
        """Show nothing."""


class PlainTextRenderer:
    """Renderer that writes the first choice as it arrives and the others after it.

    On a terminal it escapes control characters, separates the choices by a line and lists the sources at the end.
    """

    def __init__(self, write: Callable[[bytes], None], *, terminal: bool) -> None:
        self._write = write
        self._terminal = terminal
        self._sanitizer = Sanitizer()
        self._last_char = ""
        self._has_text = False

    def show(self, batch: EventBatch) -> None:
        """Write the text of one network read, or the transcript of the audio if there is no text."""
        text = join_text(batch)
        self._has_text = self._has_text or bool(text)
        self._write_text(text if self._has_text else join_transcripts(batch))

    def close(self, answer: Answer) -> None:
        """Write the other choices, the sources, and the newline after the last line if it is missing."""
        self._end_line()
        for choice in answer.completion.choices:
            if choice.index == 0 or not choice.output_text:
                continue
            if self._terminal:
                self._write_text(f"--- choice {choice.index + 1} ---\n")
            self._write_choice(choice)
            self._end_line()
        if self._terminal and (sources := citation_lines(answer.completion)):
            self._write_text("\n".join(["", *map(sanitize, sources), ""]))

    def _write_choice(self, choice: Choice) -> None:
        self._write_text(choice.output_text)

    def _write_text(self, text: str) -> None:
        self._write_sanitized(self._sanitize(text))

    def _write_sanitized(self, text: str) -> None:
        if text:
            self._last_char = text[-1]
            self._write(text.encode("utf-8", "replace"))

    def _sanitize(self, text: str) -> str:
        return self._sanitizer.feed(text) if self._terminal else text

    def _end_line(self) -> None:
        self._write_sanitized(self._sanitizer.finish())
        if self._last_char not in ("", "\n"):
            self._write_text("\n")


def join_text(batch: EventBatch) -> str:
    """Return the text of the first choice in one network read."""
    return "".join([event.text for event in batch if type(event) is TextDelta and not event.choice])


def join_transcripts(batch: EventBatch) -> str:
    """Return the transcript of the first choice's audio in one network read."""
    return "".join([event.transcript for event in batch if type(event) is AudioDelta and not event.choice])


def citation_lines(completion: Completion) -> list[str]:
    """Return a numbered line for each source: pages by their URL, files by their id."""
    titles: dict[str, str] = {}
    for address, title in _list_sources(completion):
        titles[address] = titles.get(address) or title
    return [
        f"[{number}] {title}  {address}" if title else f"[{number}] {address}"
        for number, (address, title) in enumerate(titles.items(), 1)
    ]


def _list_sources(completion: Completion) -> Iterator[tuple[str, str]]:
    for citation in completion.citations:
        yield collapse_whitespace(citation.url), collapse_whitespace(citation.title or "")
    for file in completion.files:
        yield collapse_whitespace(file.id), collapse_whitespace(file.name or "")


def collapse_whitespace(text: str) -> str:
    """Return the text on one line, with single spaces."""
    return " ".join(text.split())
