"""Ask several models the same at once."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.batch.compare_output import FirstComplete, SideBySide
from aiml_cli.batch.compare_workers import ModelRuns
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest, is_stored_action, resolve_key
from aiml_cli.core.previous_turns import HistoryMode
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import output_format
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_out

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation


def ask_models(name: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Ask, and show the answers, or the one that is whole first; give the exit code, or raise what went wrong.

    The settings differ in the model only. Standard input and files are read once, and the key is looked for once.
    """
    options = models[0].options
    if (options.dry_run or options.as_) and not is_stored_action(options):
        return _print_first(name, words, models)
    try:
        screens = (FirstComplete if options.first else SideBySide)(options, os.environ)
    except AimlError as error:
        if output_format(options) == "json":
            _print_failure(name, error, 0 if options.first else len(models))
        raise
    with start_demo_if_asked(models[0]) as settled:
        there = [_addressed(each, settled) for each in models]
        try:
            questions = _questions(name, words, there)
            asked = ModelRuns(dict(zip(_names(questions), questions, strict=True)))
        except (AimlError, Stopped) as fault:
            why = fault.error if isinstance(fault, Stopped) else fault
            screens.close([Answer(name, error=why) for _ in models])
            raise
        return screens.show(asked)


def _print_failure(name: str, error: AimlError, count: int) -> None:
    """Write the object of a failure, or of several models an array of them."""
    found = answer_to_dict(Answer(name, error=error))
    print_out(json_line([found] * count if count else found, indent=2).decode())


def _addressed(settings: Settings, settled: Settings) -> Settings:
    """Send it to the embedded server, where that was asked for; who is whole first is not asked again."""
    return replace(settings, options=replace(settings.options, base_url=settled.options.base_url, first=None))


def _questions(name: str, words: Sequence[str], models: Sequence[Settings]) -> list[ChatRequest]:
    """Make the questions, which all say what the first one reads."""
    asked = [
        turn.resolve_conversation(ChatRequest(ENDPOINTS[name], words, settings, response_spec_of(settings)))
        for settings in models
    ]
    reader = _narrowest(asked)
    said, system, key = reader.read_conversation(), reader.with_known_system().known_system, resolve_key(reader)
    _hold_against([each for each in asked if each is not reader], reader, said)
    questions = [replace(each, repeated=said, known_system=system, known_key=(key,)) for each in asked]
    if asked[0].options.max_cost is not None:
        _see_that_all_are_affordable(questions, said)
    return questions


def _narrowest(questions: Sequence[ChatRequest]) -> ChatRequest:
    """Choose the one whose words are sent to all: with --fit that of the model that holds the least."""
    if not questions[0].options.fit:
        return questions[0]
    from aiml_cli.core import context_window  # few inputs are so long

    return min(questions, key=lambda each: context_window.available_tokens(each.settings))


def _hold_against(others: Sequence[ChatRequest], reader: ChatRequest, said: "Conversation") -> None:
    """Hold what is attached and the names of -O against the models that did not read them; raise UsageError."""
    from aiml_cli.catalog import capabilities, unknown_parameters

    attached, endpoint = capabilities.list_attachments(said), reader.endpoint.name
    told = set(unknown_parameters.list_warnings(reader.settings, endpoint)) if reader.options.option_ else set()
    for each in others:
        if attached:
            capabilities.check_attachments(attached, each.settings, endpoint)
        new = set(unknown_parameters.list_warnings(each.settings, endpoint)) - told if each.options.option_ else set()
        for warning in sorted(new):
            each.notify(warning)
        told |= new


def _see_that_all_are_affordable(questions: Sequence[ChatRequest], said: "Conversation") -> None:
    """Raise UsageError where all together may cost more than --max-cost."""
    from aiml_cli.core import budget  # few set a limit

    bodies = [
        {
            **each.build_body(said, HistoryMode.FULL),
            "model": ",".join((each.options.model or "", *each.fallback_models)),
        }
        for each in questions
    ]
    asked = [(each.settings, body) for each, body in zip(questions, bodies, strict=True)]
    budget.check_total_cost(asked, "models")


def _names(questions: Sequence[ChatRequest]) -> list[str]:
    """Name the models as they were typed; who is asked twice has a number."""
    models = [",".join((each.options.model or "", *each.fallback_models)) for each in questions]
    return [
        f"{model} ({models[: place + 1].count(model)})" if models.count(model) > 1 else model
        for place, model in enumerate(models)
    ]


def _print_first(name: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Print the program for the request to the first model."""
    from aiml_cli.core import dry_run  # needed here only

    settled = dry_run.use_placeholder_server(models[0])
    settled = _addressed(settled, settled)
    others = ", ".join(each.options.model or "" for each in models[1:])
    first = (settled.options.model or "").partition(",")[0].strip()
    about = f"this is the request to {first}; that to {others} differs in the model only"
    return dry_run.print_snippet(ChatRequest(ENDPOINTS[name], words, settled, response_spec_of(settled)), about)
