"""The full-text index: find the messages that may match a query, and check whether they do.

The index only returns candidates, whose text is then matched against the query. Searches update it, in short
transactions, so that other processes can write in between.
"""

import json
import re
import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice, pairwise
from typing import Any, NamedTuple

from aiml_cli.store.history.database import History, Report, decode_row

BLOCK_BITS = 8  # a block has 256 message ids
BATCH_MESSAGES, BATCH_CHARS = 256, 1 << 19
ROWS_PER_STEP = 500
MAX_WORD_LENGTH = 12  # only the beginning of a longer word is in the index
MIN_PREFIX_LENGTH = 3  # a shorter word only matches whole words
MAX_TOKENS = 32  # of a query that are looked up; candidates are matched against the complete query
_OLD_INDEX_STEPS = (
    "DELETE FROM words_data WHERE id IN (SELECT id FROM words_data WHERE id > 10 LIMIT 50)",
    "DELETE FROM words_docsize WHERE id IN (SELECT id FROM words_docsize LIMIT 500)",
    "DELETE FROM words_idx WHERE (segid, term) IN (SELECT segid, term FROM words_idx LIMIT 500)",
)
# Scripts without spaces between words, or with endings on words: Thai to Khmer, Hangul, kana, Chinese characters.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u4dbf\u4e00-\ua4cf\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b2ff\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W_{_UNSPACED}]"
_OTHERS = rf"(?:[{_UNSPACED}]|[^\w\s]|_)+"
_RUNS = re.compile(rf"({_LETTER}+)|{_OTHERS}")
# The words of a text, and the characters between them. For ASCII, the short patterns are twice as fast.
_TEXT_PATTERNS = re.compile(f"{_LETTER}+"), re.compile(_OTHERS)
_ASCII_PATTERNS = re.compile("[a-z0-9]+"), re.compile(r"[^a-z0-9\s]+")
# Accents, the text and emoji variants of a symbol, and soft hyphens are ignored.
_IGNORED = re.compile("[\u0300-\u036f\ufe00-\ufe0f\u00ad]")
_LAST_CHARACTER = "\U0010ffff"


class Token(NamedTuple):
    """A word in the index, or the beginning of words."""

    text: str
    is_prefix: bool = False


class Query:
    """A search query: a text matches if it contains all words, in any order and in upper or lower case.

    The last word may be the beginning of a word, if it has three letters or more. In scripts without spaces, and for
    symbols, any part of a text matches.
    """

    def __init__(self, words: str) -> None:
        terms = fold_text(words.encode("utf-8", "replace").decode().replace("\0", " ")).split()
        runs = [_split_term(term, is_last=i == len(terms) - 1) for i, term in enumerate(terms)]
        self.tokens = {token for parts in runs for run in parts for token in _list_run_tokens(run)}
        self._patterns = list(map(_compile_term, terms, runs))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def find(self, text: str) -> tuple[int, int] | None:
        """Return line and position of the first word of the query in the folded text; None unless all words match."""
        folded = fold_text(text)
        matches = [pattern.search(folded) for pattern in self._patterns]
        if not all(matches) or not matches[0]:
            return None
        start = matches[0].start()
        return folded.count("\n", 0, start), start - folded.rfind("\n", 0, start) - 1


def fold_text(text: str) -> str:
    """Return a text without differences of case, accents and character forms, so that equal words are equal."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", _IGNORED.sub("", unicodedata.normalize("NFKD", text)).casefold())


def list_tokens(text: str) -> set[str]:
    """Return the index entries of a text: the beginnings of words, and the pairs and the last of other characters."""
    text = fold_text(text)
    words, others = _ASCII_PATTERNS if text.isascii() else _TEXT_PATTERNS
    tokens = {word[:MAX_WORD_LENGTH] for word in set(words.findall(text))}
    for run in set(others.findall(text)):
        tokens.update(map("".join, pairwise(run)))
        tokens.add(run[-1])
    return tokens


class _Run(NamedTuple):
    """A part of a term: a word, or other characters. An open part may be the beginning of a word."""

    text: str
    is_word: bool
    is_open: bool


def _split_term(term: str, *, is_last: bool) -> list[_Run]:
    runs = [_Run(match[0], bool(match[1]), is_open=not match[1]) for match in _RUNS.finditer(term)]
    if is_last and len(runs[-1].text) >= MIN_PREFIX_LENGTH:
        runs[-1] = runs[-1]._replace(is_open=True)
    return runs


def _list_run_tokens(run: _Run) -> Iterator[Token]:
    if run.is_word:
        yield Token(run.text[:MAX_WORD_LENGTH], run.is_open and len(run.text) < MAX_WORD_LENGTH)
    elif len(run.text) == 1:
        yield Token(run.text, is_prefix=True)
    else:
        yield from (Token(first + second) for first, second in pairwise(run.text))


def _compile_term(term: str, runs: Sequence[_Run]) -> re.Pattern[str]:
    """Return a pattern for a term; a letter at its beginning or end must be at the beginning or end of a word."""
    start = rf"(?<!{_LETTER})" if runs[0].is_word else ""
    end = "" if runs[-1].is_open else rf"(?!{_LETTER})"
    return re.compile(start + re.escape(term) + end)


def find_candidates(history: History, query: Query) -> set[int]:
    """Return the ids of the messages that may match."""
    blocks = [block for (block,) in history.connection.execute(_ALL_BLOCKS)]
    found: dict[int, set[int]] | None = None
    for token in sorted(query.tokens, key=lambda token: len(token.text), reverse=True)[:MAX_TOKENS]:
        hits: dict[int, set[int]] = {}
        for block, messages in history.connection.execute(*_select_token(token, blocks)):
            hits.setdefault(block, set()).update(messages)
        found = hits if found is None else {block: found[block] & hits[block] for block in hits}
        blocks = [block for block, messages in found.items() if messages]
    return {block << BLOCK_BITS | message for block, messages in (found or {}).items() for message in messages}


_ALL_BLOCKS = """
    WITH RECURSIVE blocks (block) AS (
        SELECT max(block) FROM block_words
        UNION ALL
        SELECT (SELECT max(block) FROM block_words WHERE block < blocks.block) FROM blocks WHERE block IS NOT NULL
    )
    SELECT block FROM blocks WHERE block IS NOT NULL
"""
_OF_BLOCKS = "SELECT block, messages FROM json_each(?) AS wanted CROSS JOIN block_words ON block = wanted.value"


def _select_token(token: Token, blocks: Sequence[int]) -> tuple[str, tuple[str, ...]]:
    if token.is_prefix:
        return f"{_OF_BLOCKS} AND word >= ? AND word < ?", (
            json.dumps(blocks),
            token.text,
            token.text + _LAST_CHARACTER,
        )
    return f"{_OF_BLOCKS} AND word = ?", (json.dumps(blocks), token.text)


class _Batch(NamedTuple):
    """Messages whose words are added together; `position` is the last id that was read, None for `not_indexed`."""

    texts: dict[int, str]
    position: int | None
    state: tuple[int, ...]


def index_new_messages(history: History, report: Report) -> None:
    """Add the messages that were written since the last search, and remove the words of deleted messages."""
    clean_index(history, report)
    done, total = 0, _count_new(history)
    while batch := _read_batch(history):
        done += len(batch.texts)
        _add_words(history, batch, partial(report, "indexing", done, total))


def clean_index(history: History, report: Report) -> None:
    """Remove the words of deleted messages, and the index of an earlier version."""
    _drop_old_index(history, report)
    (total,) = history.connection.execute("SELECT count(*) FROM stale_blocks").fetchone()
    if total:
        history.run_in_slices(_clean_block, lambda: report("cleaning the index", total - _count_stale(history), total))


def _count_stale(history: History) -> int:
    return int(history.connection.execute("SELECT count(*) FROM stale_blocks").fetchone()[0])


def _clean_block(db: sqlite3.Connection) -> bool:
    """Delete some words of a stale block; when none are left, mark its remaining messages to be indexed again."""
    row = db.execute("SELECT block FROM stale_blocks LIMIT 1").fetchone()
    if not row:
        return False
    deletion = db.execute(
        "DELETE FROM block_words WHERE block = ?1 AND word IN (SELECT word FROM block_words WHERE block = ?1 LIMIT ?2)",
        (*row, ROWS_PER_STEP),
    )
    db.execute(
        "UPDATE positions SET value = value + 1 WHERE name = 'cleanings'"
    )  # so that a batch of words that is being added is discarded
    if deletion.rowcount < ROWS_PER_STEP:
        db.execute(
            "INSERT OR IGNORE INTO not_indexed SELECT id FROM messages WHERE id BETWEEN ? AND ?"
            " AND id <= (SELECT value FROM positions WHERE name = 'words')",
            (row[0] << BLOCK_BITS, (row[0] << BLOCK_BITS) + (1 << BLOCK_BITS) - 1),
        )
        db.execute("DELETE FROM stale_blocks WHERE block = ?", row)
    return True


def _drop_old_index(history: History, report: Report) -> None:
    statements = list(_OLD_INDEX_STEPS)

    def step(db: sqlite3.Connection) -> bool:
        if not _has_old_index(db):
            return False  # another process has deleted it
        if statements:
            if db.execute(statements[0]).rowcount == 0:
                del statements[0]
            return True
        db.execute("DROP TABLE IF EXISTS words")
        return False

    if _has_old_index(history.connection):
        history.run_in_slices(step, partial(report, "deleting the old index", 0, 0))


def _has_old_index(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'words_data'").fetchone() is not None


def _count_new(history: History) -> int:
    return int(
        history.connection.execute(
            "SELECT (SELECT count(*) FROM messages WHERE id > (SELECT value FROM positions WHERE name = 'words'))"
            " + (SELECT count(*) FROM not_indexed)"
        ).fetchone()[0]
    )


def _read_batch(history: History) -> _Batch | None:
    """Return the next messages to index, or None; answers that are still streaming are indexed later."""
    state = _read_state(history.connection)
    new = "SELECT id, state, text FROM messages WHERE id > ? ORDER BY id LIMIT ?"
    rows = list(_read_rows(history.connection, new, state[0], BATCH_MESSAGES))
    if rows:
        texts = {message: text for message, status, text in rows if status != "streaming"}
        return _Batch(texts, rows[-1][0], state)
    again = (
        "SELECT m.id, m.state, m.text FROM not_indexed CROSS JOIN messages m ON m.id = message"
        " WHERE m.state != 'streaming' LIMIT ?"
    )
    texts = {message: text for message, _, text in _read_rows(history.connection, again, BATCH_MESSAGES)}
    return _Batch(texts, None, state) if texts else None


def _read_rows(db: sqlite3.Connection, query: str, *values: Any) -> Iterator[tuple[int, str, str]]:
    """Yield rows until their texts have BATCH_CHARS characters."""
    size = 0
    with closing(db.execute(query, values)) as rows:  # an open cursor would prevent a reset of the journal
        for message, status, text in map(decode_row, rows):
            yield message, status, str(text)
            size += len(str(text))
            if size >= BATCH_CHARS:
                return


def _read_state(db: sqlite3.Connection) -> tuple[int, ...]:
    rows = db.execute("SELECT value FROM positions WHERE name IN ('cleanings', 'words') ORDER BY name DESC")
    return tuple(value for (value,) in rows)


def _add_words(history: History, batch: _Batch, report: Callable[[], None]) -> None:
    """Add the words of a batch, unless another process adds them or deletes some of the messages in the meantime."""
    rows = iter(_group_words(batch.texts))
    wanted = json.dumps(list(batch.texts))

    def step(db: sqlite3.Connection) -> bool:
        (count,) = db.execute(
            "SELECT count(*) FROM messages WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
        ).fetchone()
        if count != len(batch.texts) or _read_state(db) != batch.state:
            return False
        if portion := list(islice(rows, ROWS_PER_STEP)):
            db.executemany(
                "INSERT INTO block_words VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET messages = CAST(messages || excluded.messages AS BLOB)",
                portion,
            )
            return True
        if batch.position is None:
            db.execute("DELETE FROM not_indexed WHERE message IN (SELECT value FROM json_each(?))", (wanted,))
        else:
            db.execute("UPDATE positions SET value = ? WHERE name = 'words'", (batch.position,))
        return False

    history.run_in_slices(step, report)
    report()


def _group_words(texts: dict[int, str]) -> list[tuple[int, str, bytes]]:
    """Return the rows of the index for some messages, in storage order."""
    blocks: defaultdict[int, defaultdict[str, bytearray]] = defaultdict(lambda: defaultdict(bytearray))
    for message, text in texts.items():
        block, offset = blocks[message >> BLOCK_BITS], message & ((1 << BLOCK_BITS) - 1)
        for word in list_tokens(text):
            block[word].append(offset)
    return [(number, word, bytes(block[word])) for number, block in sorted(blocks.items()) for word in sorted(block)]


def chunk_ids(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield the ids in lists of at most `size`."""
    remaining = iter(ids)
    while chunk := list(islice(remaining, size)):
        yield chunk
