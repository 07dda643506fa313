"""Results of rows as CSV: the columns of the input, those of the answer, and those that a resumed run needs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import build_json_error, queue_answers, stream_text
from support.loopback import RESET, STREAM, Loopback, chunk, delta, json_response
from support.pty_run import HOSTILE_TEXT, run_on_pty

from aiml_cli.__main__ import main
from aiml_cli.batch.results import CsvResumeFile, encode_record, list_fields

REJECTED_ROW = build_json_error('bad, "words"\nhere')
SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
CUT_STREAM = STREAM + chunk(delta("Half"))
LAST_COLUMNS = ["error", "row_number", "row_hash"]
ENDPOINTS = {"chat": "chat", "respond": "responses"}
SPECIAL_CELLS = [
    "a,b", 'say "hi"', '""', "two\nlines", "return\r", "both\r\nends", " blanks ", "\ttab", "", "#no comment", "=1+1",
    "@SUM(A1)", "-2", "'x", "\\", "NULL", "\ufeffmark", "\u05d0\u202eright to left", "名字 é 🙂", "\u2028", "\x85\x1c",
    "x" * 9000, "{row}", "{{a}}",
]  # fmt: skip
Run = Callable[..., int]


@pytest.fixture
def run(server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a command over rows in a file, one row at a time."""
    for name, value in {"BASE_URL": server.url, "RETRIES": "0", "QUIET": "on"}.items():
        monkeypatch.setenv(f"AIML_{name}", value)

    def run(row_format: str, rows: str | bytes, *arguments: str, command: str = "chat") -> int:
        (tmp_path / "rows").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        return main([command, "--each", row_format, "-f", "rows", "--format", "csv", "-j", "1", *arguments])

    return run


def parse_csv(text: str | bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text if isinstance(text, str) else text.decode(), newline="")))


def parse_records(text: str | bytes) -> list[dict[str, str]]:
    header, *records = parse_csv(text)
    return [dict(zip(header, record, strict=True)) for record in records]


def drop_hash_column(text: str) -> list[list[str]]:
    return [record[:-1] for record in parse_csv(text)]


@pytest.mark.parametrize("command", ENDPOINTS)
@pytest.mark.parametrize(
    ("row_format", "rows", "columns", "cells"),
    [
        ("line", "a\n\nb,c\n", ["row"], [["a"], ["b,c"]]),
        ("nul", "a\nb\0c\0", ["row"], [["a\nb"], ["c"]]),
        ("csv", "b,a\n1,\n", ["b", "a"], [["1", ""]]),
        ("csv", "First Name;Preis (€)\nX;1,5\n", ["First Name", "Preis (€)"], [["X", "1,5"]]),
        ("csv", 'a,\n"x\ny",""""\n', ["a", ""], [["x\ny", '"']]),
        ("jsonl", '{"b": 1.50, "a": null, "c": [1, "é"], "d": true}\n', ["b", "a", "c", "d"],
         [["1.5", "", '[1, "é"]', "true"]]),
        ("jsonl", '{"a": "x"}\n{}\n{"a": 2}\n', ["a"], [["x"], [""], ["2"]]),
        ("jsonl", '"x"\n[1]\n{"a": 1}\n', ["row"], [['"x"'], ["[1]"], ['{"a": 1}']]),
    ],
)  # fmt: skip
def test_the_columns_of_the_input_come_first_and_are_unchanged(
    run: Run, server: Loopback, capfd: pytest.CaptureFixture[str],
    command: str, row_format: str, rows: str, columns: list[str], cells: list[list[str]],
) -> None:  # fmt: skip
    queue_answers(server, stream_text(ENDPOINTS[command], "Hi, you"))
    assert run(row_format, rows, "{row}", command=command) == 0
    records = [[*row, "Hi, you", "", str(number)] for number, row in enumerate(cells, 1)]
    assert drop_hash_column(capfd.readouterr().out) == [[*columns, "text", "error", "row_number"], *records]


@pytest.mark.parametrize(
    ("header", "schema", "names"),
    [
        ("a,error", (), ["a", "error", "text", "error_2", "row_number", "row_hash"]),
        ("text,text_2,row_hash", (), ["text", "text_2", "row_hash", "text_3", "error", "row_number", "row_hash_2"]),
        ("name", ("name, error",), ["name", "name_2", "error", "error_2", "row_number", "row_hash"]),
    ],
)
def test_a_column_whose_name_is_taken_gets_a_number(
    run: Run, server: Loopback, capfd: pytest.CaptureFixture[str],
    header: str, schema: tuple[str, ...], names: list[str],
) -> None:  # fmt: skip
    queue_answers(server, stream_text("chat", '{"name": "N", "error": "E"}'))
    assert run("csv", f"{header}\n{header}\n", *(f"--schema={one}" for one in schema), "hi") == 0
    head, record = parse_csv(capfd.readouterr().out)
    assert (head, record[: header.count(",") + 1]) == (names, header.split(","))


@pytest.mark.parametrize("command", ENDPOINTS)
def test_a_schema_gives_a_column_for_each_field_in_its_order(
    run: Run, server: Loopback, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    properties: dict[str, Any] = {
        name: {} for name in ("zeta", "n", "nested", "list", "none", "flag", "text", "missing")
    }
    answer = {"n": 1.5, "list": ["a", 1], "flag": False, "zeta": "z,\n", "nested": {"é": None}, "none": None,
              "text": "", "more": 1}  # fmt: skip
    queue_answers(server, stream_text(ENDPOINTS[command], json.dumps(answer)))
    assert (
        run("line", "x\n", "--schema", json.dumps({"type": "object", "properties": properties}), command=command) == 0
    )
    head, record = parse_csv(capfd.readouterr().out)
    assert head == ["row", *properties, *LAST_COLUMNS]
    assert record[:-1] == ["x", "z,\n", "1.5", '{"é": null}', '["a", 1]', "", "false", "", "", "", "1"]


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (None, ()),
        ({"type": "array", "items": {"properties": {"a": {}}}}, ()),
        ({"properties": {"b": {}, "a": {}}}, ("b", "a")),
        ({"$ref": "#/$defs/X", "$defs": {"X": {"properties": {"a": {}}}}}, ("a",)),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"$ref": "#/$defs/c"}, "c": {"properties": {"x": {}}}}}, ("x",)),
        ({"$ref": "#"}, ()),
        ({"$ref": "#/none/here"}, ()),
        ({"properties": []}, ()),
    ],
)
def test_fields_are_the_top_level_properties_of_a_schema(schema: Any, fields: tuple[str, ...]) -> None:
    assert list_fields(schema) == fields


@pytest.mark.parametrize("extra", [(), ("--schema", "name")])
def test_a_failed_row_keeps_its_input_and_says_why(
    run: Run, server: Loopback, capfd: pytest.CaptureFixture[str], extra: tuple[str, ...]
) -> None:
    queue_answers(server, REJECTED_ROW, CUT_STREAM, stream_text("chat", "no JSON" if extra else ""))
    rows = f"a,b\n1,2\n3,4\nshort\n{SECRET},x\n5,6\n"
    assert run("csv", rows, *extra, "{a}") == 10
    records = parse_records(capfd.readouterr().out)
    assert [record["a"][:5] for record in records] == ["1", "3", "short", SECRET[:5], "5"]
    words = ['bad, "words"\nhere', "connection was cut", "cells, but the header has", "not sent: "]
    errors = [record["error"] for record in records]
    assert [word in error for word, error in zip(words, errors, strict=False)] == [True] * 4, errors
    assert [bool(record["row_hash"]) for record in records] == [True, True, False, False, True]
    assert bool(records[4]["error"]) == bool(extra)


def test_members_missing_from_the_first_row_are_reported_once_per_kind(
    run: Run, server: Loopback, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIML_QUIET", "off")
    queue_answers(server, stream_text("chat", "Hi"))
    rows = 'broken\n{"a": 1}\n"text"\n{"c": 3, "b": 2, "a": 1}\n{"d": 4}\n5\n'
    assert run("jsonl", rows, "{row}") == 10
    out, err = capfd.readouterr()
    assert [record[0] for record in parse_csv(out)] == ["a", "", "1", "", "1", "", ""]
    assert err.count("a CSV file has only the columns of the first row") == 2
    assert "row 3 is not a JSON object" in err
    assert "row 4 has properties that the first row does not have (c, b)" in err


def test_every_shard_has_the_same_header(run: Run, server: Loopback, capfd: pytest.CaptureFixture[str]) -> None:
    queue_answers(server, stream_text("chat", "Hi"))
    headers, rows = [], '{"b": 1, "a": 2}\n{"a": 1, "b": 2}\n'
    for shard in ("1/3", "2/3", "3/3"):
        assert run("jsonl", rows, "--shard", shard) == 0
        headers.append(parse_csv(capfd.readouterr().out)[0])
    assert headers == [["b", "a", "text", *LAST_COLUMNS]] * 3


@pytest.mark.parametrize(
    ("row_format", "rows", "first"), [("line", "\n", "row"), ("csv", "a,b\n", "a,b"), ("jsonl", "", "row")]
)
def test_an_input_without_rows_gives_only_the_header(
    run: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path, row_format: str, rows: str, first: str
) -> None:
    header = f"{first},text,{','.join(LAST_COLUMNS)}\n"
    assert (run(row_format, rows), capfd.readouterr().out) == (0, header)
    assert run(row_format, rows, "-o", "out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == header


@pytest.mark.promise("csv")
def test_cells_with_any_characters_can_be_read_back(run: Run, server: Loopback, tmp_path: Path) -> None:
    queue_answers(server, *(stream_text("chat", text + "\0") for text in SPECIAL_CELLS))
    rows = "".join(json.dumps({"cell": text + "\0", "=name, \n": text}) + "\n" for text in SPECIAL_CELLS)
    assert run("jsonl", rows, "-o", "out.csv", "--allow-secrets", "x") == 0
    data = (tmp_path / "out.csv").read_bytes()
    records = parse_csv(data)
    assert records[0] == ["cell", "=name, \n", "text", *LAST_COLUMNS]
    assert [record[:3] for record in records[1:]] == [[text + "\0", text, text + "\0"] for text in SPECIAL_CELLS]
    assert b"\r\n" not in data.replace(b"both\r\nends", b"")


def test_a_lone_surrogate_is_replaced_and_no_file_begins_with_a_byte_order_mark(
    run: Run, server: Loopback, tmp_path: Path
) -> None:
    queue_answers(server, json_response(json.loads('{"choices": [{"message": {"content": "\\ud800"}}]}')))
    assert run("jsonl", '{"\\ufeffa": "\\udfff"}\n', "-o", "out.csv", "-S", "x") == 0
    data = (tmp_path / "out.csv").read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert parse_csv(data)[1][:2] == ["?", "\ufffd"]


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\r\n\0;\t =#\ufeff'))


@pytest.mark.promise("csv")
@given(st.lists(st.lists(cells, min_size=2, max_size=4), min_size=1, max_size=5))
def test_any_cells_can_be_parsed_back(records: list[list[str]]) -> None:
    assert parse_csv(b"".join(map(encode_record, records))) == records


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5))
def test_duckdb_reads_any_cells_back(tmp_path_factory: pytest.TempPathFactory, records: list[list[str]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path_factory.mktemp("csv") / "cells.csv"
    path.write_bytes(b"".join(map(encode_record, (["a", "b", "c"], *records))))
    found = duckdb.read_csv(str(path), header=True, all_varchar=True).fetchall()
    assert [[cell or "" for cell in row] for row in found] == records


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "csv"], "--format csv only works with --each"),
        (["--format", "csv", "--chunk", "9", "-f", "rows"], "--format csv only works with --each"),
        (["--format", "csv", "-m", "a", "-m", "b"], "--format csv only works with --each"),
        (["--each", "line", "-f", "rows", "--format", "csv", "--json"], "--format csv cannot be used with --json"),
        (["--each", "line", "-f", "rows", "--format", "csv", "-n", "2"], "--format csv cannot be used with --n"),
    ],
)
def test_options_that_do_not_fit_csv_are_refused(
    server: Loopback, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "rows").write_text("a\n")
    assert main(["chat", "hi", *arguments]) == 2
    assert (words in capfd.readouterr().err, server.requests) == (True, [])


def test_a_csv_format_in_the_settings_applies_only_to_rows(
    run: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIML_FORMAT", "csv")
    queue_answers(server, stream_text("chat", "a,b"))
    assert (main(["chat", "hi"]), capfd.readouterr().out) == (0, "a,b\n")


def test_a_terminal_gets_no_control_sequences(server: Loopback, run: Run, tmp_path: Path) -> None:
    queue_answers(server, stream_text("chat", HOSTILE_TEXT))
    (tmp_path / "rows").write_text("a\n")
    data, code, _ = run_on_pty(server, "chat", "--each", "line", "-f", "rows", "--format", "csv")
    assert code == 0
    assert b"\\x1b]52" in data
    assert not any(mark in data for mark in (b"\x1b]52", b"\x1b[2J", b"\x08", "\u202e".encode()))


def list_prompts(server: Loopback) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


def test_the_same_command_sends_rows_that_failed_or_are_missing(run: Run, server: Loopback, tmp_path: Path) -> None:
    queue_answers(server, stream_text("chat", 'a "1",\n'), REJECTED_ROW, stream_text("chat", "Hi"))
    rows, out = "a\nb\nc\n", tmp_path / "out.csv"
    assert run("line", rows, "--resume-from", "out.csv") == 10
    assert run("line", rows + "d\n", "--resume-from", "out.csv") == 0
    assert run("line", rows + "d\n", "--resume-from", "out.csv") == 0
    assert list_prompts(server) == ["a", "b", "c", "b", "d"]
    records = parse_records(out.read_bytes())
    assert [(record["row"], record["row_number"], bool(record["error"])) for record in records] == [
        ("a", "1", False), ("b", "2", True), ("c", "3", False), ("b", "2", False), ("d", "4", False),
    ]  # fmt: skip
    assert records[0]["text"] == 'a "1",\n'


def test_a_partial_file_can_be_resumed(run: Run, server: Loopback, tmp_path: Path) -> None:
    no_key = build_json_error("who are you", "401 Unauthorized")
    queue_answers(server, stream_text("chat", "Hi"), no_key, stream_text("chat", "Hi"))
    assert run("line", "a\nb\nc\n", "-o", "out.csv") == 3
    assert run("line", "a\nb\nc\n", "--resume-from", "out.csv.part") == 0
    assert list_prompts(server) == ["a", "b", "b", "c"]
    assert len(parse_csv((tmp_path / "out.csv.part").read_bytes())) == 5


@pytest.mark.parametrize("incomplete_record", [b"b,", b'b,"two\n', b'b,"two\nlines",,2,00', b'b,"x"'])
def test_an_incomplete_last_record_is_removed(
    run: Run, server: Loopback, tmp_path: Path, incomplete_record: bytes
) -> None:
    queue_answers(server, stream_text("chat", "one\ntwo"))
    out = tmp_path / "out.csv"
    assert run("line", "a\n", "--resume-from", "out.csv") == 0
    out.write_bytes(out.read_bytes() + incomplete_record)
    assert run("line", "a\nb\n", "--resume-from", "out.csv") == 0
    assert [record["row"] for record in parse_records(out.read_bytes())] == ["a", "b"]


def test_a_file_saved_by_a_spreadsheet_can_be_resumed(run: Run, server: Loopback, tmp_path: Path) -> None:
    queue_answers(server, stream_text("chat", "Hi"))
    out = tmp_path / "out.csv"
    assert run("line", "a\n", "--resume-from", "out.csv") == 0
    out.write_bytes(b"\xef\xbb\xbf" + out.read_bytes().replace(b"\n", b"\r\n"))
    assert run("line", "a\nb\n", "--resume-from", "out.csv") == 0
    assert list_prompts(server) == ["a", "b"]


@pytest.mark.promise("failed-rows")
@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b"a,b\n1,2\n", (), "out, line 1: not a result of --each"),
        (b"no newline", (), "out, line 1: not a result of --each"),
        (b'{"row": 1, "hash": null, "error": null}\n', (), "out, line 1: not a result of --each"),
        (b"row,text,error,row_number,row_hash\na,b\n", (), "out, line 2: not a result of --each"),
        (b"row,text,error,row_number,row_hash\na,b,,x,\n", (), "out, line 2: not a result of --each"),
        (b"other,text,error,row_number,row_hash\n", (), "its columns are other, text, error, row_number, row_hash"),
        (b"row,text,error,row_number,row_hash\n", ("--schema", "n"), "those of this run are row, n, error"),
        (b"row,text,error,row_number,row_hash\n", ("--format", "jsonl"), "for results in CSV add --format csv"),
        (b"row,text", ("--format", "jsonl"), "for results in CSV add --format csv"),
        (b"x", ("--format", "jsonl"), "not a result of --each"),
    ],
)
def test_a_file_with_other_content_is_refused_and_not_changed(
    run: Run, server: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    content: bytes, arguments: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    (tmp_path / "out").write_bytes(content)
    assert run("line", "a\n", "--resume-from", "out", *arguments) == 2
    assert words in capfd.readouterr().err
    assert ((tmp_path / "out").read_bytes(), server.requests) == (content, [])


@given(st.lists(st.tuples(cells, st.sampled_from(["", "no"])), max_size=6))
def test_any_record_is_found_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "out.csv"
    lines = [[cell, error, str(number), f"{number:024x}"] for number, (cell, error) in enumerate(records, 1)]
    path.write_bytes(b"".join(map(encode_record, (["a", *LAST_COLUMNS], *lines))))
    file = CsvResumeFile(str(path), is_read_only=True)
    found = [file.has(number, f"{number:024x}") for number in range(1, len(records) + 1)]
    assert found == [not error for _, error in records]


def test_a_row_whose_connection_was_reset_is_sent_again(run: Run, server: Loopback, tmp_path: Path) -> None:
    server.answer_with(RESET)
    queue_answers(server, stream_text("chat", "Hi"))
    assert run("line", "a\nb\n", "--resume-from", "out.csv") == 10
    assert run("line", "a\nb\n", "--resume-from", "out.csv") == 0
    assert list_prompts(server) == ["a", "b", "a"]
