"""Classify how an answer ended, by its finish reason, its status, or the reason why it is incomplete."""

import re
from enum import IntEnum


class Ending(IntEnum):
    """How an answer ended; the largest of several endings counts."""

    COMPLETE = 0
    UNFINISHED = 1
    LENGTH = 2
    CONTEXT = 3
    REFUSAL = 4
    FILTER = 5
    ABORTED = 6
    ERROR = 7


# The first row that contains the beginning of a word of the reason decides. Unknown reasons mean complete, like stop,
# end_turn, eos and tool_calls: a new reason of a server must not turn an answer into a failure.
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
    (Ending.ERROR, "error|network|insufficient|overload|unavailable|internal|exception|crash|server|out of memory"),
    (Ending.ABORTED, "abort|cancel|fail|malformed|unexpected|invalid|missing|timeout|timed out|too many|reject"),
    (Ending.ABORTED, "interrupt|disconnect|connection|expire|kill|deadline|resource|preempt|repetition|unsupported"),
    (Ending.ABORTED, "terminated|evict|shut ?down|bad request|quota|lost|broken"),
    (Ending.UNFINISHED, "incomplete|in progress|queued|pending|partial|unfinished|pause|not finished"),
)
MAX_REASON_CHARS = 80
# The reasons of most answers, for which the table is not searched.
_COMMON = frozenset({"stop", "tool_calls", "completed"})


def classify_reason(reason: str | None) -> Ending:
    """Return how an answer with this finish reason or status ended; case and separators are ignored."""
    if not reason or reason in _COMMON:
        return Ending.COMPLETE
    humps = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", reason[:MAX_REASON_CHARS])
    words = re.sub(r"[\W_]+", " ", humps).strip().casefold()
    if words == "language":  # Gemini's, for an unsupported language
        return Ending.ABORTED
    return next((ending for ending, stems in _ENDINGS if re.search(rf"\b(?:{stems})", words)), Ending.COMPLETE)


def choose_worse(first: str | None, second: str | None) -> str | None:
    """Return the reason with the worse ending, or the second if both have the same."""
    if second is None or classify_reason(first) > classify_reason(second):
        return first
    return second
