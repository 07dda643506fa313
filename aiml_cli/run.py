"""Ask once: settle what is asked of whom, hold the turn, and end as it ended."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiml_cli import turn
from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.embedded import demo_model, served
from aiml_cli.errors import AimlError
from aiml_cli.question import Question, is_errand
from aiml_cli.screen.choose import Screen, choose
from aiml_cli.screen.json import as_object, line
from aiml_cli.screen.output import say, show
from aiml_cli.settings.flags import Flags
from aiml_cli.settings.resolve import Settings, resolve
from aiml_cli.store.config import layers

if TYPE_CHECKING:
    from aiml_cli.schema.wanted import Wanted


def ask(name: str, words: Sequence[str], flags: Flags) -> int:
    """Ask a question on an endpoint and show the answer; give the exit code, or raise what went wrong."""
    try:
        words, flags, template = _prepared(name, words, flags)
        settings = resolve(layers(flags, os.environ, template), name)
        wanted = _wanted(settings)
        is_shown_only = (settings.options.dry_run or settings.options.as_) and not is_errand(settings.options)
        screen = None if is_shown_only else choose(settings.options, os.environ)
    except AimlError as error:
        if _wants_json(flags):
            show(line(as_object(Answer(name, error=error)), indent=2).decode())
        raise
    if screen is None:
        return _print_program(name, words, settings, wanted)
    with served(settings) as settled:
        return _show_answer(Question(ENDPOINTS[name], words, settled, wanted), screen)


def _prepared(name: str, words: Sequence[str], flags: Flags) -> tuple[Sequence[str], Flags, Flags | None]:
    """Let a template and an editor have their say, where they are asked for."""
    if not flags.keys() & {"template", "param", "edit"}:
        return words, flags, None
    from aiml_cli import template  # for few calls only

    return template.prepared(name, words, flags)


def _wants_json(flags: Flags) -> bool:
    """Say whether JSON was asked for, when the settings as a whole could not be settled."""
    said = flags.get("format")
    word = said.texts[-1] if said else os.environ.get("AIML_FORMAT", "")
    return "json" in flags or word in ("json", "jsonl")


def _wanted(settings: Settings) -> "Wanted | None":
    """Settle what form the answer must have, when one was asked for."""
    options = settings.options
    if is_errand(options) or not (options.schema or options.json_object or options.items):
        return None
    from aiml_cli import insist  # for few calls only

    return insist.wanted(settings)


def _print_program(name: str, words: Sequence[str], settings: Settings, wanted: "Wanted | None") -> int:
    from aiml_cli import preview  # needed here only

    at_demo = settings.options.demo
    settled = demo_model(preview.at_demo(settings)) if at_demo else settings
    question = turn.with_its_past(Question(ENDPOINTS[name], words, settled, wanted))
    return preview.print_program(question.settings, words, question.url, question.body(question.said()))


def _show_answer(question: Question, screen: Screen) -> int:
    """Hold one turn; raise what went wrong."""
    answer = turn.hold(question, screen).answer
    if answer.error:
        raise answer.error
    if answer.completion.capped:
        say(f"aiml: {answer.completion.lacks}")
    return 0
