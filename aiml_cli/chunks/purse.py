"""Keep what the pieces of an input may cost together."""

from collections.abc import Sequence
from threading import Lock

from aiml_cli.api.answer import Answer
from aiml_cli.errors import AimlError
from aiml_cli.question import Question
from aiml_cli.settings.kinds import Json
from aiml_cli.settings.options import Options


class Purse:
    """Hold the pieces against --max-cost: what was spent, and the most that is under way."""

    def __init__(self, options: Options) -> None:
        self._limit = options.max_cost
        self._lock = Lock()
        self._worst: dict[int, float] = {}
        self.spent = 0.0

    def begin(self, questions: Sequence[Question]) -> None:
        """Raise Misuse where all of it may cost too much, before anything is sent."""
        if self._limit is None:
            return
        from aiml_cli import afford  # few set a limit

        asked = [(each.settings, _body(each)) for each in questions]
        afford.see_that_all_are_affordable(asked, "pieces")

    def may(self, question: Question) -> AimlError | None:
        """Say why a piece must not be asked for after what was spent, if so."""
        if self._limit is None:
            return None
        from aiml_cli import afford

        body = _body(question)
        with self._lock:
            try:
                afford.see_that_it_affords(question.settings, body, self.spent, sum(self._worst.values()))
            except AimlError as over:
                return over
            self._worst[id(question)] = afford.worst(question.settings, body) or 0.0
        return None

    def paid(self, question: Question, answer: Answer) -> None:
        """Take what an answer cost: as it was told, by its tokens, or else the most that it may have."""
        if self._limit is None:
            return
        from aiml_cli import afford

        told, usage = answer.told_usd, answer.completion.usage
        cost = afford.cost(question.settings, _body(question), usage) if told is None else told
        with self._lock:
            self._worst.pop(id(question), None)
            self.spent += cost if answer.attempts else 0.0


def _body(question: Question) -> dict[str, Json]:
    return question.body(question.said())
