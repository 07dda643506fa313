"""Settle what all rows have in common, before any of them is asked."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.batch.fitting import see_that_it_fits
from aiml_cli.batch.rows import Row, Rows
from aiml_cli.batch.shard import Share, share
from aiml_cli.batch.source import opened
from aiml_cli.batch.wording import Wording
from aiml_cli.embedded import served
from aiml_cli.errors import Misuse
from aiml_cli.question import Question, key_for
from aiml_cli.screen.output import notices
from aiml_cli.settings.resolve import Settings

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation


def ask_each(name: str, words: Sequence[str], settings: Settings, models: int) -> int:
    """Ask for each row; give 0 when all are whole, else raise what went wrong."""
    see_that_it_fits(settings, models)
    options, ours = settings.options, share(settings.options.shard, os.environ)
    tell = notices(options.quiet) or _nobody
    source = opened(options, tell)
    settings = replace(settings, options=replace(options, file=None))
    if options.dry_run or options.as_:
        return _show_first(name, words, settings, lambda: Rows(options.each or "", source, tell), ours)
    from aiml_cli.batch import running  # the network is loaded when all else is in order

    place = running.opened(options)
    if place.fd is not None and source.is_in(place.fd):  # each result would be a row, without end
        raise Misuse(f"{source.name}: the rows are read from the file that the results go to", "nothing was sent")
    with served(settings) as settled:
        question = _question(name, words, settled)
        question = replace(question, held=(key_for(question),)).with_its_system()
        wording = Wording(words, question)
        rows = Rows(options.each or "", source, tell)
        _know(wording, rows, options.each)
        said = _guarded(wording, question)
        return running.run(settled, _alone(question), place, rows=rows, ours=ours, said=said)


def _nobody(_: str) -> None:
    """Tell nobody."""


def _question(name: str, words: Sequence[str], settings: Settings) -> Question:
    """Make what is asked for each row but for the row; a schema is read once."""
    options, wanted = settings.options, None
    if options.schema or options.json_object:
        from aiml_cli import insist  # for few calls only

        # What there is to tell of the schema was told when the flags were looked at.
        wanted = insist.wanted(replace(settings, options=replace(options, quiet=True)))
    return Question(ENDPOINTS[name], words, settings, wanted)


def _alone(question: Question) -> Question:
    """Leave out what an answer does besides being written as a result; the run as a whole does it."""
    options = replace(
        question.options, quiet=True, no_log=True, usage=None, meta=None, json=None, format="text", save_dir=None,
        max_cost=None, fit=None, output=None, resume_from=None,
    )  # fmt: skip
    return replace(question, settings=replace(question.settings, options=options))


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
    from aiml_cli import preview

    question = _question(name, words, preview.addressed(settings))
    wording, found = Wording(words, question), rows()
    _know(wording, found, settings.options.each)
    return preview.print_program(replace(question, again=wording.said(_first(found, ours))))


def _first(rows: Iterable[Row], ours: Share) -> Row:
    for row in rows:
        if ours.has(row.number):
            return row
    raise Misuse("there is no row to show")
