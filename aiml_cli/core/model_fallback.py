"""Ask another model if one is unavailable and nothing of its answer was shown."""

import re
from collections.abc import Callable
from dataclasses import replace

from aiml_cli.api.completion_builder import Completion
from aiml_cli.api.error_response import error_from_event
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.send_with_retries import TurnContext
from aiml_cli.errors import AimlError, AuthError, RateLimited, ServerError, UsageError
from aiml_cli.system.signals import Stopped

Send = Callable[[TurnContext], None]
AddAdvice = Callable[[AimlError, ChatRequest], None]

_NOT_FOUND, _TOO_MANY_REQUESTS, _FIRST_SERVER_ERROR = 404, 429, 500
_INVALID_REQUEST = (400, 422)
_NO_SUCH_MODEL = re.compile(
    r"model_?(id)?[ _-]*(is[ _-])?(not[ _-](found|available|exist)|unavailable|unknown|invalid)"
    r"|(unknown|invalid|no[ _-]such|unsupported)[ _-]+model\b"
    r"|\bmodel\b[^.;\n]{0,120}\b(not[ _-](found|exist|available)|doesn.t exist|is not a valid|is unknown|no longer)"
    r"|\bmodel\s+\S+\s+is not supported",
    re.IGNORECASE,
)


def split_models(name: str) -> list[str]:
    """Split `A,B` into names; raise UsageError if one of them is empty."""
    names = [part.strip() for part in name.split(",")]
    if not all(names):
        raise UsageError(f"the model {name!r} has an empty part", "A,B falls back to B when A is unavailable")
    return names


def start_fallback(request: ChatRequest) -> ChatRequest:
    """Return the request to the first of several models; the others become its fallback models."""
    first, *others = split_models(request.options.model or "")
    if others and (request.options.dry_run or request.options.as_):
        request.notify(f"this is the request to {first}; {', '.join(others)} would be used if it is unavailable")
    return replace(_with_model(request, first), fallback_models=tuple(others))


def send_with_fallback(context: TurnContext, send: Send, add_advice: AddAdvice) -> tuple[ChatRequest, AimlError | None]:
    """Try one model after the other; return the last request and its error.

    Only the last model is retried; if any other fails, the next one is tried immediately.
    """
    request, failures = context.request, list[str]()
    names = (request.options.model or "", *request.fallback_models)
    for index, name in enumerate(names):
        request, is_last = _with_model(request, name), index == len(names) - 1
        skip_retries = None if is_last else is_worth_fallback
        error = _send_once(context._replace(request=request, skip_retries=skip_retries), send)
        if error is None or is_last or not _can_fall_back(context, error):
            break
        failures.append(f"{name}: {error.message}")
        context.sender.switch_model(names[index + 1])
        request.notify(f"{name}: {error.message}; falling back to {names[index + 1]}")
    if error:
        add_advice(error, request)
        if failures:
            error.hint = "; ".join(filter(None, (error.hint, f"earlier: {'; '.join(failures)}")))
    elif failures:
        request.notify(f"{request.options.model} answered")
    return request, error


def is_worth_fallback(error: AimlError) -> bool:
    """True if another model may succeed; a wrong key or a broken connection would fail again."""
    status, may_pass = _status_of(error), isinstance(error, RateLimited | ServerError) and error.details.get("again")
    if may_pass or error.details.get("missing") == "model":
        return True
    if status is None or isinstance(error, AuthError):
        return False
    if status in _INVALID_REQUEST:
        texts = (error.message, error.details.get("code"), error.details.get("type"))
        return any(_NO_SUCH_MODEL.search(str(text)) for text in texts if text)
    return status in (_NOT_FOUND, _TOO_MANY_REQUESTS) or status >= _FIRST_SERVER_ERROR


def _status_of(error: AimlError) -> int | None:
    """Return the HTTP status, or the status in an error event of a successful response."""
    text = str(error.details.get("status") or error.details.get("code"))
    return int(text) if len(text) == len("404") and text.isdecimal() else None


def _send_once(context: TurnContext, send: Send) -> AimlError | None:
    """Send the request to one model; return the error, including one in the answer."""
    try:
        send(context)
    except AimlError as error:
        return error
    except Stopped as stop:
        return stop.error
    # With raw output the server's own bytes are already written, so there is no fallback to another model.
    event = context.sender.completion().reported_error if context.output.raw is None else None
    reported = error_from_event(event) if event else None
    # All other errors in an answer are checked when the turn ends.
    return reported if reported and _can_fall_back(context, reported) else None


def _can_fall_back(context: TurnContext, error: AimlError) -> bool:
    has_begun = context.sender.rounds or _has_output(context.sender.completion())
    return is_worth_fallback(error) and not has_begun


def _has_output(completion: Completion) -> bool:
    return any(
        choice.output_text or choice.reasoning or choice.refusal or choice.tool_calls or choice.images
        for choice in completion.choices
    )


def _with_model(request: ChatRequest, name: str) -> ChatRequest:
    return replace(request, settings=replace(request.settings, options=replace(request.options, model=name)))
