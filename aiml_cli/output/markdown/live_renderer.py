"""Show an answer's Markdown while it grows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, RLock, Thread
from time import monotonic

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import AudioDelta, EventBatch, TextDelta
from aiml_cli.output.markdown.block_parser import BlockParser, MarkdownBlock
from aiml_cli.output.markdown.block_renderer import BlockRenderer
from aiml_cli.output.markdown.live_region import Size, TerminalRegion
from aiml_cli.output.plain_text import citation_lines
from aiml_cli.system.sanitize import Sanitizer, sanitize
from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import register_region, unregister_region

# Between two times that something is drawn anew, and between two times that something is only added.
FRAME_S, ADDITION_S = 0.05, 0.012
PATIENCE_S = 10.0
NARROWEST_PAGE = 10


class LiveMarkdownRenderer:
    """Draw in a thread of its own: the network is read on meanwhile, and a signal finds no drawing half done."""

    def __init__(self, write: Callable[[str], None], size: Callable[[], Size], environ: Mapping[str, str]) -> None:
        self._page = MarkdownStream(write, environ)
        self._size = size
        self._news, self._screen = Condition(), RLock()
        self._pending: list[str] = []
        self._thread: Thread | None = None
        self._ended = self._has_text = self._is_held = self._is_lifted = False
        self._redrawn = self._painted = 0.0
        self._fault: Exception | None = None

    def show(self, batch: EventBatch) -> None:
        """Take what a network read brought; raise what drawing raised."""
        text = "".join([event.text for event in batch if type(event) is TextDelta and not event.choice])
        self._has_text = self._has_text or bool(text)
        if not self._has_text:
            text = "".join([event.transcript for event in batch if type(event) is AudioDelta and not event.choice])
        if text:
            self._add(text)
        if self._fault:
            raise self._fault

    def close(self, answer: Answer) -> None:
        """Draw what is left, the other choices, and the sources."""
        for choice in answer.completion.choices:
            if choice.index and choice.output_text:
                self._add(f"\n\n---\n\nChoice {choice.index + 1}:\n\n{choice.output_text}")
        if self._thread:
            with self._news:
                self._ended = True
                self._news.notify()
            self._thread.join(PATIENCE_S)
            unregister_region(self)
        if self._fault:
            raise self._fault
        if notes := citation_lines(answer.completion):
            self._page.append_notes(notes, self._size())

    @contextmanager
    def suspend(self, *, ends_line: bool) -> Iterator[None]:
        """Take the open end away while something else is written; it comes back below a line that is ended."""
        with self._screen:
            self._page.clear()
            yield
            self._is_held = not ends_line
        with self._news:
            self._is_lifted = True
            self._news.notify()

    def _add(self, text: str) -> None:
        with self._news:
            self._pending.append(text)
            self._news.notify()
        if self._thread is None:
            with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
                register_region(self)
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        due: float | None = None
        ended = False
        try:
            while not ended:
                text, ended = self._waited(due)
                with self._screen:
                    due = self._step(text, ended=ended)
        except Exception as fault:  # noqa: BLE001 - the thread that shows the next batch raises it
            self._fault = fault

    def _waited(self, due: float | None) -> tuple[str, bool]:
        """Wait until there is something to do; give what came, and whether that was all."""
        with self._news:
            if not (self._pending or self._ended or self._is_lifted):
                self._news.wait(None if due is None else max(0.0, due - monotonic()))
            text, self._pending, self._is_lifted = "".join(self._pending), [], False
            return text, self._ended

    def _step(self, text: str, *, ended: bool) -> float | None:
        """Take a text, and paint; give when to paint again, None when nothing is left."""
        size = self._size()
        self._page.feed(text, size)
        if ended:
            self._page.finish(size)
            return None
        now = monotonic()
        if self._is_held:
            return None
        if now < self._painted + ADDITION_S:
            return self._painted + ADDITION_S
        may_redraw = now >= self._redrawn + FRAME_S
        if not self._page.draw(size, may_redraw=may_redraw):
            return self._redrawn + FRAME_S
        self._painted = now
        self._redrawn = now if may_redraw else self._redrawn
        return None


class MarkdownStream:
    """Take text, which may hold anything; `write` gets what the terminal is to do."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._live = TerminalRegion(write, environ)
        self._gate, self._cutter, self._drawing = Sanitizer(), BlockParser(), BlockRenderer()
        self._finished: list[str] = []

    def feed(self, text: str, size: Size) -> None:
        """Take what came; what is finished by it will stay as it is drawn now."""
        self._finished += self._drawing.draw(self._cutter.feed(self._gate.feed(text)), _width(size))

    def finish(self, size: Size) -> None:
        """Take it that no more comes, and paint."""
        self.feed(self._gate.finish(), size)
        self._finished += self._drawing.draw(self._cutter.finish(), _width(size))
        self.draw(size)

    def draw(self, size: Size, *, may_redraw: bool = True) -> bool:
        """Show what is there, the open end too; say whether that was done."""
        below = self._drawing.copy().draw(list(map(_so_far, self._cutter.open_blocks())), _width(size))
        if not self._live.draw(self._finished, below, size, may_redraw=may_redraw):
            return False
        self._finished = []
        return True

    def clear(self) -> None:
        """Take the open end away; the next painting shows it again."""
        self._live.clear()

    def append_notes(self, notes: list[str], size: Size) -> None:
        """Write lines below an end."""
        self._live.draw(["", *map(sanitize, notes)], [], size)


def _so_far(block: MarkdownBlock) -> MarkdownBlock:
    """Draw a table when it is complete: each of its rows may change the width of all."""
    return block._replace(kind="rows") if block.kind == "table" else block


def _width(size: Size) -> int:
    """Leave the last column free: behind a character there terminals differ."""
    return max(size[0] - 1, NARROWEST_PAGE)
