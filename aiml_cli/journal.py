"""Write an exchange into the history while it happens, without holding up the answer."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.errors import AimlError, HungUp, Interrupted, OutputFailed, ReaderGone, Terminated
from aiml_cli.screen.output import say
from aiml_cli.signals import Stopped, held
from aiml_cli.store.place import place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiml_cli.api.completion import Choice
    from aiml_cli.api.messages import Conversation
    from aiml_cli.question import Question
    from aiml_cli.store.exchange import Asked, Ended, Row, Said
    from aiml_cli.store.history import History
    from aiml_cli.talk import Talk

# Text is in the file after this time and that of a write, which together stay below half a second.
PAUSE_S = 0.25
PATIENCE_S = 30.0
HURRY_S = 5.0  # who was told to stop waits no longer for a history that others keep busy
LONGEST_TITLE = 80
NO_OPTIONS = ("model", "messages", "input", "instructions", "stream", "stream_options")
STOPS = (Interrupted, Terminated, HungUp, ReaderGone, OutputFailed)
# Of a question that is larger only the beginning of its words is kept.
LARGEST = 16 * 1024 * 1024
BEGINNING = 64 * 1024

Marks = dict[tuple[int, str], int]
Grown = Callable[[Marks], list[tuple[str, int, str]]]


class _Order(NamedTuple):
    answer: Answer
    is_last: bool


class Journal:
    """Write in a thread of its own, which begins when the request is on its way: it costs no latency.

    `asked` is made in that thread; `grown` tells what came since the last look.
    """

    def __init__(self, asked: "Callable[[], Asked]", grown: Grown, *, quiet: bool) -> None:
        self._make, self._grown, self._quiet = asked, grown, quiet
        self._orders: SimpleQueue[_Order | str] = SimpleQueue()
        self._thread: Thread | None = None
        self._notices: list[str] = []
        self.row: Row | None = None

    def start(self) -> None:
        """Begin to write; once begun nothing changes."""
        if self._thread is None:
            with held():  # a start that is broken off leaves a thread that nobody can wait for
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def part(self, answer: Answer) -> None:
        """Keep an answer that was not as asked, and that another one follows; one without words was none."""
        if any(choice.words for choice in answer.completion.choices):
            self._order(answer, is_last=False)

    def rename(self, model: str) -> None:
        """Note that another model is asked."""
        self._orders.put(model)

    def close(self, answer: Answer) -> None:
        """Write how it ended, and wait until it is written; a signal does not keep that from happening."""
        self.start()
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
                say(f"aiml: {notice}")

    def _run(self) -> None:
        """Write; whatever goes wrong costs a notice, and never the answer."""
        try:
            import sqlite3  # all this is loaded while the answer is awaited

            from aiml_cli.store import history

            asked = self._make()
            try:
                self._write(history.opened(), asked)
            except sqlite3.DatabaseError as fault:
                if self.row or not history.is_damaged(fault):
                    raise
                self._write(history.opened_anew(), asked)
        except AimlError as fault:
            self._notices.append(f"this answer is not in the history: {fault.message}")
        except Exception as fault:  # noqa: BLE001 - see above
            self._notices.append(f"this answer is not in the history: {fault or type(fault).__name__}")

    def _write(self, history: "History", asked: "Asked") -> None:
        if history.moved:
            self._notices.append(f"the history was damaged and is kept as {history.moved}; a new one is begun")
        try:
            if asked.response_id:
                self._catch_up(history, asked)
            else:
                self._follow(history, asked)
        finally:
            history.close()

    def _follow(self, history: "History", asked: "Asked") -> None:
        """Write the question, what comes, and how it ends; then others may write the conversation."""
        from aiml_cli.store import exchange

        self.row = row = exchange.begin(history, asked)
        marks = Marks()
        while True:
            try:
                order = self._orders.get(timeout=PAUSE_S)
            except Empty:
                if pieces := [exchange.Piece(*piece) for piece in self._grown(marks)]:
                    exchange.append(history, row, pieces)
                continue
            if isinstance(order, str):
                asked = asked._replace(model=order)
                exchange.rename(history, row, order)
                continue
            exchange.finish(history, row, ended(order, asked))
            if order.is_last:
                exchange.release(history, row.conversation)
                return
            self.row = row = exchange.begin(history, asked._replace(conversation=row.conversation, turns=()))
            marks = Marks()

    def _catch_up(self, history: "History", asked: "Asked") -> None:
        """Write what a response became that was asked for earlier; where nothing came, nothing changed."""
        from aiml_cli.store import exchange

        while isinstance(order := self._orders.get(), str) or not order.is_last:
            pass
        if order.answer.completion.begun.id:
            exchange.catch_up(history, asked, ended(order, asked))


def journal_of(
    talk: "Talk",
    question: "Question",
    said: "Conversation",
    environ: "Mapping[str, str]",
    response_id: str | None = None,
) -> Journal | None:
    """Give the journal of an exchange; None when nothing of it shall be kept."""
    options = question.options
    if options.no_log:
        return None
    here = place(environ)  # a name that is none is told before it costs
    return Journal(lambda: _asked(question, said, here, response_id), talk.since, quiet=bool(options.quiet))


def _asked(question: "Question", said: "Conversation", here: str, response_id: str | None) -> "Asked":
    from aiml_cli.hosts import host_of
    from aiml_cli.store.exchange import Asked

    turns = _turns(said)
    last = turns[-1].text if turns else f"response {response_id}"
    title = " ".join((" ".join(question.words) or last)[: LONGEST_TITLE * 4].split())[:LONGEST_TITLE]
    return Asked(
        question.before.id if question.before else None,
        title or "(no words)",
        here,
        question.system,
        turns,
        question.endpoint.name,
        host_of(question.url),
        question.options.model or "",
        _options(question),
        response_id,
    )


def _turns(said: "Conversation") -> "list[Said]":
    """Give what is said, or the beginning of its words where it is too large to be kept."""
    from aiml_cli.api.kept import is_larger, items_of, words_of
    from aiml_cli.store.exchange import Said

    words = [words_of(turn) for turn in said.turns]
    if is_larger(said, LARGEST):
        return [Said(role, text[:BEGINNING], (), {"cut": True}) for role, text in words]
    return [Said(role, text, items_of(turn)) for (role, text), turn in zip(words, said.turns, strict=True)]


def _options(question: "Question") -> "dict[str, Any]":
    """Give the request's properties without what is said and who is asked."""
    from aiml_cli.api.messages import Conversation

    body = question.endpoint.body(Conversation(), question.options)
    return {name: value for name, value in body.items() if name not in NO_OPTIONS}


def ended(order: _Order, asked: "Asked") -> "Ended":
    """Say how an answer ended, in the history's words; the server has what it was asked for by its id."""
    from aiml_cli.api.kept import items
    from aiml_cli.screen.json import as_object
    from aiml_cli.store.exchange import Ended

    answer, completion = order.answer, order.answer.completion
    told = as_object(answer)
    facts = (
        "model",
        "finish_reason",
        "refusal",
        "tool_calls",
        "citations",
        "files",
        "timing",
        "previous_response_id",
        "error",
    )
    more: dict[str, Any] = {} if order.is_last else {"rejected": True}
    if others := [[choice.index, choice.words] for choice in completion.choices[1:]]:
        more["others"] = others
    return Ended(
        _state(answer),
        completion.first.words,
        completion.first.reasoning,
        items(answer.endpoint, completion),
        told["usage"],
        answer.cost_usd,
        answer.cost_source,
        answer.request_id,
        completion.begun.id,
        stored=bool(asked.response_id or asked.options.get("store")),
        facts={**{name: told[name] for name in facts if told[name]}, **more},
    )


def _state(answer: Answer) -> str:
    from aiml_cli.store import exchange

    if answer.completion.complete:
        return exchange.COMPLETE
    if isinstance(answer.error, STOPS):
        return exchange.INTERRUPTED
    has_come = answer.error is None or answer.completion.status or any(map(_has_come, answer.completion.choices))
    return exchange.INCOMPLETE if has_come else exchange.FAILED


def _has_come(choice: "Choice") -> bool:
    return bool(choice.words or choice.reasoning or choice.refusal or choice.tool_calls)
