"""What each demo model answers to a question, before any endpoint gives it a form."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aiml_cli.demo.question import DemoRequest, Json
from aiml_cli.demo.schema_samples import DEMO, make_sample

TOKEN = 4  # characters: near enough for English, and a client must not count on it
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
_STOPWORDS = {
    "English": "the a an and of to in is it you that what why how are for with this was be on do hello hi there my me",
    "German": "der die das und ist nicht ein eine ich zu den mit wie was warum wir auf für von es hallo bitte",
    "French": "le la les et est un une des que pourquoi je vous dans pour pas sur avec qui du ce bonjour salut",
    "Spanish": "el los las y es un una que por qué para con no en del cómo se lo su al hola",
    "Italian": "il gli e è un una che perché per con non di della come sono nel lo mi si ciao",
    "Portuguese": "o os as e é um uma que por para com não em do da como se no na eu olá",
    "Dutch": "de het een en is niet van ik dat wat waarom met voor op zijn je te hoe er aan",
}
_SCRIPTS = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
}
_SAMPLE = 2000  # characters are enough to guess from


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Ask for a function to be called; the arguments are JSON as a text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """Hold one choice; `reason` is chat's word for how it ended."""

    text: str = ""
    thoughts: str = ""
    refusal: str = ""
    call: FunctionCall | None = None
    reason: str = "stop"

    @property
    def arguments(self) -> str:
        """Give the arguments of the call, "" without one."""
        return self.call.arguments if self.call else ""

    @property
    def output_tokens(self) -> int:
        """Count what was written, thoughts included."""
        return sum(len(split_tokens(part)) for part in (self.thoughts, self.text, self.refusal, self.arguments))

    @property
    def reasoning_tokens(self) -> int:
        """Count the thoughts."""
        return len(split_tokens(self.thoughts))


def split_tokens(text: str) -> list[str]:
    """Cut a text into the pieces in which it is streamed and counted."""
    return [text[at : at + TOKEN] for at in range(0, len(text), TOKEN)]


def make_answer(question: DemoRequest, choice: int = 0) -> DemoAnswer:
    """Answer as the question's model does, within its cap."""
    planned = _PLANS.get(question.model, _spoken)(question, choice)
    return planned if question.cap is None else _capped(planned, question.cap)


def _capped(whole: DemoAnswer, cap: int) -> DemoAnswer:
    """Spend the cap on thoughts, then on what follows them, as the gateway's caps do."""
    if whole.output_tokens <= cap:
        return whole
    left = cap * TOKEN
    thoughts, left = whole.thoughts[:left], max(0, left - whole.reasoning_tokens * TOKEN)
    call = replace(whole.call, arguments=whole.arguments[:left]) if whole.call else None
    return DemoAnswer(whole.text[:left], thoughts, whole.refusal[:left], call, "length")


def _spoken(question: DemoRequest, choice: int) -> DemoAnswer:
    """Answer in words, or in JSON where that was asked for."""
    if question.schema is not None:
        value = make_sample(question.schema) if question.schema else _portrait(question)
        return DemoAnswer(json.dumps(value, ensure_ascii=False))
    return DemoAnswer((_markdown if question.model == "demo/markdown" else _echo)(question, choice))


def _called(question: DemoRequest, choice: int) -> DemoAnswer:
    """Call a tool, unless its result is there already or no tool may be called."""
    if question.result is not None or question.tool_choice == "none":
        return _spoken(question, choice)
    tools = sorted(question.tools, key=lambda tool: tool.name != question.tool_choice)
    call = FunctionCall("get_time", json.dumps({"timezone": "UTC", "note": DEMO}))
    if tools:
        call = FunctionCall(tools[0].name, json.dumps(make_sample(tools[0].parameters), ensure_ascii=False))
    return DemoAnswer(call=call, reason="tool_calls")


def _thoughtful(question: DemoRequest, choice: int) -> DemoAnswer:
    thoughts = (
        f"{DEMO} These are the thoughts. The prompt has {describe_size(question.prompt)}. "
        "To think longer would not help: there is nobody here."
    )
    return replace(_spoken(question, choice), thoughts=thoughts)


def _unwilling(_question: DemoRequest, _choice: int) -> DemoAnswer:
    return DemoAnswer(refusal=f"{DEMO} I refuse, because demo/refusal was asked.")


def _halved(reason: str) -> Callable[[DemoRequest, int], DemoAnswer]:
    """End in the middle for a reason."""

    def plan(question: DemoRequest, choice: int) -> DemoAnswer:
        whole = _spoken(question, choice)
        return replace(whole, text=whole.text[: len(whole.text) // 2], reason=reason)

    return plan


_PLANS: Mapping[str, Callable[[DemoRequest, int], DemoAnswer]] = {
    "demo/tool": _called,
    "demo/reasoning": _thoughtful,
    "demo/refusal": _unwilling,
    "demo/length": _halved("length"),
    "demo/filter": _halved("content_filter"),
}


def _portrait(question: DemoRequest) -> Json:
    """Describe the prompt as a JSON object."""
    return {
        "answer": f"{DEMO} You said: {shorten(question.prompt)}",
        "words": len(split_words(question.prompt)),
        "characters": len(question.prompt),
        "lines": len(question.prompt.splitlines()),
        "language": guess_language(question.prompt),
        "attachments": list(question.attachments),
    }


def _echo(question: DemoRequest, choice: int) -> str:
    said = describe_size(question.prompt)
    opening = f"You said “{shorten(question.prompt)}” ({said}; {guess_language(question.prompt)})."
    return " ".join([DEMO, opening, *_remarks(question, choice)])


def _remarks(question: DemoRequest, choice: int) -> list[str]:
    """Say what else came with the prompt; nothing of what did not."""
    named = ", ".join(question.attachments)
    remarks = {
        f"With it came {count_noun(len(question.attachments), 'attachment')}: {named}.": question.attachments,
        f"The system text has {count_noun(len(split_words(question.system)), 'word')}.": question.system,
        f"The tool gave back “{shorten(question.result or '')}”.": question.result is not None,
        f"The conversation has {count_noun(question.turns, 'message')}.": question.turns > 1,
        f"This is choice {choice + 1} of {question.choices}.": question.choices > 1,
    }
    return [remark for remark, due in remarks.items() if due]


def _markdown(question: DemoRequest, choice: int) -> str:
    """Show what a terminal can do with Markdown, with the prompt as the subject."""
    prompt = question.prompt
    cell = shorten(prompt, 40).replace("|", "\\|")
    rows = {
        "words": len(split_words(prompt)),
        "characters": len(prompt),
        "lines": len(prompt.splitlines()),
        "language": guess_language(prompt),
        "begins": cell,
    }
    return _PAGE.format(
        demo=DEMO,
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        frequent="\n".join(f"- {word}" for word in most_frequent(prompt)) or "- none",
        quote=shorten(prompt, 200),
        remarks="".join(remark + " " for remark in _remarks(question, choice)),
    ).rstrip()


def split_words(text: str) -> list[str]:
    """List the words of a text."""
    return re.findall(r"\w+(?:['\u2019-]\w+)*", text)


def shorten(text: str, length: int = 60) -> str:
    """Give the beginning of a text on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def count_noun(number: int, noun: str) -> str:
    """Write a number with its noun: 1 word, 2 words."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def describe_size(text: str) -> str:
    """Say how long a text is."""
    parts = (len(split_words(text)), "word"), (len(text), "character"), (len(text.splitlines()), "line")
    return ", ".join(count_noun(number, noun) for number, noun in parts)


def most_frequent(text: str, most: int = 3) -> list[str]:
    """List the words that come most often, each with how often."""
    counted = Counter(word.lower() for word in split_words(text))
    return [f"{word} ({times}×)" for word, times in counted.most_common(most)]  # noqa: RUF001 - a sign for the eye


def guess_language(text: str) -> str:
    """Guess the language by its script, and among Latin ones by the most frequent small words."""
    letters = [letter for letter in text[:_SAMPLE] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters)
    if not scripts:
        return "no language"
    if scripts.keys() & {"HIRAGANA", "KATAKANA"}:  # mixed with Chinese characters, which may be more
        return "Japanese"
    script = scripts.most_common(1)[0][0]
    return _by_stopwords(text) if script == "LATIN" else _SCRIPTS.get(script, f"{script.title()} script")


def _by_stopwords(text: str) -> str:
    spoken = Counter(word.lower() for word in split_words(text[:_SAMPLE]))
    hits = {name: sum(spoken[word] for word in stops.split()) for name, stops in _STOPWORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "Latin script"
