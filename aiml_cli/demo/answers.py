"""The answers of the demo models, before an endpoint converts them to JSON."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aiml_cli.demo.parsed_request import DemoRequest, FunctionCall, HostedCall, Json
from aiml_cli.demo.schema_samples import DEMO_NOTE, make_sample
from aiml_cli.demo.tool_calls import choose_calls, choose_hosted_calls, describe_results

CHARS_PER_TOKEN = 4  # approximately right for English; clients must not rely on it
_PAGE = """\
{demo} A model would answer your prompt; this page shows how an answer looks.

> {quote}

# Ask from the shell

Put the question after the command, and pipe in what it is about:

```bash
git diff | aiml chat "Write a commit message for this"
aiml chat -f report.pdf "Summarize the report in *five* points"  # long lines of code are never wrapped, so copy them
```

## What a script can rely on

| Exit code | Meaning | What helps |
|----------:|:--------|:-----------|
| 0 | the answer is complete | nothing: use it |
| 5 | rate limit, after the retries | wait, or `-m A,B` |
| 8 | the answer is **incomplete** | `--max-tokens`, `/continue` |

1. The answer goes to *stdout*; notices, reasoning and errors go to *stderr*.
2. In a pipe the text arrives byte for byte:
   - `--json` prints one object, the same for both endpoints;
   - `--schema FILE` checks the answer before it is used.
3. A request costs $n_{{in}} \\cdot p_{{in}} + n_{{out}} \\cdot p_{{out}}$; `-u` shows the result.

## Your prompt

It has {size}, is probably in **{language}**, and its most frequent words are {frequent}.

---

{remarks}More: [the documentation](https://docs.aimlapi.com), and `aiml models --demo` for the other models here.
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
_SCRIPTS = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_PAGE_MODELS = ("demo/markdown", "demo/small")
_SAMPLE_CHARS = 2000  # enough to guess a language from


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """One choice; `finish_reason` uses the words of the chat endpoint."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[FunctionCall, ...] = ()
    hosted_calls: tuple[HostedCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def output_tokens(self) -> int:
        """Return the number of tokens, including reasoning."""
        arguments = (call.arguments for call in self.calls)
        return sum(len(split_tokens(part)) for part in (self.reasoning, self.text, self.refusal, *arguments))

    @property
    def reasoning_tokens(self) -> int:
        """Return the number of reasoning tokens."""
        return len(split_tokens(self.reasoning))


def split_tokens(text: str) -> list[str]:
    """Split a text into the pieces that are streamed and counted as tokens."""
    return [text[start : start + CHARS_PER_TOKEN] for start in range(0, len(text), CHARS_PER_TOKEN)]


def make_answer(request: DemoRequest, choice: int = 0) -> DemoAnswer:
    """Return the answer of the request's model, cut off at `max_tokens`."""
    answer = _ANSWER_FUNCTIONS.get(request.model, _answer_in_words)(request, choice)
    return answer if request.max_tokens is None else _limit_tokens(answer, request.max_tokens)


def _limit_tokens(answer: DemoAnswer, limit: int) -> DemoAnswer:
    """Cut an answer off at a token limit; like the gateway's limits, it counts the reasoning first."""
    if answer.output_tokens <= limit:
        return answer
    left = limit * CHARS_PER_TOKEN
    reasoning, left = answer.reasoning[:left], max(0, left - answer.reasoning_tokens * CHARS_PER_TOKEN)
    text, left = answer.text[:left], max(0, left - len(answer.text))
    calls: list[FunctionCall] = []
    for call in answer.calls:
        calls.append(call._replace(arguments=call.arguments[:left]))
        left = max(0, left - len(call.arguments))
    return DemoAnswer(text, reasoning, answer.refusal[:left], tuple(calls), answer.hosted_calls, "length")


def _answer_in_words(request: DemoRequest, choice: int) -> DemoAnswer:
    if request.schema is not None:
        value = make_sample(request.schema) if request.schema else _describe_prompt(request)
        return DemoAnswer(json.dumps(value, ensure_ascii=False))
    return DemoAnswer((_write_page if request.model in _PAGE_MODELS else _echo)(request, choice))


def _call_tool(request: DemoRequest, choice: int) -> DemoAnswer:
    """Call a tool, unless its result is already there or tools are not allowed."""
    if request.tool_result is not None or request.tool_choice == "none":
        return _answer_in_words(request, choice)
    tools = sorted(request.tools, key=lambda tool: tool.name != request.tool_choice)
    call = FunctionCall("get_time", json.dumps({"timezone": "UTC", "note": DEMO_NOTE}))
    if tools:
        call = FunctionCall(tools[0].name, json.dumps(make_sample(tools[0].parameters), ensure_ascii=False))
    return DemoAnswer(calls=(call,), finish_reason="tool_calls")


def _call_tools(request: DemoRequest, choice: int) -> DemoAnswer:
    """Call the tools that the prompt names, and respond to their results with text."""
    calls, hosted = choose_calls(request), choose_hosted_calls(request)
    asks = any(call.output is None for call in hosted)
    if not calls and not asks:
        return replace(_answer_results(request, choice), hosted_calls=hosted)
    called = [*(call.name for call in calls), *(f"{call.label}.{call.name}" for call in hosted)]
    names = ", ".join(dict.fromkeys(called))
    text = f"I will look that up{' again' if request.history.round_count else ''}: {names}."
    return DemoAnswer(
        "" if request.schema is not None else text,
        f"{DEMO_NOTE} The tools that help are {names}." if request.has_effort else "",
        calls=calls,
        hosted_calls=hosted,
        finish_reason="tool_calls" if calls else "stop",
    )


def _answer_results(request: DemoRequest, choice: int) -> DemoAnswer:
    """Quote the results of the tools; without results answer like demo/echo."""
    if request.schema is not None:
        return _answer_in_words(request, choice)
    if results := describe_results(request):
        return DemoAnswer(f"{DEMO_NOTE} {results}")
    return DemoAnswer(f"{_echo(request, choice)} There is no tool to call.")


def _reason_first(request: DemoRequest, choice: int) -> DemoAnswer:
    reasoning = (
        f"{DEMO_NOTE} These are the thoughts. The prompt has {_describe_size(request.prompt)}. "
        "To think longer would not help: there is nobody here."
    )
    return replace(_answer_in_words(request, choice), reasoning=reasoning)


def _refuse(_request: DemoRequest, _choice: int) -> DemoAnswer:
    return DemoAnswer(refusal=f"{DEMO_NOTE} I refuse, because demo/refusal was asked.")


def _stop_halfway(finish_reason: str) -> Callable[[DemoRequest, int], DemoAnswer]:
    """Return an answer function that ends in the middle of its text for this reason."""

    def answer_half(request: DemoRequest, choice: int) -> DemoAnswer:
        answer = _answer_in_words(request, choice)
        return replace(answer, text=answer.text[: len(answer.text) // 2], finish_reason=finish_reason)

    return answer_half


_ANSWER_FUNCTIONS: Mapping[str, Callable[[DemoRequest, int], DemoAnswer]] = {
    "demo/tool": _call_tool,
    "demo/tools": _call_tools,
    "demo/reasoning": _reason_first,
    "demo/refusal": _refuse,
    "demo/length": _stop_halfway("length"),
    "demo/filter": _stop_halfway("content_filter"),
}


def _describe_prompt(request: DemoRequest) -> Json:
    return {
        "answer": f"{DEMO_NOTE} You said: {_shorten(request.prompt)}",
        **_measure(request.prompt),
        "attachments": list(request.attachments),
    }


def _measure(prompt: str) -> dict[str, Json]:
    return {
        "words": len(_split_words(prompt)),
        "characters": len(prompt),
        "lines": len(prompt.splitlines()),
        "language": _guess_language(prompt),
    }


def _echo(request: DemoRequest, choice: int) -> str:
    size = _describe_size(request.prompt)
    opening = f"You said “{_shorten(request.prompt)}” ({size}; {_guess_language(request.prompt)})."
    return " ".join([DEMO_NOTE, opening, *_list_remarks(request, choice)])


def _list_remarks(request: DemoRequest, choice: int) -> list[str]:
    names = ", ".join(request.attachments)
    remarks = {
        f"With it came {_count_noun(len(request.attachments), 'attachment')}: {names}.": request.attachments,
        f"The system text has {_count_noun(len(_split_words(request.system)), 'word')}.": request.system,
        f"The tool gave back “{_shorten(request.tool_result or '')}”.": request.tool_result is not None,
        f"The conversation has {_count_noun(request.message_count, 'message')}.": request.message_count > 1,
        f"This is choice {choice + 1} of {request.choice_count}.": request.choice_count > 1,
    }
    return [remark for remark, applies in remarks.items() if applies]


def _write_page(request: DemoRequest, choice: int) -> str:
    """Write a page with all the Markdown that a terminal can show."""
    prompt = request.prompt
    return _PAGE.format(
        demo=DEMO_NOTE,
        quote=_shorten(prompt, 200),
        size=_describe_size(prompt),
        language=_guess_language(prompt),
        frequent=", ".join(_list_frequent_words(prompt)) or "none",
        remarks="".join(remark + " " for remark in _list_remarks(request, choice)),
    ).rstrip()


def _split_words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['\u2019-]\w+)*", text)


def _shorten(text: str, length: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def _count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _describe_size(text: str) -> str:
    parts = (len(_split_words(text)), "word"), (len(text), "character"), (len(text.splitlines()), "line")
    return ", ".join(_count_noun(number, noun) for number, noun in parts)


def _list_frequent_words(text: str, limit: int = 3) -> list[str]:
    counts = Counter(word.lower() for word in _split_words(text))
    return [f"{word} ({count}×)" for word, count in counts.most_common(limit)]  # noqa: RUF001 - the multiplication sign


def _guess_language(text: str) -> str:
    """Guess the language from its script, and in Latin script from frequent short words."""
    letters = [letter for letter in text[:_SAMPLE_CHARS] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters)
    if not scripts:
        return "no language"
    if scripts.keys() & {"HIRAGANA", "KATAKANA"}:  # Japanese may have more Chinese characters than kana
        return "Japanese"
    script = scripts.most_common(1)[0][0]
    return _guess_by_stopwords(text) if script == "LATIN" else _SCRIPTS.get(script, f"{script.title()} script")


def _guess_by_stopwords(text: str) -> str:
    counts = Counter(word.lower() for word in _split_words(text[:_SAMPLE_CHARS]))
    hits = {name: sum(counts[word] for word in stops.split()) for name, stops in _STOPWORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "Latin script"
