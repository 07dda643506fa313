"""Judge by a server's words how an answer ended: finish reasons, statuses, reasons of incompleteness."""

import re
from enum import IntEnum


class Ending(IntEnum):
    """How an answer ended; of several endings the largest counts."""

    COMPLETE = 0
    UNFINISHED = 1
    LENGTH = 2
    CONTEXT = 3
    REFUSAL = 4
    FILTER = 5
    ABORTED = 6
    ERROR = 7


# The first row with a stem that a word of the reason begins with. Unknown words are complete, like stop, end_turn,
# eos and tool_calls: a new word of a server must not turn an answer into a failure.
_ENDINGS = (
    (Ending.COMPLETE, "no error|without error|content block"),
    (
        Ending.FILTER,
        "filter|content ?filter|safety|sensitive|recitation|prohibit|blocked|blocklist|spii|error toxic",
    ),
    (Ending.FILTER, "moderat|guardrail|harm|violat|content policy|policy|unsafe|flagged|copyright|model armor"),
    (Ending.REFUSAL, "refus|declin"),
    (Ending.CONTEXT, "context window|context length|context limit|context full|context exceeded"),
    (Ending.LENGTH, "length|max|truncat|limit|error limit|token ?limit|out of tokens|budget|cutoff|too long"),
    (Ending.ERROR, "error|network|insufficient|overload|unavailable|internal|exception|crash|server"),
    (Ending.ABORTED, "abort|cancel|fail|malformed|unexpected|invalid|missing|timeout|timed out|too many|reject"),
    (Ending.ABORTED, "interrupt|disconnect|connection|expire|kill|deadline|resource|preempt|repetition|unsupported"),
    (Ending.UNFINISHED, "incomplete|in progress|queued|pending|partial|unfinished|pause|not finished"),
)
_TABLE = [(ending, re.compile(rf"\b(?:{stems})")) for ending, stems in _ENDINGS]
_CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[\W_]+")
MAX_REASON_CHARS = 80


def classify_reason(reason: str | None) -> Ending:
    """Return how an answer with this finish reason or status ended; in any case, with any separators."""
    words = _NO_WORD.sub(" ", _CAMEL_HUMP.sub(" ", (reason or "")[:MAX_REASON_CHARS])).strip().casefold()
    if words == "language":  # Gemini's, for a language that it does not speak
        return Ending.ABORTED
    return next((ending for ending, pattern in _TABLE if pattern.search(words)), Ending.COMPLETE)


def choose_worse(first: str | None, second: str | None) -> str | None:
    """Return the reason that says the worse of the two, or the second if they mean the same."""
    if second is None or classify_reason(first) > classify_reason(second):
        return first
    return second
