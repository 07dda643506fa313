"""Write an exchange into the history while it happens, without delaying the answer."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.answer import Answer
from aiml_cli.api.message_conversion import answer_to_items, get_role_and_text, is_longer_than, to_raw_items
from aiml_cli.api.messages import AnyMessage, Conversation
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import STOP_ERRORS, AimlError, UsageError
from aiml_cli.settings.urls import host_of
from aiml_cli.system.signals import Stopped, defer_signals
from aiml_cli.system.stdio import print_err
from aiml_cli.transport.key_masking import mask_credentials

# The journal's thread imports SQLite and the modules of the history while the request waits for its answer.
if TYPE_CHECKING:
    from aiml_cli.api.completion_builder import Choice
    from aiml_cli.store.history.database import History
    from aiml_cli.store.history.writer import AnswerEnd, AnswerId, NewExchange, NewMessage

MAX_TITLE_LENGTH = 80
NOT_STORED = ("model", "messages", "input", "instructions", "stream", "stream_options")
FACTS = (
    "model", "finish_reason", "refusal", "tool_calls", "citations", "files", "timing", "previous_response_id", "error",
)  # fmt: skip
# Longer messages, tool calls and refusals are truncated to this many characters.
MAX_MESSAGES_SIZE = 16 * 1024 * 1024
CUT_TEXT_LENGTH = 64 * 1024
# Text is on disk after this time plus the time of a write, together less than half a second.
WRITE_INTERVAL_S = 0.25
CLOSE_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0  # the longest wait after a signal, if other processes use the history
LOCKED_TIMEOUT_S = 1.0  # the longest wait after an answer, if one process keeps the history locked
SESSION_VARIABLE = "AIML_SESSION"
_SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Offsets = dict[tuple[int, str], int]
DeltasSince = Callable[[Offsets], list[tuple[str, int, str]]]


class _FinishedAnswer(NamedTuple):
    """A finished answer; unless it is the last, a retry follows, or with `messages` the answer to tool results."""

    answer: Answer
    is_last: bool
    messages: tuple[AnyMessage, ...] = ()


class Journal:
    """Writes an exchange in its own thread, which starts when the request is sent and so adds no latency.

    `build_exchange` is called in that thread.
    """

    def __init__(self, build_exchange: "Callable[[], NewExchange]", *, quiet: bool) -> None:
        self._build_exchange, self._quiet = build_exchange, quiet
        self._deltas_since: DeltasSince = _no_deltas
        # Not a SimpleQueue: in CPython 3.11 its get never returns if a signal arrives at the timeout.
        self._queue: Queue[_FinishedAnswer | str] = Queue()
        self._thread: Thread | None = None
        self._notices: list[str] = []
        self.row: AnswerId | None = None
        self._history: History | None = None

    def start(self, deltas_since: DeltasSince) -> None:
        """Start to write, unless it has started; `deltas_since` returns the text that is new since its last call."""
        if self._thread is None:
            self._deltas_since = deltas_since
            with defer_signals():  # an interrupted start would leave a thread that cannot be joined
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()

    def finish_rejected(self, answer: Answer) -> None:
        """Save an answer that was rejected and is requested again; drop one without text."""
        if any(choice.output_text for choice in answer.completion.choices):
            self._queue.put(_FinishedAnswer(answer, is_last=False))

    def start_next_round(self, answer: Answer, messages: tuple[AnyMessage, ...]) -> None:
        """Save an answer that called tools, and the results that the next request sends."""
        self._queue.put(_FinishedAnswer(answer, is_last=False, messages=messages))

    def change_model(self, model: str) -> None:
        """Record that the request goes to another model."""
        self._queue.put(model)

    def close(self, answer: Answer) -> None:
        """Write how the answer ended, and wait until it is written, even after a signal."""
        self.start(_no_deltas)
        self._queue.put(_FinishedAnswer(answer, is_last=True))
        if self._thread:
            try:
                self._wait(STOP_TIMEOUT_S if isinstance(answer.error, STOP_ERRORS) else CLOSE_TIMEOUT_S)
            except Stopped:
                self._thread.join(STOP_TIMEOUT_S)
                raise
        if self._thread and self._thread.is_alive():
            self._notices.append("this answer may be missing from the history: other programs keep the history locked")
        for notice in self._notices if not self._quiet else ():
            with suppress(AimlError):
                print_err(f"aiml: {notice}")

    def _wait(self, seconds: float) -> None:
        """Wait until everything is written, but only briefly if another process keeps the history locked."""
        if self._thread:
            self._thread.join(LOCKED_TIMEOUT_S)
            is_writing = self._history and self._history.is_writing  # a long answer takes longer to write
            if self._thread.is_alive() and (is_writing or not _is_locked()):
                self._thread.join(seconds)

    def _run(self) -> None:
        """Write the exchange; an error causes a notice and does not affect the answer."""
        try:
            import sqlite3  # imported while the request waits for its answer

            from aiml_cli.store.history import database

            exchange = self._build_exchange()
            try:
                self._write(database.open_history(), exchange)
            except sqlite3.DatabaseError as error:
                if self.row or not database.is_damaged(error):
                    raise
                self._write(database.recreate_history(), exchange)
        except AimlError as error:
            self._notices.append(f"this answer was not stored in the history: {error.message}")
        except Exception as error:  # noqa: BLE001 - no error may affect the answer
            self._notices.append(f"this answer was not stored in the history: {error or type(error).__name__}")

    def _write(self, history: "History", exchange: "NewExchange") -> None:
        self._history = history
        if history.damaged_copy:
            self._notices.append(
                f"the history was damaged; it was moved to {history.damaged_copy}, and a new one was started"
            )
        write = self._write_stored_response if exchange.response_id else self._write_exchange
        try:
            write(history, exchange)
        finally:
            history.close()

    def _write_exchange(self, history: "History", exchange: "NewExchange") -> None:
        """Write the request, the answer as it arrives, and how it ends; then release the conversation."""
        from aiml_cli.store.history import writer

        exchange = _copy_conversation(history, exchange) if exchange.copied_until else exchange
        self.row = row = writer.begin_exchange(history, exchange)
        offsets = Offsets()
        while True:
            try:
                item = self._queue.get(timeout=WRITE_INTERVAL_S)
            except Empty:
                while deltas := [writer.AnswerDelta(*delta) for delta in self._deltas_since(offsets)]:
                    writer.append_deltas(history, row, deltas)
                continue
            if isinstance(item, str):
                exchange = exchange._replace(model=item)
                writer.change_model(history, row, item)
                continue
            is_rejected = not (item.is_last or item.messages)
            writer.finish_answer(history, row, _to_answer_end(item.answer, exchange, is_rejected=is_rejected))
            if item.is_last:
                writer.release_conversation(history, row.conversation)
                return
            messages = _to_messages(Conversation(item.messages))
            next_exchange = exchange._replace(conversation=row.conversation, messages=messages)
            self.row = row = writer.begin_exchange(history, next_exchange)
            offsets = Offsets()

    def _write_stored_response(self, history: "History", exchange: "NewExchange") -> None:
        """Update a stored response of an earlier call; without an answer nothing changes."""
        from aiml_cli.store.history import writer

        while isinstance(item := self._queue.get(), str) or not item.is_last:
            pass
        if item.answer.completion.started.id:
            writer.finish_stored_response(history, exchange, _to_answer_end(item.answer, exchange))


def _copy_conversation(history: "History", exchange: "NewExchange") -> "NewExchange":
    """Return the exchange as the next one of a copy of its conversation."""
    from aiml_cli.store.history import edits  # few conversations are copied

    copy, new_ids = edits.copy_conversation(history, exchange.conversation or 0, until=exchange.copied_until)
    facts = edits.copy_summary(exchange.facts or {}, new_ids)
    return exchange._replace(conversation=copy.id, facts=facts, copied_until=0)


def _is_locked() -> bool:
    from aiml_cli.store.history import database  # loaded by the thread

    with suppress(AimlError):
        return database.is_locked()
    return False


def _no_deltas(_: Offsets) -> list[tuple[str, int, str]]:
    return []


def session_name(environ: Mapping[str, str]) -> str:
    """Return the name of the session: from AIML_SESSION, else the tmux pane, else the terminal.

    A pane keeps its name when its shell is restarted. Raises UsageError for a name that is not valid.
    """
    if name := environ.get(SESSION_VARIABLE):
        if not _SESSION_NAME.fullmatch(name):
            message = f"{SESSION_VARIABLE}: {name!r} is not a valid session name"
            raise UsageError(message, "a name consists of letters, digits, ., - and _")
        return f"session {name}"
    if pane := environ.get("TMUX_PANE"):
        return f"tmux {environ.get('TMUX', '').rpartition(',')[0]} {pane}"
    leader = os.getsid(0)
    return f"terminal {leader} {_read_start_time(leader)}".rstrip()


def _read_start_time(process: int) -> str:
    """Return when a process started, or "" if that is unknown; process ids are reused."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def make_journal(
    request: ChatRequest, conversation: Conversation, environ: Mapping[str, str], response_id: str | None = None
) -> Journal | None:
    """Return the journal of an exchange, or None with --no-log."""
    options = request.options
    if options.no_log:
        return None
    session = session_name(environ)  # reports an invalid name before anything is sent

    def build_exchange() -> "NewExchange":
        return _to_new_exchange(request, conversation, session, response_id)

    return Journal(build_exchange, quiet=bool(options.quiet))


def _to_new_exchange(
    request: ChatRequest, conversation: Conversation, session: str, response_id: str | None
) -> "NewExchange":
    """Return the row of a request; `session` names the terminal session."""
    from aiml_cli.store.history.writer import NewExchange

    messages = _to_messages(conversation)
    text = " ".join(request.words) or (messages[-1].text if messages else f"response {response_id}")
    title = " ".join(text[: MAX_TITLE_LENGTH * 4].split())[:MAX_TITLE_LENGTH]
    body = request.endpoint.build_body(Conversation(), request.options)
    return NewExchange(
        request.previous_turns.id if request.previous_turns else None,
        title or "(no prompt)",
        session,
        request.system,
        messages,
        request.endpoint.name,
        host_of(request.url),
        request.options.model or "",
        mask_credentials({name: value for name, value in body.items() if name not in NOT_STORED}),
        response_id,
        is_replayed=bool(request.options.replay),
        facts=request.facts,
        copied_until=request.previous_turns.copied_until if request.previous_turns else 0,
    )


def _to_messages(conversation: Conversation) -> "list[NewMessage]":
    from aiml_cli.store.history.writer import NewMessage

    texts = [get_role_and_text(message) for message in conversation.messages]
    if is_longer_than(conversation, MAX_MESSAGES_SIZE):
        return [NewMessage(role, text[:CUT_TEXT_LENGTH], (), {"cut": True}) for role, text in texts]
    items = map(to_raw_items, conversation.messages)
    return [NewMessage(role, text, item) for (role, text), item in zip(texts, items, strict=True)]


def _to_answer_end(answer: Answer, exchange: "NewExchange", *, is_rejected: bool = False) -> "AnswerEnd":
    """Return the row of an answer; a rejected answer is followed by another one to the same messages."""
    from aiml_cli.output.json_output import answer_to_dict
    from aiml_cli.store.history.writer import AnswerEnd

    is_cut = is_longer_than([_list_extras(choice) for choice in answer.completion.choices], MAX_MESSAGES_SIZE)
    answer = _cut_extras(answer) if is_cut else answer
    completion, data = answer.completion, answer_to_dict(answer)
    facts = {**(exchange.facts or {}), **{name: data[name] for name in FACTS if data[name]}}
    if "tool_calls" in facts:  # their results are stored as separate messages
        facts["tool_calls"] = [
            {name: call[name] for name in ("id", "name", "arguments")} for call in facts["tool_calls"]
        ]
    if is_cut:
        facts["cut"] = True
    if is_rejected:
        facts["rejected"] = True
    if exchange.is_replayed or answer.is_cached:
        facts["replayed"] = True  # a replay costs nothing
    if others := [[choice.index, choice.output_text] for choice in completion.choices[1:]]:
        facts["others"] = others
    return AnswerEnd(
        _state_of(answer),
        completion.first.output_text,
        completion.first.reasoning,
        () if is_cut else answer_to_items(answer.endpoint, completion),
        data["usage"],
        answer.cost_usd,
        answer.cost_source,
        answer.request_id,
        completion.started.id,
        stored=bool(exchange.response_id or exchange.options.get("store")),
        facts=facts,
    )


def _list_extras(choice: "Choice") -> list[str]:
    """Return the parts of a choice that are stored twice: as facts, and as items that can be sent again."""
    return [choice.refusal, *(call.arguments for call in choice.tool_calls)]


def _cut_extras(answer: Answer) -> Answer:
    """Return the answer with truncated refusals and tool call arguments."""
    choices = []
    for choice in answer.completion.choices:
        calls = tuple(call._replace(arguments=call.arguments[:CUT_TEXT_LENGTH]) for call in choice.tool_calls)
        choices.append(replace(choice, refusal=choice.refusal[:CUT_TEXT_LENGTH], tool_calls=calls))
    return replace(answer, completion=replace(answer.completion, choices=tuple(choices)))


def _state_of(answer: Answer) -> str:
    from aiml_cli.store.history import writer

    if answer.completion.is_complete:
        return writer.COMPLETE
    if isinstance(answer.error, STOP_ERRORS):
        return writer.INTERRUPTED
    has_output = answer.error is None or answer.completion.status or any(map(_has_output, answer.completion.choices))
    return writer.INCOMPLETE if has_output else writer.FAILED


def _has_output(choice: "Choice") -> bool:
    return bool(choice.output_text or choice.reasoning or choice.refusal or choice.tool_calls)
