"""Send one prompt to several models at once."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer
from aiml_cli.api.endpoints import get_endpoint
from aiml_cli.api.messages import Conversation, HistoryMode
from aiml_cli.batch.compare_output import FirstComplete, SideBySide
from aiml_cli.batch.compare_workers import ModelRuns
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest, is_stored_action, open_tools, resolve_key
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.errors import AimlError
from aiml_cli.output.choose_renderer import output_format
from aiml_cli.output.json_output import answer_to_dict, json_line
from aiml_cli.settings.resolve import Settings
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_out

if TYPE_CHECKING:
    from aiml_cli.core.chat_request import Tools


def ask_models(endpoint: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Send the prompt, and print all answers or the first complete one; return the exit code, or raise the error.

    The settings differ only in the model. Standard input and files are read once, and the key is looked up once.
    """
    options = models[0].options
    if (options.dry_run or options.as_) and not is_stored_action(options):
        return _print_first(endpoint, words, models)
    try:
        output = (FirstComplete if options.first else SideBySide)(options, os.environ)
    except AimlError as error:
        if output_format(options) == "json":
            _print_failure(endpoint, error, 0 if options.first else len(models))
        raise
    with start_demo_if_asked(models[0]) as resolved, ExitStack() as stack:
        try:
            tools = stack.enter_context(open_tools(resolved, shared=True))
            requests = _build_requests(endpoint, words, [_set_base_url(model, resolved) for model in models], tools)
            runs = ModelRuns(dict(zip(_name_models(requests), requests, strict=True)))
        except (AimlError, Stopped) as cause:
            failure = cause.error if isinstance(cause, Stopped) else cause
            output.close([Answer(endpoint, error=failure) for _ in models])
            raise
        return output.show(runs)


def _print_failure(endpoint: str, error: AimlError, count: int) -> None:
    """Print the JSON object of a failure, or an array of `count` of them."""
    result = answer_to_dict(Answer(endpoint, error=error))
    print_out(json_line([result] * count if count else result, indent=2).decode())


def _set_base_url(settings: Settings, resolved: Settings) -> Settings:
    """Use the resolved base URL, which may be that of the demo server, and drop --first."""
    return replace(settings, options=replace(settings.options, base_url=resolved.options.base_url, first=None))


def _build_requests(
    endpoint: str, words: Sequence[str], models: Sequence[Settings], tools: "Tools | None"
) -> list[ChatRequest]:
    """Build the requests; one of them reads the conversation, and all send it."""
    requests = [
        turn.resolve_conversation(
            ChatRequest(get_endpoint(endpoint), words, settings, response_spec_of(settings), tools=tools)
        )
        for settings in models
    ]
    reader = _choose_reader(requests)
    conversation, system = reader.read_conversation(), reader.with_known_system().known_system
    key = (resolve_key(reader),)
    _check_other_models([request for request in requests if request is not reader], reader, conversation)
    requests = [replace(each, repeated=conversation, known_system=system, known_key=key) for each in requests]
    if requests[0].options.max_cost is not None:
        _check_cost(requests, conversation)
    return requests


def _choose_reader(requests: Sequence[ChatRequest]) -> ChatRequest:
    """Return the request that reads the conversation; if --fit cuts inputs, the one with the least room for them."""
    fit = requests[0].options.fit
    if not fit:
        return requests[0]
    from aiml_cli.core import context_window  # most inputs fit

    if fit not in context_window.PART_NAMES:
        return requests[0]
    return min(requests, key=lambda request: context_window.available_tokens(request.settings))


def _check_other_models(others: Sequence[ChatRequest], reader: ChatRequest, conversation: Conversation) -> None:
    """Check the attachments and the -O parameters for the other models: raise UsageError, or print warnings."""
    from aiml_cli.catalog import check_request

    attachments, endpoint = check_request.list_attachments(conversation), reader.endpoint.name
    warnings = set(check_request.list_warnings(reader.settings, endpoint)) if reader.options.option_ else set()
    for request in others:
        if attachments:
            check_request.check_attachments(attachments, request.settings, endpoint)
        if request.options.option_:
            new = set(check_request.list_warnings(request.settings, endpoint)) - warnings
            for warning in sorted(new):
                request.notify(warning)
            warnings |= new


def _check_cost(requests: Sequence[ChatRequest], conversation: Conversation) -> None:
    """Raise UsageError if all requests together could cost more than --max-cost."""
    from aiml_cli.core import budget  # few set a limit

    bodies = [
        {**request.build_body(conversation, HistoryMode.FULL), "model": _list_models(request)} for request in requests
    ]
    settings = [request.settings for request in requests]
    budget.check_total_cost(list(zip(settings, bodies, strict=True)), "models")


def _list_models(request: ChatRequest) -> str:
    """Return the model and its fallbacks as they were typed."""
    return ",".join((request.options.model or "", *request.fallback_models))


def _name_models(requests: Sequence[ChatRequest]) -> list[str]:
    """Return a unique name for each model: equal names get a number."""
    models = [_list_models(request) for request in requests]
    return [
        f"{model} ({models[: position + 1].count(model)})" if models.count(model) > 1 else model
        for position, model in enumerate(models)
    ]


def _print_first(endpoint: str, words: Sequence[str], models: Sequence[Settings]) -> int:
    """Print the program for the request to the first model."""
    from aiml_cli.core import dry_run  # needed here only

    settings = dry_run.use_placeholder_server(models[0])
    settings = _set_base_url(settings, settings)
    others = ", ".join(model.options.model or "" for model in models[1:])
    first = (settings.options.model or "").partition(",")[0].strip()
    notice = f"this is the request to {first}; those to {others} differ only in the model"
    return dry_run.print_snippet(
        ChatRequest(get_endpoint(endpoint), words, settings, response_spec_of(settings)), notice
    )
