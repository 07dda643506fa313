"""Show how probable each token was: in colours, and with its alternatives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import exp
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice
from aiml_cli.api.stream_events import EventBatch, TextDelta, TokenLogprob
from aiml_cli.output.plain_text import PlainTextRenderer
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_err, write_err

# From which probability on a colour holds, its SGR number and its name.
BANDS = ((0.9, 32, "green"), (0.5, 36, "cyan"), (0.1, 33, "yellow"), (0.0, 31, "red"))
PLAIN = "\x1b[0m"


class LogprobsRenderer(PlainTextRenderer):
    """Write the text as Plain does, each token in the colour of its probability.

    Where the tokens are not the text (a character split over two of them) the text stays plain.
    """

    def __init__(self, write: Callable[[bytes], None], *, terminal: bool, legend: bool) -> None:
        super().__init__(write, terminal=terminal)
        self._legend = legend
        self._coloured = False

    def show(self, batch: EventBatch) -> None:
        """Write what a network read brought, at once."""
        mine = [event for event in batch if isinstance(event, TextDelta | TokenLogprob) and not event.choice]
        for text, tokens in _runs(mine):
            self._colour(text, tokens)
        if not mine:
            super().show(batch)

    def close(self, answer: Answer) -> None:
        """Write what Plain writes; say what the colours mean."""
        super().close(answer)
        if self._coloured and self._legend:
            print_err(f"aiml: probability of each token: {color_legend()}")

    def _say(self, choice: Choice) -> None:
        self._colour(choice.output_text, choice.logprobs)

    def _colour(self, text: str, tokens: Sequence[TokenLogprob]) -> None:
        if not tokens or "".join([token.token for token in tokens]) != text:
            self._put(text)
            return
        self._coloured = True
        self._out("".join(f"\x1b[{_band(token)}m{self._safe(token.token)}" for token in tokens) + PLAIN)
        self._last = text[-1:] or self._last


def color_legend() -> str:
    """Say which colour means what."""
    return ", ".join(f"{name} from {least:.0%}" for least, _, name in BANDS)


def _band(token: TokenLogprob) -> int:
    return next((colour for least, colour, _ in BANDS if to_probability(token.logprob) >= least), BANDS[-1][1])


def to_probability(logprob: Any) -> float:
    """Give the probability of a log probability, which nobody but the server vouches for."""
    return exp(min(0.0, logprob)) if isinstance(logprob, int | float) else 0.0


def _runs(events: Sequence[TextDelta | TokenLogprob]) -> Iterator[tuple[str, list[TokenLogprob]]]:
    """Give each text with the tokens that follow it."""
    texts: list[str] = []
    tokens: list[TokenLogprob] = []
    for event in events:
        if isinstance(event, TokenLogprob):
            tokens.append(event)
            continue
        if tokens:
            yield "".join(texts), tokens
            texts, tokens = [], []
        texts.append(event.text)
    yield "".join(texts), tokens


def print_alternatives(tokens: Sequence[TokenLogprob]) -> None:
    """Write a line for each token: how probable it was, and what might have stood there."""
    for token in tokens:
        others = [f"{_quoted(other.get('token'))} {_percent(other.get('logprob'))}" for other in _others(token)]
        write_err(f"{_quoted(token.token)} {_percent(token.logprob)}{': ' if others else ''}{', '.join(others)}\n")


def _others(token: TokenLogprob) -> list[Mapping[str, Any]]:
    return [other for other in token.top if other.get("token") != token.token]


def _quoted(token: Any) -> str:
    return sanitize(repr(token))


def _percent(logprob: Any) -> str:
    return f"{to_probability(logprob):.1%}"
