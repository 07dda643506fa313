"""Ask the model to continue an answer that was cut off, and append the continuation."""

from collections.abc import Mapping
from typing import Any

from aiml_cli.api.answer import can_continue
from aiml_cli.api.messages import HistoryMode
from aiml_cli.core import resume
from aiml_cli.core.send_with_retries import TurnContext
from aiml_cli.errors import IncompleteAnswer


def send_and_continue(context: TurnContext) -> None:
    """Send a request, then ask for a continuation as often as allowed; raise the error of the last request."""
    limit, reservation = context.request.options.auto_continue or 0, context.reservation
    error = _send(context)
    for count in range(1, limit + 1):
        completion = context.sender.completion()
        if not can_continue(completion):
            break
        body = context.build_body(resume.ask_to_continue(context.conversation, completion.first.text), HistoryMode.FULL)
        if context.budget and reservation:
            from aiml_cli.core.budget import reserve_next  # few users set a limit

            reservation = reserve_next(context.budget, reservation, context.sender.segment(), body)
            if reservation is None:
                break
        reason = error.message if error else completion.incomplete_reason
        context.request.notify(f"{reason}; asking for the rest ({count} of {limit})")
        context.sender.continue_answer()
        error = _send(context, body)
    if error:
        raise error


def _send(context: TurnContext, body: Mapping[str, Any] | None = None) -> IncompleteAnswer | None:
    """Send one request; return how its answer was cut off, if it was."""
    try:
        if body is None:
            resume.send_with_history(context)
        else:
            context.send(body)
    except IncompleteAnswer as error:
        return error
    return None
