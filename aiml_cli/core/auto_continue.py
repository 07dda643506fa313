"""Ask for the rest of an answer that was cut, and join it to what came."""

from typing import TYPE_CHECKING

from aiml_cli.api.answer import can_continue
from aiml_cli.core import resume
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.errors import IncompleteAnswer

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import TurnContext
    from aiml_cli.transport.http_types import HttpRequest


def send_and_continue(asking: "TurnContext") -> None:
    """Ask, and as often as allowed for the rest of what was cut; raise what the last time raised."""
    most = asking.request.options.auto_continue or 0
    error = _failing(asking, 0)
    for count in range(1, most + 1):
        found = asking.sender.completion()
        if not can_continue(found):
            break
        if asking.sender.budget and asking.sender.budget.refuses(_request(asking), asking.sender.segment()):
            break
        why = error.message if error else found.incomplete_reason
        asking.request.notify(f"{why}; asking for the rest ({count} of {most})")
        error = _failing(asking, count)
    if error:
        raise error


def _failing(asking: "TurnContext", count: int) -> IncompleteAnswer | None:
    """Ask once, and give how it was cut off, if it was."""
    try:
        if count:
            request = _request(asking)
            asking.sender.continue_answer()
            asking.send(request)
        else:
            resume.send_with_history(asking)
    except IncompleteAnswer as cut:
        return cut
    return None


def _request(asking: "TurnContext") -> "HttpRequest":
    """Make the request for the rest of what came."""
    return asking.build_request(
        resume.ask_to_continue(asking.conversation, asking.sender.completion().first.text), WHOLE
    )
