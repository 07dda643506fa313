"""Draw the answer on a terminal while it arrives; no error in drawing loses text."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, RLock, Thread
from time import monotonic, thread_time

from aiml_cli.api.answer import Answer
from aiml_cli.api.stream_events import EventBatch
from aiml_cli.errors import AimlError, HungUp, Interrupted, OutputFailed, Terminated
from aiml_cli.output.markdown.answer_sections import AnswerSections
from aiml_cli.output.markdown.live_region import Size, TerminalRegion
from aiml_cli.output.plain_text import citation_lines, join_text, join_transcripts
from aiml_cli.system.sanitize import Sanitizer, sanitize
from aiml_cli.system.signals import Stopped, defer_signals, is_stopping
from aiml_cli.system.stdio import register_region, unregister_region

# The least time between two redraws, and between two additions.
REDRAW_INTERVAL_S, ADDITION_INTERVAL_S = 0.05, 0.012
# The pause after drawing, as a multiple of the CPU time that drawing took.
IDLE_FACTOR = 4
# tmux wraps the lines of a resized window immediately, but reports a series of sizes up to 0.25 s late: meanwhile
# the wrong lines would be erased.
RESIZE_PAUSE_S = 0.35
# How long to draw after a signal at most: in total, and while the terminal accepts nothing.
STOP_TIMEOUT_S, STALL_TIMEOUT_S = 2.0, 1.0
MIN_WIDTH = 10
MAX_WRITE_LENGTH = 4096
# How many deltas are joined, and how long a text is parsed at once.
MAX_PENDING_COUNT, MAX_PIECE_LENGTH = 1000, 1 << 14


class LiveMarkdownRenderer:
    """Renderer with a thread for drawing, so that drawing neither delays the network nor is cut off by a signal.

    Drawing waits for a paused terminal; a signal ends the wait.
    """

    def __init__(
        self, write: Callable[[str], None], size: Callable[[], Size], environ: Mapping[str, str], *,
        is_json: bool = False, hides_reasoning: bool = False,
    ) -> None:  # fmt: skip
        self._writer = _StoppableWriter(write)
        self._environ, self._is_json, self._hides_reasoning = environ, is_json, hides_reasoning
        self._stream = self._make_stream()
        self._size, self._last_size = size, (0, 0)
        self._changed, self._terminal_lock = Condition(), RLock()
        self._pending: list[str] = []
        self._thread: Thread | None = None
        self._is_ended = self._has_text = self._is_suspended = self._is_cleared = False
        self._redrawn_at = self._next_draw_at = self._paused_until = 0.0
        self._error: AimlError | None = None

    def show(self, batch: EventBatch) -> None:
        """Pass the text of one network read to the thread; raise the thread's exception."""
        text = join_text(batch)
        self._has_text = self._has_text or bool(text)
        delta = text if self._has_text else join_transcripts(batch)
        if delta:
            self._add_text(delta)
        if self._error:
            raise self._error

    def close(self, answer: Answer) -> None:
        """Draw the rest, the other choices and the sources."""
        if self._thread:
            self._end_thread(self._thread, is_stopped=isinstance(answer.error, Interrupted | Terminated | HungUp))
        if self._error:
            raise self._error
        if self._writer.is_stopped:
            return
        for choice in answer.completion.choices:
            if choice.index and choice.output_text:
                self._draw_choice(choice.index + 1, choice.output_text)
        if sources := citation_lines(answer.completion):
            self._stream.append_lines(sources, self._size())

    @contextmanager
    def suspend(self, *, ends_line: bool) -> Iterator[None]:
        """Erase the open lines while other output is written; they are drawn again once that output ends its line."""
        has_lock = self._acquire_terminal()
        try:
            if has_lock:
                self._stream.clear(self._size())
            yield
            self._is_suspended = not ends_line
        finally:
            if has_lock:
                self._terminal_lock.release()
        with self._changed:
            self._is_cleared = True
            self._changed.notify()

    def _acquire_terminal(self) -> bool:
        """Wait for the thread to end its write; after a signal, do not wait for a paused terminal."""
        while not self._terminal_lock.acquire(timeout=STALL_TIMEOUT_S):
            if is_stopping():
                return False
        return True

    def _make_stream(self) -> "MarkdownStream":
        return MarkdownStream(self._writer, self._environ, is_json=self._is_json, hides_reasoning=self._hides_reasoning)

    def _draw_choice(self, number: int, text: str) -> None:
        """Draw another choice below a rule."""
        for part in (f"---\n\nChoice {number}:\n", text):
            self._stream.append_lines([], self._size())
            self._stream = self._make_stream()
            self._stream.feed(part, self._size())
            self._stream.finish(self._size())

    def _end_thread(self, thread: Thread, *, is_stopped: bool) -> None:
        """Wait until everything is drawn, however long the terminal is paused; a signal shortens the wait."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()
        try:
            if not is_stopped:
                thread.join()
        except Stopped:
            is_stopped = True
            raise
        finally:
            if is_stopped:
                self._wait_briefly(thread)
            unregister_region(self)

    def _wait_briefly(self, thread: Thread) -> None:
        """Wait while the terminal accepts text, but not for long; then discard the rest."""
        end, count = monotonic() + STOP_TIMEOUT_S, -1
        while thread.is_alive() and monotonic() < end and count != self._writer.count:
            count = self._writer.count
            thread.join(STALL_TIMEOUT_S)
        self._writer.is_stopped = thread.is_alive()

    def _add_text(self, text: str) -> None:
        with self._changed:
            self._pending.append(text)
            self._changed.notify()
        if self._thread is None:
            with defer_signals():  # an interrupted start would leave a thread that cannot be joined
                register_region(self)
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        due: float | None = None
        is_ended = False
        try:
            while due is not None or not is_ended:
                text, is_ended = self._wait_for_text(due)
                with self._terminal_lock:
                    due = self._update(text, is_ended=is_ended)
        except AimlError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - the thread that shows the next batch raises it
            self._error = OutputFailed(f"the answer could not be rendered: {type(error).__name__}")

    def _wait_for_text(self, due: float | None) -> tuple[str, bool]:
        """Wait for a change or until `due`; return the new text, and whether it is the last."""
        with self._changed:
            ends_now = self._is_ended and monotonic() >= self._paused_until
            if not (self._pending or ends_now or self._is_cleared):
                self._changed.wait(None if due is None else max(0.0, due - monotonic()))
            text, self._pending, self._is_cleared = "".join(self._pending), [], False
            return text, self._is_ended

    def _update(self, text: str, *, is_ended: bool) -> float | None:
        """Add the text and draw; return the time of the next draw, or None if nothing is left to draw."""
        size, now = self._size(), monotonic()
        if size != self._last_size:
            self._paused_until = now + RESIZE_PAUSE_S if self._last_size[0] else now
            self._last_size = size
        self._stream.feed(text, size)
        if now < self._paused_until:
            return self._paused_until
        if is_ended:
            self._stream.finish(size)
            return None
        if self._is_suspended:
            return None
        if now < self._next_draw_at:
            return self._next_draw_at
        may_redraw, began = now >= self._redrawn_at + REDRAW_INTERVAL_S, thread_time()
        is_drawn = self._stream.draw(size, may_redraw=may_redraw)
        self._next_draw_at = monotonic() + max(ADDITION_INTERVAL_S, IDLE_FACTOR * (thread_time() - began))
        if not is_drawn:
            return max(self._next_draw_at, self._redrawn_at + REDRAW_INTERVAL_S)
        self._redrawn_at = now if may_redraw else self._redrawn_at
        return None


class _StoppableWriter:
    """A writer to a terminal, which may block for minutes; `count` is how many characters were written."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.count = 0
        self.is_stopped = False

    def __call__(self, text: str) -> None:
        for start in range(0, len(text), MAX_WRITE_LENGTH):
            if self.is_stopped:
                raise OutputFailed("the terminal is paused")
            piece = text[start : start + MAX_WRITE_LENGTH]
            self._write(piece)
            self.count += len(piece)


class MarkdownStream:
    """The text of an answer on its way to a terminal: sanitized, parsed, and drawn by `draw` or `finish`.

    `is_json`: JSON was requested. After an internal error, the rest is written unchanged.
    """

    def __init__(
        self, write: Callable[[str], None], environ: Mapping[str, str], *,
        is_json: bool = False, hides_reasoning: bool = False,
    ) -> None:  # fmt: skip
        self._write, self._region = write, TerminalRegion(write, environ)
        self._sanitizer = Sanitizer()
        self._sections = AnswerSections(is_json=is_json, hides_reasoning=hides_reasoning)
        self._pending: list[str] = []
        self._is_plain, self._last_char = False, ""

    def feed(self, text: str, size: Size) -> None:
        """Add text; it is parsed when it is drawn, or when there is much of it."""
        self._pending.append(text)
        if len(self._pending) >= MAX_PENDING_COUNT or len(text) > MAX_PIECE_LENGTH:
            self._parse_pending(size)

    def finish(self, size: Size) -> None:
        """End the text and draw the rest."""
        self._parse_pending(size)
        self._parse(self._sanitizer.finish(), size)
        try:
            self._sections.finish(_usable_width(size))
        except Exception as error:  # noqa: BLE001 - see _fall_back
            self._fall_back(error, size)
        self.draw(size)
        if self._is_plain and self._last_char not in ("", "\n"):
            self._write_plain("\n")

    def draw(self, size: Size, *, may_redraw: bool = True) -> bool:
        """Draw the finished and the open lines; return False if this needs a redraw that is not allowed."""
        self._parse_pending(size)
        if self._is_plain:
            return True
        try:
            open_lines = self._sections.open_lines(_usable_width(size), size[1])
            stable = self._sections.grows_at_end
            if not self._region.draw(
                self._sections.finished, open_lines, size, may_redraw=may_redraw, grows_at_end=stable
            ):
                return False
            self._sections.finished = []
        except Exception as error:  # noqa: BLE001 - see _fall_back
            self._fall_back(error, size)
        return True

    def clear(self, size: Size) -> None:
        """Erase the open lines until the next draw."""
        self._region.clear(size)

    def append_lines(self, lines: list[str], size: Size) -> None:
        """Write lines after the end of the text."""
        self._region.draw(["", *map(sanitize, lines)], [], size)

    def _parse_pending(self, size: Size) -> None:
        text, self._pending = "".join(self._pending), []
        self._parse(self._sanitizer.feed(text), size)

    def _parse(self, text: str, size: Size) -> None:
        for start in range(0, len(text), MAX_PIECE_LENGTH):
            piece = text[start : start + MAX_PIECE_LENGTH]
            if self._is_plain:
                self._write_plain(piece)
                continue
            try:
                self._sections.feed(piece, _usable_width(size))
            except Exception as error:  # noqa: BLE001 - see _fall_back
                self._fall_back(error, size)

    def _fall_back(self, error: Exception, size: Size) -> None:
        """Write the text that is not drawn yet, and all later text, unchanged: an error must not lose the answer."""
        if isinstance(error, AimlError):  # writing to the terminal failed
            raise error
        self._is_plain = True
        self._region.clear(size)
        lines, self._sections.finished = self._sections.finished, []
        self._write_plain("".join(f"{line}\n" for line in lines) + self._sections.rest())

    def _write_plain(self, text: str) -> None:
        if text:
            self._last_char = text[-1]
            self._write(text)


def _usable_width(size: Size) -> int:
    """Return the width without the last column, after which terminals place the cursor differently."""
    return max(size[0] - 1, MIN_WIDTH)
