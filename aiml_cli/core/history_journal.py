"""Write an exchange into the history while it happens, without holding up the answer."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.errors import STOPS, AimlError
from aiml_cli.store.paths import session_name
from aiml_cli.system.signals import Stopped, defer_signals
from aiml_cli.system.stdio import print_err

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiml_cli.api.messages import Conversation
    from aiml_cli.core.chat_request import ChatRequest
    from aiml_cli.store.history.database import History
    from aiml_cli.store.history.writer import AnswerId, NewExchange

# Text is in the file after this time and that of a write, which together stay below half a second.
PAUSE_S = 0.25
PATIENCE_S = 30.0
HURRY_S = 5.0  # who was told to stop waits no longer for a history that others keep busy
Offsets = dict[tuple[int, str], int]
DeltasSince = Callable[[Offsets], list[tuple[str, int, str]]]


class _Order(NamedTuple):
    answer: Answer
    is_last: bool


class Journal:
    """Write in a thread of its own, which begins when the request is on its way: it costs no latency.

    `asked` is made in that thread.
    """

    def __init__(self, asked: "Callable[[], NewExchange]", *, quiet: bool) -> None:
        self._make, self._quiet = asked, quiet
        self._deltas_since: DeltasSince = _no_deltas
        # Not a SimpleQueue: in CPython 3.11 its get waits without end if a signal arrives at the time-out.
        self._orders: Queue[_Order | str] = Queue()
        self._thread: Thread | None = None
        self._notices: list[str] = []
        self.row: AnswerId | None = None

    def start(self, deltas_since: DeltasSince) -> None:
        """Start to write, unless that was done; `deltas_since` returns what came since the last look."""
        if self._thread is None:
            self._deltas_since = deltas_since
            with defer_signals():  # a start that is broken off leaves a thread that nobody can wait for
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def finish_rejected(self, answer: Answer) -> None:
        """Keep an answer that was not as asked, and that another one follows; one without words was none."""
        if any(choice.output_text for choice in answer.completion.choices):
            self._order(answer, is_last=False)

    def change_model(self, model: str) -> None:
        """Note that another model is asked."""
        self._orders.put(model)

    def close(self, answer: Answer) -> None:
        """Write how it ended, and wait until it is written; a signal does not keep that from happening."""
        self.start(_no_deltas)
        self._order(answer, is_last=True)
        if self._thread:
            try:
                self._thread.join(HURRY_S if isinstance(answer.error, STOPS) else PATIENCE_S)
            except Stopped:
                self._thread.join(HURRY_S)
                raise
        self._tell(is_late=bool(self._thread and self._thread.is_alive()))

    def _order(self, answer: Answer, *, is_last: bool) -> None:
        self._orders.put(_Order(answer, is_last))

    def _tell(self, *, is_late: bool) -> None:
        if is_late:
            self._notices.append("this answer may not be in the history: other programs keep it busy")
        for notice in self._notices if not self._quiet else ():
            with suppress(AimlError):
                print_err(f"aiml: {notice}")

    def _run(self) -> None:
        """Write; whatever goes wrong costs a notice, and never the answer."""
        try:
            import sqlite3  # all this is loaded while the answer is awaited

            from aiml_cli.store.history import database

            asked = self._make()
            try:
                self._write(database.open_history(), asked)
            except sqlite3.DatabaseError as fault:
                if self.row or not database.is_damaged(fault):
                    raise
                self._write(database.recreate_history(), asked)
        except AimlError as fault:
            self._notices.append(f"this answer is not in the history: {fault.message}")
        except Exception as fault:  # noqa: BLE001 - see above
            self._notices.append(f"this answer is not in the history: {fault or type(fault).__name__}")

    def _write(self, history: "History", asked: "NewExchange") -> None:
        if history.moved:
            self._notices.append(f"the history was damaged and is kept as {history.moved}; a new one is begun")
        try:
            if asked.response_id:
                self._catch_up(history, asked)
            else:
                self._follow(history, asked)
        finally:
            history.close()

    def _follow(self, history: "History", asked: "NewExchange") -> None:
        """Write the question, what comes, and how it ends; then others may write the conversation."""
        from aiml_cli.core.history_records import to_answer_end
        from aiml_cli.store.history import writer

        self.row = row = writer.begin_exchange(history, asked)
        marks = Offsets()
        while True:
            try:
                order = self._orders.get(timeout=PAUSE_S)
            except Empty:
                if pieces := [writer.AnswerDelta(*piece) for piece in self._deltas_since(marks)]:
                    writer.append_deltas(history, row, pieces)
                continue
            if isinstance(order, str):
                asked = asked._replace(model=order)
                writer.change_model(history, row, order)
                continue
            writer.finish_answer(history, row, to_answer_end(order.answer, asked, is_last=order.is_last))
            if order.is_last:
                writer.release_conversation(history, row.conversation)
                return
            self.row = row = writer.begin_exchange(history, asked._replace(conversation=row.conversation, messages=()))
            marks = Offsets()

    def _catch_up(self, history: "History", asked: "NewExchange") -> None:
        """Write what a response became that was asked for earlier; where nothing came, nothing changed."""
        from aiml_cli.core.history_records import to_answer_end
        from aiml_cli.store.history import writer

        while isinstance(order := self._orders.get(), str) or not order.is_last:
            pass
        if order.answer.completion.started.id:
            writer.finish_stored_response(history, asked, to_answer_end(order.answer, asked))


def _no_deltas(_: Offsets) -> list[tuple[str, int, str]]:
    return []


def make_journal(
    question: "ChatRequest",
    said: "Conversation",
    environ: "Mapping[str, str]",
    response_id: str | None = None,
) -> Journal | None:
    """Give the journal of an exchange; None when nothing of it shall be kept."""
    options = question.options
    if options.no_log:
        return None
    here = session_name(environ)  # a name that is none is told before it costs

    def asked() -> "NewExchange":
        from aiml_cli.core.history_records import to_new_exchange  # in the journal's own thread

        return to_new_exchange(question, said, here, response_id)

    return Journal(asked, quiet=bool(options.quiet))
