"""Ask for the rest of an answer that was cut, and join it to what came."""

from typing import TYPE_CHECKING

from aiml_cli.api.answer import has_rest
from aiml_cli.core import resume
from aiml_cli.core.previous_turns import WHOLE
from aiml_cli.errors import CutShort

if TYPE_CHECKING:
    from aiml_cli.core.send_with_retries import Asking
    from aiml_cli.transport.http_types import Request


def hold(asking: "Asking") -> None:
    """Ask, and as often as allowed for the rest of what was cut; raise what the last time raised."""
    most = asking.question.options.auto_continue or 0
    error = _failing(asking, 0)
    for count in range(1, most + 1):
        found = asking.talk.completion()
        if not has_rest(found):
            break
        if asking.talk.purse and asking.talk.purse.is_too_small_for(_request(asking), asking.talk.part()):
            break
        why = error.message if error else found.lacks
        asking.question.tell(f"{why}; asking for the rest ({count} of {most})")
        error = _failing(asking, count)
    if error:
        raise error


def _failing(asking: "Asking", count: int) -> CutShort | None:
    """Ask once, and give how it was cut off, if it was."""
    try:
        if count:
            request = _request(asking)
            asking.talk.go_on()
            asking.send(request)
        else:
            resume.hold(asking)
    except CutShort as cut:
        return cut
    return None


def _request(asking: "Asking") -> "Request":
    """Make the request for the rest of what came."""
    return asking.request(resume.rest(asking.said, asking.talk.completion().first.text), WHOLE)
