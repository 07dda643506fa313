"""Tell on standard error what is no part of the answer: reasoning, tool calls, notices, usage."""

from aiml_cli.api.answer import Answer
from aiml_cli.api.completion import Choice
from aiml_cli.api.events import Batch, Notice, Text, Thought
from aiml_cli.screen.output import say, tell
from aiml_cli.screen.safe import visible

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Aside:
    """Write to standard error; `reasoning`, `notices` and `usage` say what is wanted."""

    def __init__(self, *, reasoning: bool, notices: bool, usage: bool, color: bool) -> None:
        self._reasoning, self._notices, self._usage = reasoning, notices, usage
        self._color = color
        self._thinking = False
        self._part = 0

    def show(self, batch: Batch) -> None:
        """Write reasoning as it comes; end its line when the answer begins."""
        for event in batch:
            if type(event) is Text:
                self._end_thought()
            elif type(event) is Thought:
                self._think(event)
            elif type(event) is Notice and self._notices:
                self._end_thought()
                say(f"aiml: {event.text}")

    def close(self, answer: Answer) -> None:
        """Write what is known only at the end."""
        self._end_thought()
        for choice in answer.completion.choices:
            self._outcome(choice)
        if self._notices:
            for number, citation in enumerate(answer.completion.citations, 1):
                say(f"[{number}] {citation.title or ''} {citation.url}".replace("  ", " "))
        if self._usage:
            say(f"aiml: {usage_line(answer)}")

    def _think(self, thought: Thought) -> None:
        """Show the reasoning of the first choice; several at once could not be read."""
        if not self._reasoning or thought.choice:
            return
        if not self._thinking and self._color:
            tell(DIM)
        if self._thinking and thought.part != self._part:
            tell("\n\n")
        self._thinking, self._part = True, thought.part
        tell(visible(thought.text))

    def _end_thought(self) -> None:
        if self._thinking:
            tell(f"{PLAIN}\n" if self._color else "\n")
            self._thinking = False

    def _outcome(self, choice: Choice) -> None:
        """Show a refusal in the model's words, and the calls that it asks for."""
        if choice.refusal:
            say(f"refusal: {choice.refusal}")
        for call in choice.tool_calls:
            say(f"tool call: {call.name}({call.arguments}) {call.id}".rstrip())


def usage_line(answer: Answer) -> str:
    """Give tokens, cost, speed and the request's id in one line."""
    parts = [*_tokens(answer), *_speed(answer)]
    if answer.cost_usd is not None:
        parts.append(f"${answer.cost_usd:.6f}".rstrip("0").rstrip("."))
    if answer.request_id:
        parts.append(f"request {answer.request_id}")
    return " · ".join(parts) or "the server told no usage"


def _tokens(answer: Answer) -> list[str]:
    usage = answer.completion.usage
    if usage is None:
        return []
    into = f" in ({usage.cached_tokens} cached)" if usage.cached_tokens else " in"
    out = f" out ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else " out"
    counts = [(usage.input_tokens, into), (usage.output_tokens, out), (usage.total_tokens, " tokens")]
    return [f"{count}{words}" for count, words in counts if count is not None]


def _speed(answer: Answer) -> list[str]:
    parts = []
    if answer.timing.first_token_s is not None:
        parts.append(f"first token {answer.timing.first_token_s:.2f} s")
    if answer.timing.total_s is not None:
        parts.append(f"{answer.timing.total_s:.2f} s")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return parts
