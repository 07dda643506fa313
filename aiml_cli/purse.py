"""Hold the requests of one call against --max-cost, each with what those before it spent."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiml_cli import afford
from aiml_cli.asking import WHOLE
from aiml_cli.errors import Misuse
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Settings

if TYPE_CHECKING:
    from aiml_cli.api.answer import Answer
    from aiml_cli.api.messages import Conversation
    from aiml_cli.api.traffic import Request
    from aiml_cli.question import Question


class Purse:
    """Keep what was spent; `body` is the last that was judged."""

    def __init__(self, settings: Settings, body: Mapping[str, Any]) -> None:
        self._settings, self._body = settings, body
        self._spent = 0.0

    def is_too_small_for(self, request: "Request", last: "Answer") -> bool:
        """Say whether another request may cost too much after the last one, and tell why."""
        self._spent += self._cost(last)
        self._body = json.loads(request.body or b"{}")
        try:
            afford.see_that_it_affords(self._settings, self._body, self._spent)
        except Misuse as over:
            say(f"aiml: {over.message}")
            return True
        return False

    def _cost(self, last: "Answer") -> float:
        """Give what the last request cost: as it was told, by its tokens, or else the most that it may have."""
        if last.told_usd is not None:
            return last.told_usd
        return afford.cost(self._settings, self._body, last.completion.usage)


def opened(question: "Question", said: "Conversation") -> Purse:
    """Judge the first request of a call, with all that was said before; raise Misuse where it may cost too much."""
    body = question.body(said, WHOLE)
    afford.see_that_it_affords(
        question.settings, {**body, "model": ",".join([str(body.get("model")), *question.others])}
    )
    return Purse(question.settings, body)
