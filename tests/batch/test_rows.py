"""Rows of an input: lines, CSV records, JSON lines, and NUL-separated texts."""

import importlib
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml

pytestmark = pytest.mark.in_process


def parse_results(stdout: bytes) -> list[Any]:
    return [json.loads(line) for line in stdout.splitlines()]


def list_prompts(server: Loopback) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


def test_each_line_is_sent_except_empty_ones(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", "-j", "1", "Classify: {row}", stdin=b"good\r\n\n bad \n\nlast")
    assert list_prompts(server) == ["Classify: good", "Classify:  bad ", "Classify: last"]
    assert [found["row"] for found in parse_results(ended.stdout)] == [1, 2, 3]
    assert ended.returncode == 0


def test_a_row_without_a_placeholder_precedes_the_words_or_is_the_whole_prompt(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", "Sum", "up", stdin=b"one\n")
    aiml("chat", "--each", "line", stdin=b"two\n")
    assert list_prompts(server) == ["<stdin>\none\n</stdin>\n\nSum up", "two"]


def test_the_text_of_a_row_is_neither_a_placeholder_nor_a_file(aiml: Aiml, server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", "-j", "1", "{row} and {{row}}", stdin=b"{row} {stdin}\n@secret\n")
    assert list_prompts(server) == ["{row} {stdin} and {row}", "@secret and {row}"]


def test_csv_may_have_a_byte_order_mark_and_newlines_in_quotes(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    table = b'\xef\xbb\xbfname,text\r\nAnn,"a, ""b""\nc"\r\n'
    aiml("chat", "--each", "csv", "{name}: {text} {row}", stdin=table)
    assert list_prompts(server) == ['Ann: a, "b"\nc {"name": "Ann", "text": "a, \\"b\\"\\nc"}']


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_of_spreadsheets_are_recognized(aiml: Aiml, server: Loopback, delimiter: str) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "csv", "{b}", stdin=f"a{delimiter}b\n1{delimiter}2,5\n".encode())
    assert list_prompts(server) == ["2,5"]


TABLE = "First Name, Preis (€) ,名字,a.b-c,What's up?,Q1: sales,user_id\nAnn,5,安,x,fine,9,7\n"
PLACEHOLDER_CASES = [
    ("Greet {First Name}", "Greet Ann"),
    ("{First Name}{ First Name }", "AnnAnn"),
    ("{Preis (€)}", "5"),
    ("{名字}", "安"),
    ("{a.b-c}", "x"),
    ("{What's up?}", "fine"),
    ("{Q1: sales}", "9"),
    ("${user_id}", "$7"),
    ("{{First Name}} {user_id}", "{First Name} 7"),
    ('{{"a": {user_id}}}', '{{"a": 7}}'),
    ('{"a": {"b": 1}} {user_id}', '{"a": {"b": 1}} 7'),
    ("{ return x; } {user_id}", "{ return x; } 7"),
    ("for (;;) { x = f(y) } {user_id}", "for (;;) { x = f(y) } 7"),
    ("import {user_id} from 'x' {user_id}", "import {user_id} from 'x' 7"),
    ("${HOME} \\\\frac{a}{b} x^{n} {user_id}", "${HOME} \\\\frac{a}{b} x^{n} 7"),
    ("{\nuser_id\n} {user_id}", "{\nuser_id\n} 7"),
]


@pytest.mark.promise("placeholders")
@pytest.mark.parametrize(("words", "expected"), PLACEHOLDER_CASES)
def test_a_column_with_any_name_is_a_placeholder_but_code_in_braces_is_not(
    words: str, expected: str, aiml: Aiml, server: Loopback
) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "csv", words, stdin=TABLE.encode())
    assert (ended.returncode, list_prompts(server)) == (0, [expected])


def test_json_lines_have_columns_of_any_name(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "jsonl", "{First Name}/{n}", stdin=b'{"First Name": "Ann", "n": 1}\n')
    assert list_prompts(server) == ["Ann/1"]


UNKNOWN_PLACEHOLDERS = [
    "{Frist Name}",
    "{Last Name}",
    "{nme}",
    "{Preis (EUR)}",
    "{Größe}",
    "{user-id}",
    "{x} {First Name}",
]


@pytest.mark.promise("placeholders")
@pytest.mark.parametrize("words", UNKNOWN_PLACEHOLDERS)
def test_an_unknown_placeholder_is_an_error_that_lists_the_columns(words: str, aiml: Aiml, server: Loopback) -> None:
    ended = aiml("chat", "--each", "csv", words, stdin=TABLE.encode())
    assert (ended.returncode, ended.stdout, server.requests) == (2, b"", [])
    assert f"there is no column {words.split('} ', maxsplit=1)[0].rstrip('}')}}}" in ended.stderr.decode()
    assert "{First Name}, {Preis (€)}, {名字}" in ended.stderr.decode()


def test_an_unknown_column_is_an_error_with_a_suggestion(aiml: Aiml, server: Loopback) -> None:
    ended = aiml("chat", "--each", "csv", "Hi {nme}", stdin=b"name,age\nAnn,3\n")
    assert (ended.returncode, ended.stdout, server.requests) == (2, b"", [])
    assert b"{nme}" in ended.stderr
    assert b"did you mean {name}?" in ended.stderr


def test_a_broken_record_is_a_failed_row_and_does_not_end_the_run(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "csv", "{a}{b}", stdin=b'a,b\n1,2\nshort\n"x"y,z\n3,4\n')
    assert [found["error"] and found["error"]["exit_code"] for found in parse_results(ended.stdout)] == [
        None,
        2,
        2,
        None,
    ]
    assert ended.returncode == 10
    assert len(server.requests) == 2


def test_an_unclosed_quote_is_reported_with_its_line(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "csv", "{a}", stdin=b'a\n1\n"two\n3\n4\n')
    wrong = [found["error"] and found["error"]["message"] for found in parse_results(ended.stdout)]
    assert (ended.returncode, wrong[0], len(wrong)) == (10, None, 2)
    assert "a quote that begins in line 3 is never closed, so everything after it was read as one row" in wrong[1]


def test_strings_of_json_lines_are_inserted_as_text_and_other_values_as_json(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "jsonl", "{s} {n} {o}", stdin='{"s": "\\"ü\\"", "n": null, "o": {"é": [1.0]}}'.encode())
    assert list_prompts(server) == ['"ü" null {"é": [1.0]}']


def test_a_broken_json_line_or_one_without_the_column_is_a_failed_row(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "jsonl", "{a}", stdin=b'{"b": 1}\nbroken\n[1]\n{"a": 1}\n')
    assert [found["error"] is None for found in parse_results(ended.stdout)] == [False, False, False, True]
    assert [found["input"] for found in parse_results(ended.stdout)] == [{"b": 1}, "broken", [1], {"a": 1}]
    assert ended.returncode == 10


def test_nul_separated_rows_keep_their_newlines(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "nul", "-j", "1", stdin=b"a\nb\0c\0")
    assert list_prompts(server) == ["a\nb", "c"]


def test_utf16_and_old_encodings_are_read(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", stdin="grün\r\n".encode("utf-16"))
    ended = aiml("chat", "--each", "line", stdin="grün\n".encode("cp1252"))
    assert list_prompts(server) == ["grün", "grün"]
    assert b"Windows-1252" in ended.stderr


def test_files_among_the_words_are_sent_with_each_row(aiml: Aiml, server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("be {row} kind")
    (tmp_path / "rows").write_text("a\nb\n")
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", "-f", "rows", "-j", "1", "@rules.txt", "Say {row}", stdin=b"left alone\n")
    start = '<file name="rules.txt">\nbe {row} kind\n</file>\n\nrules.txt Say '
    assert list_prompts(server) == [f"{start}a", f"{start}b"]


@pytest.mark.promise("secrets-confirmed")
def test_a_row_with_a_secret_is_sent_only_with_allow_secrets(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    rows = b"fine\nghp_k3Rt9QzLw8Xv2Nb6Hy4Jd7Pf5Gs1Mc0VaU\n"
    ended = aiml("chat", "--each", "line", stdin=rows)
    assert (ended.returncode, list_prompts(server)) == (10, ["fine"])
    aiml("chat", "--each", "line", "--allow-secrets", "-j", "1", stdin=rows)
    assert len(server.requests) == 3


def test_a_row_with_a_possible_secret_is_sent_with_a_notice(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    ended = aiml("chat", "--each", "line", stdin=b"fine\npassword: " + b"hunter2\n")
    assert (ended.returncode, len(server.requests)) == (0, 2)
    assert b"sends what may be a secret: row 2, line 1: a password (password)" in ended.stderr
    assert b"hunter2" not in ended.stderr


def test_a_dry_run_shows_the_first_row_of_the_shard(aiml: Aiml, server: Loopback) -> None:
    ended = aiml("chat", "--each", "line", "--dry-run", "--shard", "2/2", "Say {row}", stdin=b"a\nb\nc\n")
    assert (ended.returncode, server.requests) == (0, [])
    assert json.loads(ended.stdout)["body"]["messages"][-1]["content"] == "Say b"


def test_a_dry_run_shows_the_first_model_and_names_its_fallbacks(aiml: Aiml, server: Loopback) -> None:
    ended = aiml("chat", "--each", "line", "--dry-run", "-m", "a,b", stdin=b"x\n")
    assert (json.loads(ended.stdout)["body"]["model"], server.connections) == ("a", 0)
    assert b"this is the request to a; b would be used if it is unavailable" in ended.stderr


def test_columns_fill_the_variables_of_a_template(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--save", "greet", "-P", "city=Rome {name}", "Hello {name} from {city} {{x}}")
    aiml("chat", "--each", "csv", "-t", "greet", "and {row}", stdin=b"name\nAnn{city}\n")
    assert list_prompts(server) == ['Hello Ann{city} from Rome {name} {x}\n\nand {"name": "Ann{city}"}']


def test_a_row_becomes_the_prompt_of_a_template(aiml: Aiml, server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\n")
    server.answer_with(HELLO)
    aiml("chat", "--save", "short", "-s", "Be {tone}.", "Sum up: {prompt}")
    asked = aiml("chat", "--each", "line", "-t", "short", "-f", "rows")
    assert (asked.returncode, b"no value for {tone} of" in asked.stderr) == (2, True)
    aiml("chat", "--each", "line", "-t", "short", "-P", "tone=kind", "-f", "rows")
    assert list_prompts(server) == ["Sum up: a"]


def test_a_row_beyond_the_size_limit_is_refused(aiml: Aiml, server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"a" * (65 << 20))
    ended = aiml("chat", "--each", "line", "-f", "rows")
    assert (ended.returncode, server.connections) == (2, 0)
    assert b"rows: a row of more than 64 MiB cannot be sent" in ended.stderr


def compress(module: str, text: bytes) -> bytes:
    fixed = {"mtime": 0} if module == "gzip" else {}  # the time would be in the name of the test
    compressed: bytes = importlib.import_module(module).compress(text, **fixed)
    return compressed


BINARY_FILES = [
    ("a.parquet", b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\0\x12\0\0\xff" + bytes(range(256)) + b"PAR1", "Parquet"),
    ("a.feather", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0", "Arrow or Feather"),
    ("b.feather", b"FEA1\0\0\0\0\x18\0", "Feather"),
    ("a.db", b"SQLite format 3\0\x10\0\x01\x01\0", "SQLite"),
    ("a.xz", compress("lzma", b"a,b\n1,2\n"), "xz"),
    ("a.gz", compress("gzip", b"a,b\n1,2\n"), "gzip"),
    ("a.bz2", compress("bz2", b"a,b\n1,2\n"), "bzip2"),
    ("a.zst", b"\x28\xb5\x2f\xfd\x04\x58\x41\0\0a,b\n1,2\n", "zstd"),
    ("a.pkl", pickle.dumps([{"a": 1}]), "pickle"),
    ("a.npy", b"\x93NUMPY\x01\0v\0{'descr'", "NumPy"),
    ("a.orc", b"ORC\n\x03\x08\x01\xff", "ORC"),
    ("a.avro", b"Obj\x01\x04\x14avro.codec", "Avro"),
    ("a.xlsx", b"PK\x03\x04\x14\0\x06\0", "zip"),
    ("a.pdf", b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
    ("a.bin", random.Random(3).randbytes(200), "binary"),  # noqa: S311 - always the same
    ("late.bin", b"text\n" * 10 + b"\0\x01\x02\n", "binary"),
]


@pytest.mark.promise("binary-rows")
@pytest.mark.parametrize("row_format", ["line", "csv", "jsonl"])
@pytest.mark.parametrize(("name", "data", "kind"), BINARY_FILES)
def test_binary_data_is_refused_before_the_first_request(
    name: str, data: bytes, kind: str, row_format: str, aiml: Aiml, server: Loopback, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    ended = aiml("chat", "--each", row_format, "-f", name)
    assert (ended.returncode, ended.stdout, server.requests) == (2, b"", [])
    assert f"{name} is " in ended.stderr.decode()
    assert kind in ended.stderr.decode()


@pytest.mark.promise("binary-rows")
@pytest.mark.parametrize("row_format", ["line", "nul"])
def test_binary_data_from_a_pipe_is_refused(row_format: str, aiml: Aiml, server: Loopback) -> None:
    ended = aiml("chat", "--each", row_format, stdin=BINARY_FILES[0][1])
    assert (ended.returncode, server.requests) == (2, [])
    assert "standard input is a Parquet file" in ended.stderr.decode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_rows_in_utf_16_or_utf_32_are_read(encoding: str, aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "csv", "-j", "1", "{Größe}", stdin="Größe\r\n1 m²\r\n2 m\r\n".encode(encoding))
    assert list_prompts(server) == ["1 m²", "2 m"]


def test_text_that_begins_like_a_binary_format_is_text(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml("chat", "--each", "line", "-j", "1", stdin=b"PAR1 is a word\nBZh too\n")
    assert list_prompts(server) == ["PAR1 is a word", "BZh too"]
