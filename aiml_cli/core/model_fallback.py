"""Ask another model where one is not to be had, before a word was shown."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiml_cli.api.completion_builder import Completion
from aiml_cli.api.error_response import error_from_event
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.errors import AimlError, AuthError, UsageError
from aiml_cli.system.signals import Stopped

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import TurnContext

Ask = Callable[["TurnContext"], None]
Advise = Callable[[AimlError, ChatRequest], None]

_NOT_FOUND, _BUSY, _FIRST_OF_THE_SERVERS = 404, 429, 500
_REFUSALS = (400, 422)
_NO_SUCH_MODEL = re.compile(
    r"model_?(id)?[ _-]*(is[ _-])?(not[ _-](found|available|exist)|unavailable|unknown|invalid)"
    r"|(unknown|invalid|no[ _-]such|unsupported)[ _-]+model\b"
    r"|\bmodel\b[^.;\n]{0,120}\b(not[ _-](found|exist|available)|doesn.t exist|is not a valid|is unknown|no longer)"
    r"|\bmodel\s+\S+\s+is not supported",
    re.IGNORECASE,
)


def split_models(name: str) -> list[str]:
    """Read `a,b`; raise UsageError for a part without a name."""
    names = [part.strip() for part in name.split(",")]
    if not all(names):
        raise UsageError(f"the model {name!r} has an empty part", "A,B asks B where A is not to be had")
    return names


def start_fallback(question: ChatRequest) -> ChatRequest:
    """Ask the first of the models, and remember the others."""
    first, *others = split_models(question.options.model or "")
    if others and (question.options.dry_run or question.options.as_):
        question.notify(f"this is the request to {first}; {', '.join(others)} would be asked where it is not to be had")
    return replace(_of(question, first), fallback_models=tuple(others))


def send_with_fallback(asking: "TurnContext", ask: Ask, advise: Advise) -> tuple[ChatRequest, AimlError | None]:
    """Ask one model after the other; give the question as the last one got it, and what went wrong.

    Nobody is waited for who is not the last: the next one is asked at once.
    """
    question, failures = asking.request, list[str]()
    names = (question.options.model or "", *question.fallback_models)
    for place, name in enumerate(names):
        question = _of(question, name)
        skip_retries = is_worth_fallback if place < len(names) - 1 else None
        error = _failure(asking._replace(request=question, skip_retries=skip_retries), ask)
        if error is None or place == len(names) - 1 or not _may_go_on(asking, error):
            break
        failures.append(f"{name}: {error.message}")
        asking.sender.switch_model(names[place + 1])
        question.notify(f"{name}: {error.message}; asking {names[place + 1]}")
    if error:
        advise(error, question)
        error.hint = _hint(error, failures)
    elif failures:
        question.notify(f"{question.options.model} answered")
    return question, error


def is_worth_fallback(error: AimlError) -> bool:
    """Say whether another model may do what this one did not; a key or a connection would be the same."""
    status = _status(error)
    if status is None or isinstance(error, AuthError):
        return False
    if status in _REFUSALS:
        about = (error.message, error.details.get("code"), error.details.get("type"))
        return any(_NO_SUCH_MODEL.search(str(part)) for part in about if part)
    return status in (_NOT_FOUND, _BUSY) or status >= _FIRST_OF_THE_SERVERS


def _status(error: AimlError) -> int | None:
    """Give the status of a refusal, also of one that came under 200 and names it."""
    said = error.details.get("status") or error.details.get("code")
    text = str(said)
    return int(text) if len(text) == len("404") and text.isdecimal() else None


def _failure(asking: "TurnContext", ask: Ask) -> AimlError | None:
    """Ask one model; give what went wrong, a failure that was told within the answer included."""
    try:
        ask(asking)
    except AimlError as failure:
        return failure
    except Stopped as stop:
        return stop.error
    # The server's own bytes are written already.
    fault = asking.sender.completion().reported_error if asking.output.raw is None else None
    error = error_from_event(fault) if fault else None
    # What no other model can mend is judged where every answer is.
    return error if error and _may_go_on(asking, error) else None


def _may_go_on(asking: "TurnContext", error: AimlError) -> bool:
    return is_worth_fallback(error) and not _has_come(asking.sender.completion())


def _has_come(completion: Completion) -> bool:
    """Say whether anything of the answer was there to be seen."""
    return any(
        choice.output_text or choice.reasoning or choice.refusal or choice.tool_calls or choice.images
        for choice in completion.choices
    )


def _hint(error: AimlError, failures: Sequence[str]) -> str:
    before = f"before that {'; '.join(failures)}" if failures else ""
    return "; ".join(filter(None, (error.hint, before)))


def _of(question: ChatRequest, name: str) -> ChatRequest:
    return replace(question, settings=replace(question.settings, options=replace(question.options, model=name)))
