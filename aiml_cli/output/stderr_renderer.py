"""Show on stderr what is not part of the answer: reasoning, tool calls, notices, usage."""

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import AudioDelta, EventBatch, Notice, ReasoningDelta, TextDelta, Usage
from aiml_cli.output.plain_text import NullRenderer, citation_lines, collapse_whitespace
from aiml_cli.system.sanitize import Sanitizer
from aiml_cli.system.stdio import print_err, write_err
from aiml_cli.system.terminal import is_terminal

DIM, RESET = "\x1b[2m", "\x1b[0m"
MAX_NOTICE_LENGTH = 120


class NullStderrRenderer(NullRenderer):
    """Renderer that shows nothing, for an answer that the program uses itself."""

    def end_reasoning(self) -> None:
        """Do nothing."""


class StderrRenderer:
    """Renderer for stderr; each flag says whether to show something.

    `sources`: also list the sources, which stdout does not show. `hints`: name the options that save audio and
    images. `verbose`: show notices in full, and tokens with their alternatives.
    """

    def __init__(
        self,
        *,
        reasoning: bool,
        notices: bool,
        usage: bool,
        color: bool,
        sources: bool = True,
        hints: bool = True,
        verbose: bool = False,
    ) -> None:
        self._reasoning, self._notices, self._usage = reasoning, notices, usage
        self._color, self._sources, self._hints, self._verbose = color, sources, hints, verbose
        self._is_reasoning = self._has_shown = False
        self._newlines = ""  # at the end of the reasoning; shown only if more reasoning follows
        self._sanitizer = Sanitizer()
        self._part = 0

    def show(self, batch: EventBatch) -> None:
        """Write reasoning as it arrives, and end its line when the answer begins."""
        for event in batch:
            if type(event) is TextDelta or type(event) is AudioDelta:
                if self._is_reasoning:
                    self.end_reasoning()
                    self._separate_answer()
            elif type(event) is ReasoningDelta:
                self._write_reasoning(event)
            elif type(event) is Notice and self._notices:
                self.end_reasoning()
                print_err(f"aiml: {event.text if self._verbose else _shorten_notice(event.text)}")

    def close(self, answer: Answer) -> None:
        """Write everything that is known only at the end of the answer."""
        self.end_reasoning()
        completion = answer.completion
        for choice in completion.choices:
            self._print_choice(choice, f"choice {choice.index + 1}: " if len(completion.choices) > 1 else "")
        if self._notices:
            self._print_sources(completion)
        if self._hints:
            self._print_media(answer)
        if self._usage and (line := format_usage(answer)):
            print_err(f"aiml: {line}")

    def _write_reasoning(self, delta: ReasoningDelta) -> None:
        """Write the reasoning of the first choice; that of several choices at the same time would be unreadable."""
        if not self._reasoning or delta.choice:
            return
        if not self._is_reasoning and self._color:
            write_err(DIM)
        if self._is_reasoning and delta.part != self._part:
            self._newlines = "\n\n"
        self._is_reasoning, self._part = True, delta.part
        text = self._newlines + self._sanitizer.feed(delta.text)
        text = text if self._has_shown else text.lstrip("\n")
        shown = text.rstrip("\n")
        self._newlines = text[len(shown) :]
        self._has_shown = self._has_shown or bool(shown)
        write_err(shown)

    def end_reasoning(self) -> None:
        """End the line of the reasoning if it is open; the newlines around it are left out."""
        if self._is_reasoning:
            write_err(self._sanitizer.finish() + (f"{RESET}\n" if self._color else "\n"))
            self._is_reasoning = self._has_shown = False
            self._newlines = ""

    def _separate_answer(self) -> None:
        """Leave a line between reasoning and answer where both are on one terminal."""
        if is_terminal(1) and is_terminal(2):
            write_err("\n")

    def _print_choice(self, choice: Choice, prefix: str) -> None:
        """Print the refusal and the tool calls of a choice, and the reasoning of all but the first."""
        if choice.index and choice.reasoning and self._reasoning:
            print_err(f"{prefix}reasoning: {choice.reasoning}", dim=self._color)
        if choice.refusal:
            print_err(f"{prefix}refusal: {choice.refusal}")
        for call in choice.tool_calls:
            print_err(f"{prefix}tool call: {call.name}({call.arguments}) {call.id}".rstrip())

    def _print_sources(self, completion: Completion) -> None:
        """Print the sources, and with -v the alternatives of each token."""
        for line in citation_lines(completion) if self._sources else ():
            print_err(line)
        tokens = [token for choice in completion.choices for token in choice.logprobs if token.top]
        if self._verbose and tokens:
            from aiml_cli.output.logprobs import print_alternatives  # for few calls only

            print_alternatives(tokens)

    def _print_media(self, answer: Answer) -> None:
        """Print the saved audio and images, or the options that save them."""
        choices, kinds = answer.completion.choices, {file.kind for file in answer.saved}
        for file in answer.saved if self._notices else ():
            print_err(f"aiml: {file.kind} saved: {file.path}")
        if any(choice.audio and choice.audio.data for choice in choices) and "audio" not in kinds:
            print_err("aiml: the answer has audio; --audio-out FILE saves it")
        if any(choice.images for choice in choices) and "image" not in kinds:
            print_err("aiml: the answer has images; --save-dir FOLDER saves them")


def _shorten_notice(text: str) -> str:
    line = collapse_whitespace(text)
    return line if len(line) <= MAX_NOTICE_LENGTH else line[: MAX_NOTICE_LENGTH - 1] + "…"


def format_usage(answer: Answer) -> str:
    """Return tokens, speed, cost and the request's id in one line; "" if no request was sent."""
    parts = [*_format_tokens(answer), *_format_speed(answer), *_format_cost(answer), *_format_savings(answer)]
    if answer.request_id:
        parts.append(f"request {answer.request_id}")
    return " · ".join(parts) or ("the server did not report usage" if answer.attempts else "")


def _format_tokens(answer: Answer) -> list[str]:
    usage = answer.completion.usage
    if usage is None:
        return []
    cached = f" in ({', '.join(cached)})" if (cached := _list_cached(usage)) else " in"
    reasoning = f" out ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else " out"
    counts = [(usage.input_tokens, cached), (usage.output_tokens, reasoning), (usage.total_tokens, " tokens")]
    return [f"{count}{label}" for count, label in counts if count is not None]


def _list_cached(usage: Usage) -> list[str]:
    """Return how many tokens of the prompt the server read from its cache, and how many it wrote into it."""
    if not usage.details:
        return [f"{usage.cached_tokens} cached"] if usage.cached_tokens else []
    from aiml_cli.api.prompt_cache import count_cache_tokens  # few calls use --usage

    read, written = count_cache_tokens(usage)
    counts = ((read, "cached"), (written, "written to the cache"))
    return [f"{count} {label}" for count, label in counts if count]


def _format_savings(answer: Answer) -> list[str]:
    if not answer.saved_usd:
        return []
    from aiml_cli.output.format_money import round_dollars  # few answers save money

    amount = f"≈ ${round_dollars(abs(answer.saved_usd))}"
    return [f"the prompt cache {'saved' if answer.saved_usd > 0 else 'cost'} {amount}"]


def _format_cost(answer: Answer) -> list[str]:
    if answer.cost_usd is None:
        return []
    from aiml_cli.output.format_money import format_dollars, round_dollars  # most answers have no price

    is_exact = answer.cost_source != "estimate"
    return [f"${format_dollars(answer.cost_usd)}" if is_exact else f"≈ ${round_dollars(answer.cost_usd)} (estimate)"]


def _format_speed(answer: Answer) -> list[str]:
    formats = ("first token {:.2f} s", "{:.2f} s", "{:.0f} tokens/s")
    values = (answer.timing.first_token_s, answer.timing.total_s, answer.tokens_per_second)
    return [form.format(value) for form, value in zip(formats, values, strict=True) if value is not None]
