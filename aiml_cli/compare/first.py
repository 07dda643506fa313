"""Show the answer that is whole first, and stop the other models."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic

from aiml_cli.api.answer import Answer
from aiml_cli.compare.asked import HURRY_S, Asked, end_all, show_on, waits
from aiml_cli.errors import AimlError
from aiml_cli.screen.choose import choose
from aiml_cli.screen.output import say
from aiml_cli.settings.options import Options
from aiml_cli.signals import Stopped


class First:
    """Show one answer as if no other model had been asked; raises as `choose` does."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._screen = choose(options, environ)
        self._options, self._environ = options, environ
        self._is_closed = False

    def close(self, answers: Sequence[Answer]) -> None:
        """Tell the screen of the end, once."""
        if not self._is_closed:
            self._is_closed = True
            self._screen.close(answers[0])

    def show(self, asked: Sequence[Asked]) -> int:
        """Ask all; give 0, or raise what went wrong with the first one where none is whole."""
        try:
            with waits(self._options, self._environ):
                chosen = self._chosen(asked) or asked[0]
            self._show(chosen)
            _wait(chosen, asked)
            chosen.is_gone_on_with()
        except (AimlError, Stopped) as fault:
            error = fault.error if isinstance(fault, Stopped) else fault
            end_all(asked, fault.args[0] if isinstance(fault, Stopped) else signal.SIGINT)
            self.close([replace(Answer(asked[0].question.endpoint.name), error=error)])
            raise
        if chosen.answer and chosen.answer.error:
            raise chosen.answer.error
        return 0

    def _show(self, chosen: Asked) -> None:
        for post in chosen.posts():
            if isinstance(post.what, Answer):
                self.close([post.what])
            else:
                show_on(self._screen, post)

    def _chosen(self, asked: Sequence[Asked]) -> Asked | None:
        """Wait for an answer that is whole, and hang up on all others at once; None where there is none."""
        ended: SimpleQueue[Asked] = SimpleQueue()
        began = monotonic()
        for each in asked:
            each.start(ended)
        for _ in asked:
            one = ended.get()
            error = one.answer.error if one.answer else None
            if error is None:
                for each in asked:
                    each.end(signal.SIGINT) if each is not one else None
                self._tell(f"{one.name} was whole first, after {monotonic() - began:.2f} s")
                return one
            self._tell(f"{one.name}: {error.message}")
        return None

    def _tell(self, words: str) -> None:
        if not self._options.quiet:
            say(f"aiml: {words}")


def _wait(chosen: Asked, asked: Sequence[Asked]) -> None:
    """Wait until all is written down; longer for the answer that was shown."""
    until = monotonic() + HURRY_S
    for each in asked:
        each.wait() if each is chosen else each.wait_a_little(until)
