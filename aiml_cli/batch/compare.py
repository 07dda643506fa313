"""Ask several models the same at once."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.batch.compare_output import First, Sections
from aiml_cli.batch.compare_workers import Asked
from aiml_cli.core import turn
from aiml_cli.core.chat_request import Question, is_errand, key_for
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.core.schema_retry import wanted_of
from aiml_cli.core.start_demo import served
from aiml_cli.errors import AimlError, Misuse
from aiml_cli.output.choose_renderer import form
from aiml_cli.output.json_output import as_object, line
from aiml_cli.settings.options import ROWS, Options
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import log_prefix, print_out
from aiml_cli.transport import choose_transport

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation

# What one answer takes for itself, and what a conversation, a file or a piece of input has only one of.
NOT_WITH_SEVERAL = ("continue", "resume", "chunk", "reduce", "audio_out", "wait", "show", "cancel")
NOT_WITH_SECTIONS = ("items", "extract")
NOT_WITH_FIRST = ("background",)
FORMATS = ("md", "text", "json")


def ask_all(name: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Ask, and show the answers, or the one that is whole first; give the exit code, or raise what went wrong.

    The settings differ in the model only. Standard input and files are read once, and the key is looked for once.
    """
    options = models[0].options
    if (options.dry_run or options.as_) and not is_errand(options):
        return _print_first(name, words, models)
    try:
        _see_that_it_can_be(options)
        screens = (First if options.first else Sections)(options, os.environ)
    except AimlError as error:
        if form(options) == "json":
            _print_failure(name, error, 0 if options.first else len(models))
        raise
    with served(models[0]) as settled:
        there = [_addressed(each, settled) for each in models]
        try:
            asked = _asked(_questions(name, words, there), options)
        except (AimlError, Stopped) as fault:
            why = fault.error if isinstance(fault, Stopped) else fault
            screens.close([Answer(name, error=why) for _ in models])
            raise
        return screens.show(asked)


def _see_that_it_can_be(options: Options) -> None:
    """Raise Misuse for what only one answer can have."""
    for each in (*NOT_WITH_SEVERAL, *(NOT_WITH_FIRST if options.first else NOT_WITH_SECTIONS)):
        if getattr(options, ROWS[each].attribute):
            raise Misuse(f"{ROWS[each].flag} and several models exclude each other", "ask one model at a time")
    if not options.first and form(options) not in FORMATS:
        hint = "--format json gives an array; with --first every format will do"
        raise Misuse(f"--format {form(options)} is for one answer, and several models are asked", hint)


def _print_failure(name: str, error: AimlError, count: int) -> None:
    """Write the object of a failure, or of several models an array of them."""
    found = as_object(Answer(name, error=error))
    print_out(line([found] * count if count else found, indent=2).decode())


def _addressed(settings: Settings, settled: Settings) -> Settings:
    """Send it to the embedded server, where that was asked for; who is whole first is not asked again."""
    return replace(settings, options=replace(settings.options, base_url=settled.options.base_url, first=None))


def _questions(name: str, words: Sequence[str], models: Sequence[Settings]) -> list[Question]:
    """Make the questions, which all say what the first one reads."""
    asked = [turn.with_its_past(Question(ENDPOINTS[name], words, settings, wanted_of(settings))) for settings in models]
    reader = _narrowest(asked)
    said, system, key = reader.said(), reader.with_its_system().read, key_for(reader)
    _hold_against([each for each in asked if each is not reader], reader, said)
    questions = [replace(each, again=said, read=system, held=(key,)) for each in asked]
    if asked[0].options.max_cost is not None:
        _see_that_all_are_affordable(questions, said)
    return questions


def _narrowest(questions: Sequence[Question]) -> Question:
    """Choose the one whose words are sent to all: with --fit that of the model that holds the least."""
    if not questions[0].options.fit:
        return questions[0]
    from aiml_cli.core import context_window  # few inputs are so long

    return min(questions, key=lambda each: context_window.room_of(each.settings))


def _hold_against(others: Sequence[Question], reader: Question, said: "Conversation") -> None:
    """Hold what is attached and the names of -O against the models that did not read them; raise Misuse."""
    from aiml_cli.catalog import capabilities, unknown_parameters

    attached, endpoint = capabilities.attached_to(said), reader.endpoint.name
    told = set(unknown_parameters.warnings(reader.settings, endpoint)) if reader.options.option_ else set()
    for each in others:
        if attached:
            capabilities.see_that_it_takes(attached, each.settings, endpoint)
        new = set(unknown_parameters.warnings(each.settings, endpoint)) - told if each.options.option_ else set()
        for warning in sorted(new):
            each.tell(warning)
        told |= new


def _see_that_all_are_affordable(questions: Sequence[Question], said: "Conversation") -> None:
    """Raise Misuse where all together may cost more than --max-cost."""
    from aiml_cli.core import budget  # few set a limit

    bodies = [
        {**each.body(said, WHOLE), "model": ",".join((each.options.model or "", *each.others))} for each in questions
    ]
    asked = [(each.settings, body) for each, body in zip(questions, bodies, strict=True)]
    budget.see_that_all_are_affordable(asked, "models")


def _asked(questions: Sequence[Question], options: Options) -> list[Asked]:
    """Open a client for each; nothing is sent yet."""
    asked = []
    for name, question in zip(_names(questions), questions, strict=True):
        with ExitStack() as stack, log_prefix(name):
            client = stack.enter_context(choose_transport.opened(options, question.url))
            asked.append(Asked(name, question, client, stack.pop_all(), wants_raw=form(options) == "raw"))
    return asked


def _names(questions: Sequence[Question]) -> list[str]:
    """Name the models as they were typed; who is asked twice has a number."""
    models = [",".join((each.options.model or "", *each.others)) for each in questions]
    return [
        f"{model} ({models[: place + 1].count(model)})" if models.count(model) > 1 else model
        for place, model in enumerate(models)
    ]


def _print_first(name: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Print the program for the request to the first model."""
    from aiml_cli.core import dry_run  # needed here only

    settled = dry_run.addressed(models[0])
    settled = _addressed(settled, settled)
    others = ", ".join(each.options.model or "" for each in models[1:])
    first = (settled.options.model or "").partition(",")[0].strip()
    about = f"this is the request to {first}; that to {others} differs in the model only"
    return dry_run.print_program(Question(ENDPOINTS[name], words, settled, wanted_of(settled)), about)
