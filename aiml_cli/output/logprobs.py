"""Show how probable each token was: by its color, and with its alternatives."""

from collections.abc import Callable, Iterator, Sequence
from math import exp
from typing import Any

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice
from aiml_cli.api.stream_events import EventBatch, TextDelta, TokenLogprob
from aiml_cli.output.plain_text import PlainTextRenderer
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import BLUE, GREEN, MAGENTA, RED

# The lowest probability of each color, its SGR parameter and its name.
COLOR_BANDS = ((0.9, GREEN, "green"), (0.5, BLUE, "blue"), (0.1, MAGENTA, "magenta"), (0.0, RED, "red"))
RESET = "\x1b[0m"


class LogprobsRenderer(PlainTextRenderer):
    """Renderer of plain text that writes each token in the color of its probability.

    Text that its tokens do not add up to (a character split over two tokens) stays uncolored.
    """

    def __init__(self, write: Callable[[bytes], None], *, terminal: bool, legend: bool) -> None:
        super().__init__(write, terminal=terminal)
        self._legend = legend
        self._has_colors = False

    def show(self, batch: EventBatch) -> None:
        """Write the text of one network read in one call."""
        events = [event for event in batch if isinstance(event, TextDelta | TokenLogprob) and not event.choice]
        for text, tokens in _group_tokens(events):
            self._write_colored(text, tokens)
        if not events:
            super().show(batch)

    def close(self, answer: Answer) -> None:
        """Write the other choices and the sources, and explain the colors."""
        super().close(answer)
        if self._has_colors and self._legend:
            bands = ", ".join(f"{name} from {minimum:.0%}" for minimum, _, name in COLOR_BANDS)
            print_err(f"aiml: probability of each token: {bands}")

    def _write_choice(self, choice: Choice) -> None:
        self._write_colored(choice.output_text, choice.logprobs)

    def _write_colored(self, text: str, tokens: Sequence[TokenLogprob]) -> None:
        if not tokens or "".join([token.token for token in tokens]) != text:
            self._write_text(text)
            return
        self._has_colors = True
        colored = (f"\x1b[{_find_color(token)}m{self._sanitize(token.token)}" for token in tokens)
        self._write_sanitized("".join(colored) + RESET)
        self._last_char = text[-1:] or self._last_char


def _find_color(token: TokenLogprob) -> str:
    probability = to_probability(token.logprob)
    return next((color for minimum, color, _ in COLOR_BANDS if probability >= minimum), COLOR_BANDS[-1][1])


def to_probability(logprob: Any) -> float:
    """Return the probability of a log probability; servers also send null and positive numbers."""
    return exp(min(0.0, logprob)) if isinstance(logprob, int | float) else 0.0


def _group_tokens(events: Sequence[TextDelta | TokenLogprob]) -> Iterator[tuple[str, list[TokenLogprob]]]:
    """Yield each text with the tokens that follow it."""
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
    """Print a line for each token: its probability, and the other tokens with theirs."""
    for token in tokens:
        others = [other for other in token.top if other.get("token") != token.token]
        texts = [_format_token(other.get("token"), other.get("logprob")) for other in others]
        write_err(f"{_format_token(token.token, token.logprob)}{': ' if texts else ''}{', '.join(texts)}\n")


def _format_token(token: Any, logprob: Any) -> str:
    return f"{sanitize(repr(token))} {to_probability(logprob):.1%}"
