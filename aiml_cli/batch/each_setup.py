"""Settle what all rows have in common, before any of them is asked."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.api.messages import Conversation, Message
from aiml_cli.batch.row_shards import Share, share
from aiml_cli.batch.rows import Row, Rows, opened
from aiml_cli.core.chat_request import Question, key_for
from aiml_cli.core.start_demo import served
from aiml_cli.core.template_fill import fill, variables
from aiml_cli.errors import Misuse
from aiml_cli.prompt.attachments import block
from aiml_cli.prompt.compose import mentioned
from aiml_cli.prompt.decode_text import loosely
from aiml_cli.settings.options import ROWS, value_of
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.system.stdio import notices

_ONE = "each row is asked on its own"
_LINES = "results are JSON lines"
REFUSED = {
    "continue": _ONE,
    "resume": _ONE,
    "interactive": _ONE,
    "tool_result": _ONE,
    "background": "the answers are waited for; -j says how many at a time",
    "wait": _ONE,
    "show": _ONE,
    "cancel": _ONE,
    "save": _ONE,
    "items": _LINES,
    "extract": f"{_LINES}; take the code out of their text",
    "meta": "each result says what it cost",
    "audio_out": "one file cannot hold the sounds of all rows",
    "in_place": f"{_LINES}; name a file for them with -o",
    "save_dir": "the files of the rows would have the same names",
    "chunk": "a row is asked whole",
    "reduce": "a row is asked whole",
    "fit": "a row is asked whole",
    "first": "all rows ask one model",
}
WITH_ROWS = ("jobs", "unordered", "resume_from", "shard")
# A template says {stdin} where the row belongs: that is what would be piped in.
ROW, STDIN = "row", "stdin"


def ask_each(name: str, words: Sequence[str], settings: Settings, models: int) -> int:
    """Ask for each row; give 0 when all are whole, else raise what went wrong."""
    see_that_it_fits(settings, models)
    options, ours = settings.options, share(settings.options.shard, os.environ)
    tell = notices(options.quiet) or _nobody
    source = opened(options, tell)
    settings = replace(settings, options=replace(options, file=None))
    if options.dry_run or options.as_:
        return _show_first(name, words, settings, lambda: Rows(options.each or "", source, tell), ours)
    from aiml_cli.batch import each_run  # the network is loaded when all else is in order

    place = each_run.opened(options)
    if place.fd is not None and source.is_in(place.fd):  # each result would be a row, without end
        raise Misuse(f"{source.name}: the rows are read from the file that the results go to", "nothing was sent")
    with served(settings) as settled:
        question = _question(name, words, settled)
        question = replace(question, held=(key_for(question),)).with_its_system()
        wording = Wording(words, question)
        rows = Rows(options.each or "", source, tell)
        _know(wording, rows, options.each)
        said = _guarded(wording, question)
        return each_run.run(settled, _alone(question), place, rows=rows, ours=ours, said=said)


def _nobody(_: str) -> None:
    """Tell nobody."""


def _question(name: str, words: Sequence[str], settings: Settings) -> Question:
    """Make what is asked for each row but for the row; a schema is read once."""
    options, wanted = settings.options, None
    if options.schema or options.json_object:
        from aiml_cli.core import schema_retry  # for few calls only

        # What there is to tell of the schema was told when the flags were looked at.
        wanted = schema_retry.wanted(replace(settings, options=replace(options, quiet=True)))
    return Question(ENDPOINTS[name], words, settings, wanted)


def _alone(question: Question) -> Question:
    """Leave out what an answer does besides being written as a result; the run as a whole does it."""
    options = replace(
        question.options, quiet=True, no_log=True, usage=None, meta=None, json=None, format="text", save_dir=None,
        max_cost=None, fit=None, output=None, resume_from=None,
    )  # fmt: skip
    return replace(question, settings=replace(question.settings, options=options))


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


def _know(wording: Wording, rows: Rows, form: str | None) -> None:
    """Hold the places of the words against what every row has; JSON lines may have other columns each."""
    if form != "jsonl":
        wording.know(rows.header or ())


def _guarded(wording: Wording, question: Question) -> "Callable[[Row], Conversation]":
    """Hold back rows that seem to hold what is secret, unless the user said that they may be sent."""
    if question.options.allow_secrets:
        return wording.said
    from aiml_cli.prompt.secrets import secrets

    key = question.held[0] if question.held else None
    known = [key.value] if key else []

    def said(row: Row) -> "Conversation":
        found = secrets(f"row {row.number}", row.text, known)
        if found:
            raise Misuse(f"not sent: {'; '.join(map(str, found))}", "--allow-secrets sends it")
        return wording.said(row)

    return said


def _show_first(name: str, words: Sequence[str], settings: Settings, rows: Callable[[], Rows], ours: Share) -> int:
    """Show the request of the first row that is ours, and send nothing."""
    from aiml_cli.core import dry_run

    question = _question(name, words, dry_run.addressed(settings))
    wording, found = Wording(words, question), rows()
    _know(wording, found, settings.options.each)
    return dry_run.print_program(replace(question, again=wording.said(_first(found, ours))))


def _first(rows: Iterable[Row], ours: Share) -> Row:
    for row in rows:
        if ours.has(row.number):
            return row
    raise Misuse("there is no row to show")


def see_that_it_fits(settings: Settings, models: int) -> None:
    """Raise Misuse for a flag that makes no sense with --each, or only with it; a config file's are left aside."""
    options = settings.options
    if not options.each:
        _see_that_rows_are_meant(settings)
    if models > 1:
        raise Misuse("several models do not go with --each", "ask one after the other, or A,B for one or the other")
    for name, why in REFUSED.items():
        if value_of(options, ROWS[name]) and settings.sources.get(name) in (Source.FLAG, Source.TEMPLATE):
            raise Misuse(f"{ROWS[name].flag} does not go with --each", why)
    is_other = options.format not in ("json", "jsonl") and settings.sources.get("format") is Source.FLAG
    if is_other and not options.json:
        raise Misuse(f"--format {options.format} does not go with --each", _LINES)
    if options.output and options.resume_from:
        raise Misuse("--output and --resume-from exclude each other", "results are added to the file of --resume-from")
    _see_the_input(settings)


def _see_the_input(settings: Settings) -> None:
    options = settings.options
    files = options.file or ()
    if len(files) > 1:
        raise Misuse(
            f"--each takes its rows from one file, not {len(files)}",
            "name what goes along with every row as @FILE behind the command",
        )
    if options.messages == "-" and not (files and files[0] != "-"):
        raise Misuse("standard input cannot be both --messages and the rows")


def _see_that_rows_are_meant(settings: Settings) -> None:
    named = [ROWS[name].flag for name in WITH_ROWS if settings.sources.get(name) is Source.FLAG]
    raise Misuse(f"{named[0]} says nothing without --each", "--each line asks for each line")
