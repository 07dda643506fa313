"""Fill a history with generated conversations, quickly and always in the same way.

python scripts/bench/build_history.py history.db --conversations 100000 --text-size 2500
"""

import argparse
import os
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from aiml_cli.store.history.database import MIGRATIONS

START = 1_700_000_000
INTERVAL_S = 600
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME_LETTERS = "23456789bcdfghjkmnpqrstvwxyz"
VOCABULARY_SIZE, PARAGRAPHS, WORDS_PER_PARAGRAPH = 30_000, 2_000, 60
# Words to search for; every Nth conversation contains the word of N.
MARKS = {50: "giraffe", 97: "a C++ class", 101: "代码评审很重要", 103: "これは日本語です", 107: "R", 109: "100%"}
_CONVERSATION = (
    "INSERT INTO conversations (id, name, title, place, system, begun, changed) VALUES (?, ?, ?, 'shell-1', NULL, ?, ?)"
)
_MESSAGE = (
    "INSERT INTO messages (id, conversation, role, state, at, text, items, endpoint, host, model, usage, cost_usd,"
    " cost_source) VALUES (?, ?, ?, 'complete', ?, ?, 'null', 'chat', 'api.example', 'some/model', ?, ?, ?)"
)
_USAGE = '{"input_tokens":200,"output_tokens":400,"total_tokens":600,"cached_tokens":0}'


def build_history(path: Path, conversations: int, text_size: int, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Create a history of conversations, each a question and an answer of about `text_size` characters together.

    With only the first migrations, the file is that of an earlier version.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
        db.executescript("".join(migrations) + f"PRAGMA user_version = {len(migrations)}; BEGIN;")
        db.executemany(_CONVERSATION, map(_make_conversation, range(1, conversations + 1)))
        db.executemany(_MESSAGE, _make_messages(conversations, text_size))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make_conversation(number: int) -> tuple[Any, ...]:
    at = START + number * INTERVAL_S
    return number, make_name(number), f"question {number}", at, at


def make_name(number: int) -> str:
    """Return the id of a conversation, counted from 1."""
    name = ""
    for _ in range(6):
        number, digit = divmod(number, len(NAME_LETTERS))
        name += NAME_LETTERS[digit]
    return name


def _make_messages(conversations: int, text_size: int) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(7)  # noqa: S311 - no secret
    paragraphs = _make_paragraphs()
    count = max(1, 2 * text_size // 3 // len(paragraphs[0]))
    for number in range(1, conversations + 1):
        at = START + number * INTERVAL_S
        marks = " ".join(text for every, text in MARKS.items() if number % every == 0)
        question = "\n".join([f"question {number} {marks}", *chance.choices(paragraphs, k=count)])
        answer = "\n".join([f"answer {number}", *chance.choices(paragraphs, k=2 * count)])
        yield 2 * number - 1, number, "user", at, question, None, None, None
        yield 2 * number, number, "assistant", at, answer, _USAGE, 0.0005, "gateway"


@cache
def _make_paragraphs() -> list[str]:
    chance = random.Random(7)  # noqa: S311 - no secret
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 10))) for _ in range(VOCABULARY_SIZE)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(VOCABULARY_SIZE)))
    return [
        " ".join(chance.choices(words, cum_weights=weights, k=WORDS_PER_PARAGRAPH)) + "." for _ in range(PARAGRAPHS)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--text-size", type=int, default=2_500)
    parsed = parser.parse_args()
    build_history(parsed.path, parsed.conversations, parsed.text_size)
