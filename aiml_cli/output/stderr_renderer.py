"""Tell on standard error what is no part of the answer: reasoning, tool calls, notices, usage."""

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion_builder import Choice, Completion
from aiml_cli.api.stream_events import AudioDelta, EventBatch, Notice, ReasoningDelta, TextDelta
from aiml_cli.output.plain_text import citation_lines
from aiml_cli.system.sanitize import Sanitizer
from aiml_cli.system.stdio import print_err, write_err

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
MOST_OF_A_NOTICE = 120


class NullStderrRenderer:
    """Tell nobody: for an answer that goes elsewhere than to the user."""

    def show(self, batch: EventBatch) -> None:
        """Show nothing."""

    def end_reasoning(self) -> None:
        """Nothing was thought aloud."""

    def close(self, answer: Answer) -> None:
        """Show nothing."""


class StderrRenderer:
    """Write to standard error; `reasoning`, `notices` and `usage` say what is wanted.

    `sources` says that nobody else shows them, `hints` that lost pictures and sounds are worth a line, and
    `verbose` that notices are told whole, and tokens with their alternatives.
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
        self._thinking = False
        self._gate = Sanitizer()
        self._part = 0

    def show(self, batch: EventBatch) -> None:
        """Write reasoning as it comes; end its line when the answer begins."""
        for event in batch:
            if type(event) is TextDelta or type(event) is AudioDelta:
                self.end_reasoning()
            elif type(event) is ReasoningDelta:
                self._think(event)
            elif type(event) is Notice and self._notices:
                self.end_reasoning()
                print_err(f"aiml: {event.text if self._verbose else _in_a_line(event.text)}")

    def close(self, answer: Answer) -> None:
        """Write what is known only at the end."""
        self.end_reasoning()
        completion = answer.completion
        for choice in completion.choices:
            self._outcome(choice, f"choice {choice.index + 1}: " if len(completion.choices) > 1 else "")
        if self._notices:
            self._tell_more(completion)
        if self._hints:
            self._tell_media(answer)
        if self._usage and (line := format_usage(answer)):
            print_err(f"aiml: {line}")

    def _think(self, thought: ReasoningDelta) -> None:
        """Show the reasoning of the first choice; several at once could not be read."""
        if not self._reasoning or thought.choice:
            return
        if not self._thinking and self._color:
            write_err(DIM)
        if self._thinking and thought.part != self._part:
            write_err("\n\n")
        self._thinking, self._part = True, thought.part
        write_err(self._gate.feed(thought.text))

    def end_reasoning(self) -> None:
        """End the line of the reasoning, where it is not ended yet."""
        if self._thinking:
            write_err(self._gate.finish() + (f"{PLAIN}\n" if self._color else "\n"))
            self._thinking = False

    def _outcome(self, choice: Choice, whose: str) -> None:
        """Show a refusal in the model's words, and the calls that it asks for."""
        if choice.index and choice.reasoning and self._reasoning:
            print_err(f"{whose}reasoning: {choice.reasoning}", dim=self._color)
        if choice.refusal:
            print_err(f"{whose}refusal: {choice.refusal}")
        for call in choice.tool_calls:
            print_err(f"{whose}tool call: {call.name}({call.arguments}) {call.id}".rstrip())

    def _tell_more(self, completion: Completion) -> None:
        """Show the sources, and with -v what might have stood in place of each token."""
        for note in citation_lines(completion) if self._sources else ():
            print_err(note)
        tokens = [token for choice in completion.choices for token in choice.logprobs if token.top]
        if self._verbose and tokens:
            from aiml_cli.output.logprobs import print_alternatives  # few ask for them

            print_alternatives(tokens)

    def _tell_media(self, answer: Answer) -> None:
        """Say where pictures and sounds are, or how they would have been kept."""
        choices, kinds = answer.completion.choices, {file.kind for file in answer.saved}
        for file in answer.saved if self._notices else ():
            print_err(f"aiml: {file.kind} saved: {file.path}")
        if any(choice.audio and choice.audio.data for choice in choices) and "audio" not in kinds:
            print_err("aiml: the answer holds audio; --audio-out FILE keeps it")
        if any(choice.images for choice in choices) and "image" not in kinds:
            print_err("aiml: the answer holds pictures; --save-dir FOLDER keeps them")


def _in_a_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MOST_OF_A_NOTICE else words[: MOST_OF_A_NOTICE - 1] + "…"


def format_usage(answer: Answer) -> str:
    """Give tokens, cost, speed and the request's id in one line; "" of what was never sent."""
    parts = [*_tokens(answer), *_speed(answer), *_cost(answer)]
    if answer.request_id:
        parts.append(f"request {answer.request_id}")
    return " · ".join(parts) or ("the server told no usage" if answer.attempts else "")


def _tokens(answer: Answer) -> list[str]:
    usage = answer.completion.usage
    if usage is None:
        return []
    into = f" in ({usage.cached_tokens} cached)" if usage.cached_tokens else " in"
    out = f" out ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else " out"
    counts = [(usage.input_tokens, into), (usage.output_tokens, out), (usage.total_tokens, " tokens")]
    return [f"{count}{words}" for count, words in counts if count is not None]


def _cost(answer: Answer) -> list[str]:
    """Say the price as the gateway told it, or about what it may be."""
    if answer.cost_usd is None:
        return []
    from aiml_cli.output.format_money import format_dollars, round_dollars  # most who ask never see a price

    exact = answer.cost_source == "gateway"
    return [f"${format_dollars(answer.cost_usd)}" if exact else f"≈ ${round_dollars(answer.cost_usd)} (estimate)"]


def _speed(answer: Answer) -> list[str]:
    parts = []
    if answer.timing.first_token_s is not None:
        parts.append(f"first token {answer.timing.first_token_s:.2f} s")
    if answer.timing.total_s is not None:
        parts.append(f"{answer.timing.total_s:.2f} s")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return parts
