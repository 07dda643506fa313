"""Run one request and print its answer, or start a run of several requests."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.options import ROWS, SEVERAL_MODELS, SIDE_BY_SIDE, value_of
from aiml_cli.settings.resolve import Flags, Settings, check_conflicts, resolve
from aiml_cli.settings.value_types import OFF
from aiml_cli.store.api_keys import is_key_at_hand
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import hide_keys
from aiml_cli.transport.choose_transport import connect_early, validate_paths

if TYPE_CHECKING:
    from aiml_cli.core.chat_request import ChatRequest
    from aiml_cli.output.choose_renderer import AnswerOutput
    from aiml_cli.schema.check import ResponseSpec

# Options that are only checked while the request is built; until then, no connection is opened.
_CHECKED_LATER = (
    "each", "chunk", "in_place", "tools", "tool_choice", "tool_result", "mcp_server", "option", "headers", "copy",
    "wait", "show", "cancel", "background", "prompt_version", "prompt_var",
)  # fmt: skip


def ask(endpoint: str, words: Sequence[str], flags: Flags) -> int:
    """Run one request and return its exit code, or raise the error."""
    try:
        words, flags, template = _prepare_prompt(endpoint, words, flags)
        settings = resolve(read_sources(flags, os.environ, template), endpoint)
        check_conflicts(settings, _list_modes(settings, flags))
        if settings.options.record or settings.options.replay:
            validate_paths(settings.options)  # before any other file is opened
        run_several = _choose_run(endpoint, words, flags, settings)
    except AimlError as error:
        _print_failure(endpoint, error, flags)
        raise
    with _connect_early(settings, words):
        if not run_several:
            return _ask_once(endpoint, words, flags, settings)
        with hide_keys():
            return run_several()


def _connect_early(settings: Settings, words: Sequence[str]) -> AbstractContextManager[None]:
    """Connect to the server while modules and inputs are loaded, if it is certain that a request will be sent."""
    options, url = settings.options, settings.options.base_url or ""
    sends_nothing = options.demo or options.dry_run or options.as_ or options.estimate
    is_checked = "," not in (options.model or "") and not any(value_of(options, ROWS[name]) for name in _CHECKED_LATER)
    if sends_nothing or not is_checked or options.cache not in (None, OFF) or not is_key_at_hand(settings, url):
        return nullcontext()
    return connect_early(options, url, words)


def _ask_once(endpoint: str, words: Sequence[str], flags: Flags, settings: Settings) -> int:
    from aiml_cli.api.endpoints import get_endpoint  # these are imported while the connection is opened
    from aiml_cli.core.chat_request import ChatRequest, is_stored_action, open_tools
    from aiml_cli.output.choose_renderer import choose_output

    try:
        spec = _make_response_spec(settings)
        is_dry_run = (settings.options.dry_run or settings.options.as_) and not is_stored_action(settings.options)
        output = None if is_dry_run else choose_output(settings.options, os.environ)
    except AimlError as error:
        _print_failure(endpoint, error, flags)
        raise
    if output is None:
        from aiml_cli.core import dry_run  # few calls need it

        settings = dry_run.use_placeholder_server(settings)
        with open_tools(settings) as tools:
            return dry_run.print_snippet(ChatRequest(get_endpoint(endpoint), words, settings, spec, tools=tools))
    try:
        with _choose_server(settings) as resolved, open_tools(resolved) as tools, hide_keys():
            return _run_turn(ChatRequest(get_endpoint(endpoint), words, resolved, spec, tools=tools), output)
    finally:
        if output.file:
            output.file.close(complete=False)  # removes the file if no request was sent


def _choose_run(endpoint: str, words: Sequence[str], flags: Flags, settings: Settings) -> "Callable[[], int] | None":
    """Return a function that sends several requests or edits a file, or None for a single request."""
    models = flags["model"].texts if "model" in flags else ()
    if settings.options.in_place:
        from aiml_cli.core import edit_in_place  # few calls need this module or those below

        return lambda: edit_in_place.edit_file(endpoint, words, settings)
    if settings.options.each:
        from aiml_cli.batch import each_setup

        return lambda: each_setup.ask_each(endpoint, words, settings)
    if len(models) > 1:
        from aiml_cli.batch import compare

        return lambda: compare.ask_models(
            endpoint, words, [replace(settings, options=replace(settings.options, model=model)) for model in models]
        )
    if settings.options.first:
        raise UsageError("--first needs several models", "for example: -m A -m B --first")
    if settings.options.chunk:
        from aiml_cli.batch import chunks

        return lambda: chunks.ask_chunks(endpoint, words, settings)
    return None


def _make_response_spec(settings: Settings) -> "ResponseSpec | None":
    from aiml_cli.core.chat_request import has_answer_format  # as in _ask_once

    if not has_answer_format(settings.options):
        return None
    from aiml_cli.core import schema_retry  # few requests set an answer format

    return schema_retry.make_response_spec(settings)


def _choose_server(settings: Settings) -> AbstractContextManager[Settings]:
    if not settings.options.demo:
        return nullcontext(settings)
    from aiml_cli.core import start_demo  # few calls use it

    return start_demo.start_demo_if_asked(settings)


def _list_modes(settings: Settings, flags: Flags) -> Sequence[str]:
    """Return the modes of this call that do not follow from a single option."""
    if "model" not in flags or len(flags["model"].texts) < 2:  # noqa: PLR2004 - several models
        return ()
    return (SEVERAL_MODELS,) if settings.options.first else (SEVERAL_MODELS, SIDE_BY_SIDE)


def _prepare_prompt(endpoint: str, words: Sequence[str], flags: Flags) -> tuple[Sequence[str], Flags, Flags | None]:
    """Fill the template and open the editor, if the flags ask for it."""
    if not flags.keys() & {"template", "param", "edit"}:
        return words, flags, None
    from aiml_cli.core import template_fill  # few calls use a template

    return template_fill.prepare_prompt(endpoint, words, flags)


def _print_failure(endpoint: str, error: AimlError, flags: Flags) -> None:
    """Print a failure as JSON if the output is JSON: as an object, or for several models as an array of objects."""
    count = len(flags["model"].texts) if "model" in flags and "first" not in flags else 1
    # The settings may be invalid, so the format is read from the flag or the environment.
    word = flags["format"].texts[-1] if "format" in flags else os.environ.get("AIML_FORMAT", "")
    if "json" in flags or word == "json" or (word == "jsonl" and count == 1):
        from aiml_cli.api.answer import Answer  # few calls need it
        from aiml_cli.output.json_output import answer_to_dict, json_line

        result = answer_to_dict(Answer(endpoint, error=error))
        print_out(json_line(result if count == 1 else [result] * count, indent=2).decode())


def _run_turn(request: "ChatRequest", output: "AnswerOutput") -> int:
    from aiml_cli.core import turn  # as in _ask_once

    answer = turn.run_turn(request, output).answer
    if answer.error:
        raise answer.error
    if answer.completion.hit_length_limit:
        print_err(f"aiml: {answer.completion.incomplete_reason}")
    return 0
