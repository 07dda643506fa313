"""Rows with values that no program should have stored: every command shows and exports what can be read."""

import json
import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from support.history_file import history_path
from support.stored_history import write_conversation

from aiml_cli.__main__ import main

Capture = pytest.CaptureFixture[str]
DEEP_JSON = "[" * 600 + "1e400" + "]" * 600
DIGITS = "9" * 401
INVALID_UTF8 = os.fsdecode(b"\xff\xfe")
MESSAGES: dict[str, list[Any]] = {
    "usage": [
        '{"input_tokens":1e400,"output_tokens":NaN}', f'{{"input_tokens":{DIGITS}}}', f'{{"input_tokens":{"9" * 5000}}}',
        f'{{"a":{DEEP_JSON}}}', '{"input_tokens":"x","output_tokens":[1]}', '{"input_tokens":-5}', "[1]", "7", INVALID_UTF8,
        '{"x":"\\ud800"}', '{"input_tokens":9223372036854775807}',
    ],
    "facts": [
        f'{{"timing":{DEEP_JSON}}}', '{"others":[[1e400,"a"],[1,"b"],["x"],7,null,[9e99,{}]]}', '{"error":[1]}',
        '{"error":{"message":{"a":1}}}', '{"finish_reason":NaN}', "[" * 5000, "x", f'{{"n":{DIGITS}}}',
    ],
    "items": [
        f'[{{"role":"user","content":{DEEP_JSON}}}]', "[1e400,-1e400,NaN]", '{"a":1}', "[" * 100_000,
        '[1,null,"x",{"content":"x"},{"content":[1,null,{"type":7}]},{"tool_calls":[1,{"function":7}]}]',
    ],
    "options": [DEEP_JSON, '{"t":1e400}', f'{{"seed":{DIGITS}}}', '"x"'],
    "cost_usd": [float("inf"), float("-inf"), "abc", b"\0", 1e300, -1.0, 2**63 - 1],
    "text": ["a\0b", b"\xff\0", INVALID_UTF8, "x\ud800y", "", 7, 1e300],
    "thought": ["a\0b", INVALID_UTF8],
    "at": [float("inf"), 1e300, -1e300, "abc", b"x"],
    "model": ["m\0", INVALID_UTF8, b"m", ""],
    "cost_source": [INVALID_UTF8, b"x", "odd"],
    "state": ["odd", INVALID_UTF8, b"x"],
    "role": ["odd", INVALID_UTF8, b"x"],
    "stored": ["x", INVALID_UTF8],
    "response_id": [INVALID_UTF8, b"x", 7],
}  # fmt: skip
CONVERSATIONS: dict[str, list[Any]] = {
    "title": ["a\0b", INVALID_UTF8, b"x", ""],
    "begun": [float("inf"), "abc", -1e300],
    "changed": [float("inf"), "abc", 1e300, -1e300],
    "system": [INVALID_UTF8, "\0", b"x"],
    "place": [INVALID_UTF8, b"x"],
}
ODD_VALUES = [("messages", column, value) for column, values in MESSAGES.items() for value in values]
ODD_VALUES += [("conversations", column, value) for column, values in CONVERSATIONS.items() for value in values]


@pytest.mark.parametrize(("table", "column", "value"), ODD_VALUES, ids=lambda value: repr(value)[:30])
def test_every_command_shows_as_much_as_can_be_read(table: str, column: str, value: Any, capfd: Capture) -> None:
    names = [write_conversation("a sound question"), write_conversation("an odd question", "An odd answer.")]
    store_value(table, column, value)
    for arguments in (["list"], ["show", "-v", names[1]], ["search", "question"], ["list", "question"], ["export"]):
        written = run(capfd, "history", *arguments)
        assert names[1] in written
        assert arguments[0] == "show" or names[0] in written
    for arguments in (["list", "--json"], ["search", "--json", "question"], ["export", "--format", "json"]):
        assert {each["id"] for each in json.loads(run(capfd, "history", *arguments))} == set(names)
    assert len(json.loads(run(capfd, "history", "show", "--json", names[1]))["messages"]) == 2
    lines = [json.loads(line) for line in run(capfd, "history", "export", "--format", "jsonl").splitlines()]
    assert [line["id"] for line in lines].count(names[1]) == 2
    for by in ("model", "day"):
        assert json.loads(run(capfd, "usage", "--by", by, "--period", "all", "--json"))["rows"]
    assert main(["history", "rm", names[1]]) == 0


def store_value(table: str, column: str, value: Any) -> None:
    """Put a value into a column of the second conversation, bypassing the program."""
    if isinstance(value, str):
        value, place = (
            value.encode("utf-8", "surrogateescape" if INVALID_UTF8 in value else "surrogatepass"),
            "CAST(? AS TEXT)",
        )
    else:
        place = "?"
    row = "id = 2" if table == "conversations" else "conversation = 2 AND role = 'assistant'"
    with closing(sqlite3.connect(history_path())) as db, db:
        db.execute(f"UPDATE {table} SET {column} = {place} WHERE {row}", (value,))  # noqa: S608 - names of ours


def run(capfd: Capture, *arguments: str) -> str:
    capfd.readouterr()
    code = main(list(arguments))
    written = capfd.readouterr()
    assert code == 0, written.err
    return written.out


def test_numbers_and_nesting_beyond_json_become_null(capfd: Capture) -> None:
    name = write_conversation("q", items=[{"role": "assistant", "content": "a"}])
    for column, value in (("items", f"[{DEEP_JSON}, 1]"), ("options", f'{{"seed":{DIGITS},"huge":1e400}}')):
        with closing(sqlite3.connect(history_path())) as db, db:
            db.execute(f"UPDATE messages SET {column} = ? WHERE id = 2", (value,))  # noqa: S608 - names of ours
    answer = json.loads(run(capfd, "history", "show", "--json", name))["messages"][1]
    assert answer["options"] == {"seed": None, "huge": None}
    assert answer["items"][1] == 1
