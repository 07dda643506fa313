"""Ask once: settle what is asked of whom, hold the turn, and end as it ended."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest, is_stored_action
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.output.choose_renderer import AnswerOutput, choose_output
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.settings.conflicts import check_conflicts
from aiml_cli.settings.options import SEVERAL_MODELS, SIDE_BY_SIDE
from aiml_cli.settings.resolve import Flags, Settings, resolve
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.stdio import print_err, print_out


def ask(name: str, words: Sequence[str], flags: Flags) -> int:
    """Ask a question on an endpoint and show the answer; give the exit code, or raise what went wrong."""
    try:
        words, flags, template = _prepared(name, words, flags)
        settings = resolve(read_sources(flags, os.environ, template), name)
        check_conflicts(settings, _modes(settings, flags))
        if settings.options.record or settings.options.replay:
            from aiml_cli.transport import choose_transport  # before any other file is opened

            choose_transport.validate_paths(settings.options)
        several = _several(name, words, flags, settings)
        wanted = None if several else response_spec_of(settings)
        is_shown_only = (settings.options.dry_run or settings.options.as_) and not is_stored_action(settings.options)
        screen = None if is_shown_only or several else choose_output(settings.options, os.environ)
    except AimlError as error:
        _print_failure(name, error, flags)
        raise
    if several:
        return several()
    if screen is None:
        from aiml_cli.core import dry_run  # needed here only

        return dry_run.print_snippet(
            ChatRequest(ENDPOINTS[name], words, dry_run.use_placeholder_server(settings), wanted)
        )
    with start_demo_if_asked(settings) as settled:
        return _show_answer(ChatRequest(ENDPOINTS[name], words, settled, wanted), screen)


def _several(name: str, words: Sequence[str], flags: Flags, settings: Settings) -> "Callable[[], int] | None":
    """Give what asks more than once: for each row, of each model, for each piece of a long input."""
    models = flags["model"].texts if "model" in flags else ()
    if settings.options.in_place:
        from aiml_cli.core import edit_in_place  # as those below for few calls only

        return lambda: edit_in_place.edit_file(name, words, settings)
    if settings.options.each:
        from aiml_cli.batch import each_setup

        return lambda: each_setup.ask_each(name, words, settings)
    if len(models) > 1:
        from aiml_cli.batch import compare

        return lambda: compare.ask_models(
            name, words, [replace(settings, options=replace(settings.options, model=model)) for model in models]
        )
    if settings.options.first:
        raise UsageError("--first chooses among several models, and there is one", "name them all: -m A -m B --first")
    if settings.options.chunk:
        from aiml_cli.batch import chunks

        return lambda: chunks.ask_chunks(name, words, settings)
    return None


def _modes(settings: Settings, flags: Flags) -> Sequence[str]:
    """Return the ways in which this call is made that no single option names."""
    if "model" not in flags or len(flags["model"].texts) < 2:  # noqa: PLR2004 - several
        return ()
    return (SEVERAL_MODELS,) if settings.options.first else (SEVERAL_MODELS, SIDE_BY_SIDE)


def _prepared(name: str, words: Sequence[str], flags: Flags) -> tuple[Sequence[str], Flags, Flags | None]:
    """Let a template and an editor have their say, where they are asked for."""
    if not flags.keys() & {"template", "param", "edit"}:
        return words, flags, None
    from aiml_cli.core import template_fill  # for few calls only

    return template_fill.prepare_prompt(name, words, flags)


def _print_failure(name: str, error: AimlError, flags: Flags) -> None:
    """Print the object of a failure where JSON was asked for; of several models an array of them."""
    count = len(flags["model"].texts) if "model" in flags and "first" not in flags else 1
    if _wants_json(flags, ("json", "jsonl") if count == 1 else ("json",)):
        found = answer_to_dict(Answer(name, error=error))
        print_out(json_line(found if count == 1 else [found] * count, indent=2).decode())


def _wants_json(flags: Flags, formats: Sequence[str]) -> bool:
    """Say whether JSON was asked for, when the settings as a whole could not be settled."""
    said = flags.get("format")
    word = said.texts[-1] if said else os.environ.get("AIML_FORMAT", "")
    return "json" in flags or word in formats


def _show_answer(question: ChatRequest, screen: AnswerOutput) -> int:
    """Hold one turn; raise what went wrong."""
    answer = turn.run_turn(question, screen).answer
    if answer.error:
        raise answer.error
    if answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")
    return 0
