"""Draw the Markdown of an answer on a terminal while it arrives."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, RLock, Thread
from time import monotonic

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.output.markdown.block_parser import BlockParser, MarkdownBlock
from aiml_cli.output.markdown.block_renderer import BlockRenderer
from aiml_cli.output.markdown.live_region import Size, TerminalRegion
from aiml_cli.output.plain_text import citation_lines, join_text, join_transcripts
from aiml_cli.system.sanitize import Sanitizer, sanitize
from aiml_cli.system.signals import defer_signals
from aiml_cli.system.stdio import register_region, unregister_region

# The least time between two redraws, and between two additions.
REDRAW_INTERVAL_S, ADDITION_INTERVAL_S = 0.05, 0.012
JOIN_TIMEOUT_S = 10.0
MIN_WIDTH = 10


class LiveMarkdownRenderer:
    """Renderer with a thread for drawing, so that drawing neither delays the network nor is cut off by a signal."""

    def __init__(self, write: Callable[[str], None], size: Callable[[], Size], environ: Mapping[str, str]) -> None:
        self._stream = MarkdownStream(write, environ)
        self._size = size
        self._changed, self._terminal_lock = Condition(), RLock()
        self._pending: list[str] = []
        self._thread: Thread | None = None
        self._is_ended = self._has_text = self._is_suspended = self._is_cleared = False
        self._redrawn_at = self._drawn_at = 0.0
        self._error: Exception | None = None

    def show(self, batch: EventBatch) -> None:
        """Pass the text of one network read to the thread; raise what the thread raised."""
        text = join_text(batch)
        self._has_text = self._has_text or bool(text)
        delta = text if self._has_text else join_transcripts(batch)
        if delta:
            self._add_text(delta)
        if self._error:
            raise self._error

    def close(self, answer: Answer) -> None:
        """Draw the rest, the other choices and the sources."""
        for choice in answer.completion.choices:
            if choice.index and choice.output_text:
                self._add_text(f"\n\n---\n\nChoice {choice.index + 1}:\n\n{choice.output_text}")
        if self._thread:
            with self._changed:
                self._is_ended = True
                self._changed.notify()
            self._thread.join(JOIN_TIMEOUT_S)
            unregister_region(self)
        if self._error:
            raise self._error
        if sources := citation_lines(answer.completion):
            self._stream.append_lines(sources, self._size())

    @contextmanager
    def suspend(self, *, ends_line: bool) -> Iterator[None]:
        """Erase the open lines while other output is written; they return once that has ended its line."""
        with self._terminal_lock:
            self._stream.clear()
            yield
            self._is_suspended = not ends_line
        with self._changed:
            self._is_cleared = True
            self._changed.notify()

    def _add_text(self, text: str) -> None:
        with self._changed:
            self._pending.append(text)
            self._changed.notify()
        if self._thread is None:
            with defer_signals():  # an interrupted start leaves a thread that nobody can join
                register_region(self)
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        due: float | None = None
        is_ended = False
        try:
            while not is_ended:
                text, is_ended = self._wait_for_text(due)
                with self._terminal_lock:
                    due = self._update(text, is_ended=is_ended)
        except Exception as error:  # noqa: BLE001 - the thread that shows the next batch raises it
            self._error = error

    def _wait_for_text(self, due: float | None) -> tuple[str, bool]:
        """Wait for a change or until `due`; return the new text, and whether it is the last."""
        with self._changed:
            if not (self._pending or self._is_ended or self._is_cleared):
                self._changed.wait(None if due is None else max(0.0, due - monotonic()))
            text, self._pending, self._is_cleared = "".join(self._pending), [], False
            return text, self._is_ended

    def _update(self, text: str, *, is_ended: bool) -> float | None:
        """Add the text and draw; return the time of the next draw, or None if nothing is left to draw."""
        size = self._size()
        self._stream.feed(text, size)
        if is_ended:
            self._stream.finish(size)
            return None
        now = monotonic()
        if self._is_suspended:
            return None
        if now < self._drawn_at + ADDITION_INTERVAL_S:
            return self._drawn_at + ADDITION_INTERVAL_S
        may_redraw = now >= self._redrawn_at + REDRAW_INTERVAL_S
        if not self._stream.draw(size, may_redraw=may_redraw):
            return self._redrawn_at + REDRAW_INTERVAL_S
        self._drawn_at = now
        self._redrawn_at = now if may_redraw else self._redrawn_at
        return None


class MarkdownStream:
    """Markdown text on its way to a terminal: sanitized, parsed, and drawn when `draw` or `finish` is called."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self._region = TerminalRegion(write, environ)
        self._sanitizer, self._parser, self._renderer = Sanitizer(), BlockParser(), BlockRenderer()
        self._finished: list[str] = []

    def feed(self, text: str, size: Size) -> None:
        """Add text; the blocks that it finishes keep the present width."""
        self._finished += self._renderer.draw(self._parser.feed(self._sanitizer.feed(text)), _usable_width(size))

    def finish(self, size: Size) -> None:
        """End the text and draw the rest."""
        self.feed(self._sanitizer.finish(), size)
        self._finished += self._renderer.draw(self._parser.finish(), _usable_width(size))
        self.draw(size)

    def draw(self, size: Size, *, may_redraw: bool = True) -> bool:
        """Draw the finished and the open lines; return False if this needs a redraw that may not be."""
        blocks = [_summarize_table(block) for block in self._parser.open_blocks()]
        open_lines = self._renderer.copy().draw(blocks, _usable_width(size))
        if not self._region.draw(self._finished, open_lines, size, may_redraw=may_redraw):
            return False
        self._finished = []
        return True

    def clear(self) -> None:
        """Erase the open lines until the next draw."""
        self._region.clear()

    def append_lines(self, lines: list[str], size: Size) -> None:
        """Write lines after the end of the text."""
        self._region.draw(["", *map(sanitize, lines)], [], size)


def _summarize_table(block: MarkdownBlock) -> MarkdownBlock:
    """Replace an open table by its header and row count: each further row may change all column widths."""
    return block._replace(kind="rows") if block.kind == "table" else block


def _usable_width(size: Size) -> int:
    """Return the width without the last column, after which terminals place the cursor differently."""
    return max(size[0] - 1, MIN_WIDTH)
