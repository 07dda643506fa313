"""Settle what all rows have in common, before any of them is asked."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.api.messages import Conversation, Message
from aiml_cli.batch.row_shards import Shard, parse_shard
from aiml_cli.batch.rows import Row, Rows, open_input
from aiml_cli.core.chat_request import ChatRequest, resolve_key
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.core.template_fill import fill_variables, list_variables
from aiml_cli.errors import UsageError
from aiml_cli.prompt.attachments import text_block
from aiml_cli.prompt.compose import extract_mentions
from aiml_cli.prompt.decode_text import decode_any_text
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.stdio import make_notifier

# A template says {stdin} where the row belongs: that is what would be piped in.
ROW, STDIN = "row", "stdin"


def ask_each(name: str, words: Sequence[str], settings: Settings) -> int:
    """Ask for each row; give 0 when all are whole, else raise what went wrong."""
    _see_the_input(settings)
    options, ours = settings.options, parse_shard(settings.options.shard, os.environ)
    tell = make_notifier(options.quiet) or _nobody
    source = open_input(options, tell)
    settings = replace(settings, options=replace(options, file=None))
    if options.dry_run or options.as_:
        return _show_first(name, words, settings, lambda: Rows(options.each or "", source, tell), ours)
    from aiml_cli.batch import each_run  # the network is loaded when all else is in order

    place = each_run.open_target(options)
    if place.fd is not None and source.is_in(place.fd):  # each result would be a row, without end
        raise UsageError(f"{source.name}: the rows are read from the file that the results go to", "nothing was sent")
    with start_demo_if_asked(settings) as settled:
        question = _question(name, words, settled)
        question = replace(question, known_key=(resolve_key(question),)).with_known_system()
        wording = RowPrompt(words, question)
        rows = Rows(options.each or "", source, tell)
        _know(wording, rows, options.each)
        said = _guarded(wording, question)
        return each_run.run_rows(settled, _alone(question), place, rows=rows, ours=ours, said=said)


def _nobody(_: str) -> None:
    """Tell nobody."""


def _question(name: str, words: Sequence[str], settings: Settings) -> ChatRequest:
    """Make what is asked for each row but for the row; a schema is read once."""
    options, wanted = settings.options, None
    if options.schema or options.json_object:
        from aiml_cli.core import schema_retry  # for few calls only

        # What there is to tell of the schema was told when the flags were looked at.
        wanted = schema_retry.make_response_spec(replace(settings, options=replace(options, quiet=True)))
    return ChatRequest(ENDPOINTS[name], words, settings, wanted)


def _alone(question: ChatRequest) -> ChatRequest:
    """Leave out what an answer does besides being written as a result; the run as a whole does it."""
    options = replace(
        question.options, quiet=True, no_log=True, usage=None, meta=None, json=None, format="text", save_dir=None,
        max_cost=None, fit=None, output=None, resume_from=None,
    )  # fmt: skip
    return replace(question, settings=replace(question.settings, options=options))


class RowPrompt:
    """Hold what all rows have in common: the words, the files named among them, the turns before."""

    def __init__(self, words: Sequence[str], question: ChatRequest) -> None:
        text, names = extract_mentions(words)
        self._words, notice = decode_any_text(os.fsencode("" if text.strip() == "-" else text), "the prompt")
        if notice:
            question.notify(notice)
        self._places = list_variables(self._words)
        mark = os.urandom(16).hex()
        options = replace(question.options, file=tuple(names) or None, no_stdin=question.options.messages != "-")
        settings = replace(question.settings, options=options)
        *before, last = replace(question, words=[mark], settings=settings).read_conversation().messages
        self._before = tuple(before)
        self._parts = [part.split(mark) if isinstance(part, str) else part for part in getattr(last, "content", ())]

    def check_columns(self, columns: Iterable[str] | None) -> None:
        """Raise UsageError for a place that none of the columns fills."""
        if columns is not None:
            self._see_that_all_are_there(dict.fromkeys(columns, ""))

    def fill(self, row: Row) -> Conversation:
        """Give what is said of a row; raise UsageError where that cannot be."""
        if row.wrong:
            raise UsageError(row.wrong)
        text = self._text(row)
        if not text.strip():
            raise UsageError("the prompt is empty")
        parts = tuple(text.join(part) if isinstance(part, list) else part for part in self._parts)
        return Conversation((*self._before, Message("user", parts)))

    def _text(self, row: Row) -> str:
        if not self._words.strip():
            return row.text
        if not self._places:
            return "".join((*text_block("stdin", row.text), "\n\n", fill_variables(self._words, {})))
        self._see_that_all_are_there(row.columns)
        return fill_variables(self._words, {ROW: row.text, STDIN: row.text, **row.columns})

    def _see_that_all_are_there(self, columns: Mapping[str, str]) -> None:
        for name in self._places:
            if name not in columns and name not in (ROW, STDIN):
                near = get_close_matches(name, [*columns, ROW], 1)
                known = f"there is {', '.join(f'{{{each}}}' for each in (ROW, *columns))}"
                hint = f"did you mean {{{near[0]}}}? {known}" if near else f"{known}; {{{{{name}}}}} is that text"
                raise UsageError(f"no column is called {{{name}}}", hint)


def _know(wording: RowPrompt, rows: Rows, form: str | None) -> None:
    """Hold the places of the words against what every row has; JSON lines may have other columns each."""
    if form != "jsonl":
        wording.check_columns(rows.header or ())


def _guarded(wording: RowPrompt, question: ChatRequest) -> "Callable[[Row], Conversation]":
    """Hold back rows that seem to hold what is secret, unless the user said that they may be sent."""
    if question.options.allow_secrets:
        return wording.fill
    from aiml_cli.prompt.secrets import find_secrets

    key = question.known_key[0] if question.known_key else None
    known = [key.value] if key else []

    def said(row: Row) -> "Conversation":
        found = find_secrets(f"row {row.number}", row.text, known)
        if found:
            raise UsageError(f"not sent: {'; '.join(map(str, found))}", "--allow-secrets sends it")
        return wording.fill(row)

    return said


def _show_first(name: str, words: Sequence[str], settings: Settings, rows: Callable[[], Rows], ours: Shard) -> int:
    """Show the request of the first row that is ours, and send nothing."""
    from aiml_cli.core import dry_run

    question = _question(name, words, dry_run.use_placeholder_server(settings))
    wording, found = RowPrompt(words, question), rows()
    _know(wording, found, settings.options.each)
    return dry_run.print_snippet(replace(question, repeated=wording.fill(_first(found, ours))))


def _first(rows: Iterable[Row], ours: Shard) -> Row:
    for row in rows:
        if ours.has(row.number):
            return row
    raise UsageError("there is no row to show")


def _see_the_input(settings: Settings) -> None:
    options = settings.options
    files = options.file or ()
    if len(files) > 1:
        raise UsageError(
            f"--each takes its rows from one file, not {len(files)}",
            "name what goes along with every row as @FILE behind the command",
        )
    if options.messages == "-" and not (files and files[0] != "-"):
        raise UsageError("standard input cannot be both --messages and the rows")
