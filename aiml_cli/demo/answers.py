"""What each demo model answers to a question, before any endpoint gives it a form."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aiml_cli.demo import words
from aiml_cli.demo.question import Json, Question
from aiml_cli.demo.samples import DEMO, sample

TOKEN = 4  # characters: near enough for English, and a client must not count on it


@dataclass(frozen=True, slots=True)
class Call:
    """Ask for a function to be called; the arguments are JSON as a text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold one choice; `reason` is chat's word for how it ended."""

    text: str = ""
    thoughts: str = ""
    refusal: str = ""
    call: Call | None = None
    reason: str = "stop"

    @property
    def arguments(self) -> str:
        """Give the arguments of the call, "" without one."""
        return self.call.arguments if self.call else ""

    @property
    def output_tokens(self) -> int:
        """Count what was written, thoughts included."""
        return sum(len(tokens(part)) for part in (self.thoughts, self.text, self.refusal, self.arguments))

    @property
    def reasoning_tokens(self) -> int:
        """Count the thoughts."""
        return len(tokens(self.thoughts))


def tokens(text: str) -> list[str]:
    """Cut a text into the pieces in which it is streamed and counted."""
    return [text[at : at + TOKEN] for at in range(0, len(text), TOKEN)]


def answer(question: Question, choice: int = 0) -> Answer:
    """Answer as the question's model does, within its cap."""
    planned = _PLANS.get(question.model, _spoken)(question, choice)
    return planned if question.cap is None else _capped(planned, question.cap)


def _capped(whole: Answer, cap: int) -> Answer:
    """Spend the cap on thoughts, then on what follows them, as the gateway's caps do."""
    if whole.output_tokens <= cap:
        return whole
    left = cap * TOKEN
    thoughts, left = whole.thoughts[:left], max(0, left - whole.reasoning_tokens * TOKEN)
    call = replace(whole.call, arguments=whole.arguments[:left]) if whole.call else None
    return Answer(whole.text[:left], thoughts, whole.refusal[:left], call, "length")


def _spoken(question: Question, choice: int) -> Answer:
    """Answer in words, or in JSON where that was asked for."""
    if question.schema is not None:
        value = sample(question.schema) if question.schema else _portrait(question)
        return Answer(json.dumps(value, ensure_ascii=False))
    return Answer((_markdown if question.model == "demo/markdown" else _echo)(question, choice))


def _called(question: Question, choice: int) -> Answer:
    """Call a tool, unless its result is there already or no tool may be called."""
    if question.result is not None or question.tool_choice == "none":
        return _spoken(question, choice)
    tools = sorted(question.tools, key=lambda tool: tool.name != question.tool_choice)
    call = Call("get_time", json.dumps({"timezone": "UTC", "note": DEMO}))
    if tools:
        call = Call(tools[0].name, json.dumps(sample(tools[0].parameters), ensure_ascii=False))
    return Answer(call=call, reason="tool_calls")


def _thoughtful(question: Question, choice: int) -> Answer:
    thoughts = (
        f"{DEMO} These are the thoughts. The prompt has {words.size(question.prompt)}. "
        "To think longer would not help: there is nobody here."
    )
    return replace(_spoken(question, choice), thoughts=thoughts)


def _unwilling(_question: Question, _choice: int) -> Answer:
    return Answer(refusal=f"{DEMO} I refuse, because demo/refusal was asked.")


def _halved(reason: str) -> Callable[[Question, int], Answer]:
    """End in the middle for a reason."""

    def plan(question: Question, choice: int) -> Answer:
        whole = _spoken(question, choice)
        return replace(whole, text=whole.text[: len(whole.text) // 2], reason=reason)

    return plan


_PLANS: Mapping[str, Callable[[Question, int], Answer]] = {
    "demo/tool": _called,
    "demo/reasoning": _thoughtful,
    "demo/refusal": _unwilling,
    "demo/length": _halved("length"),
    "demo/filter": _halved("content_filter"),
}


def _portrait(question: Question) -> Json:
    """Describe the prompt as a JSON object."""
    return {
        "answer": f"{DEMO} You said: {words.beginning(question.prompt)}",
        "words": len(words.words_of(question.prompt)),
        "characters": len(question.prompt),
        "lines": len(question.prompt.splitlines()),
        "language": words.language(question.prompt),
        "attachments": list(question.attachments),
    }


def _echo(question: Question, choice: int) -> str:
    said = words.size(question.prompt)
    opening = f"You said “{words.beginning(question.prompt)}” ({said}; {words.language(question.prompt)})."
    return " ".join([DEMO, opening, *_remarks(question, choice)])


def _remarks(question: Question, choice: int) -> list[str]:
    """Say what else came with the prompt; nothing of what did not."""
    named = ", ".join(question.attachments)
    remarks = {
        f"With it came {words.count(len(question.attachments), 'attachment')}: {named}.": question.attachments,
        f"The system text has {words.count(len(words.words_of(question.system)), 'word')}.": question.system,
        f"The tool gave back “{words.beginning(question.result or '')}”.": question.result is not None,
        f"The conversation has {words.count(question.turns, 'message')}.": question.turns > 1,
        f"This is choice {choice + 1} of {question.choices}.": question.choices > 1,
    }
    return [remark for remark, due in remarks.items() if due]


def _markdown(question: Question, choice: int) -> str:
    """Show what a terminal can do with Markdown, with the prompt as the subject."""
    prompt = question.prompt
    cell = words.beginning(prompt, 40).replace("|", "\\|")
    rows = {
        "words": len(words.words_of(prompt)),
        "characters": len(prompt),
        "lines": len(prompt.splitlines()),
        "language": words.language(prompt),
        "begins": cell,
    }
    return _PAGE.format(
        demo=DEMO,
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        frequent="\n".join(f"- {word}" for word in words.frequent(prompt)) or "- none",
        quote=words.beginning(prompt, 200),
        remarks="".join(remark + " " for remark in _remarks(question, choice)),
    ).rstrip()


_PAGE = """\
{demo} Here is your prompt, with what a terminal can do with **Markdown**.

# Your prompt

> {quote}

## Its size

| measure | value |
|:--------|------:|
{rows}

## Its most frequent words

{frequent}

## Try next

1. **Bold**, *italic*, ~~struck~~ and `code` in a line.
2. A [link](https://docs.aimlapi.com) and a block of code:

   ```python
   def greet(name: str) -> str:
       return f"Hello, {{name}}!"  # long lines of code are never wrapped, however long they may be in the end
   ```

---

{remarks}The other models of this demo: `aiml models --demo`
"""
