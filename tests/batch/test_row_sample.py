"""`--sample N` sends N rows, chosen at random but the same ones each time."""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from support.loopback import HELLO, HELLO_RESPONSE, Loopback

from aiml_cli.__main__ import main
from aiml_cli.batch.rows import RowInput, SampledRows

SendRows = Callable[..., list[Any]]


@pytest.fixture(params=["chat", "respond"])
def send_rows(
    request: pytest.FixtureRequest,
    server: Loopback,
    empty_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> SendRows:
    """Return a function that sends some of 200 rows, and returns their results."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    server.answer_with({"chat": HELLO, "respond": HELLO_RESPONSE}[request.param])
    (empty_home / "rows").write_text("".join(f"row {number}\n\n" for number in range(1, 201)))

    def run(*arguments: str, row_format: str = "line", file: str = "rows", code: int = 0) -> list[Any]:
        assert main([request.param, "--each", row_format, "-f", file, "-j", "1", *arguments]) == code
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    return run


def choose_rows(path: Path, size: int, row_format: str = "line") -> list[int]:
    with path.open("rb") as file:
        return [row.number for row in SampledRows(row_format, RowInput("rows", file.fileno(), print), print, size=size)]


def test_n_rows_are_sent_in_order_with_their_row_numbers(send_rows: SendRows, server: Loopback) -> None:
    results = send_rows("--sample", "7")
    numbers = [result["row"] for result in results]
    assert (len(set(numbers)), numbers, len(server.requests)) == (7, sorted(numbers), 7)
    assert [result["input"] for result in results] == [f"row {number}" for number in numbers]
    assert numbers != list(range(1, 8))


@pytest.mark.parametrize("size", ["200", "201", "99999999999999999999"])
def test_a_sample_of_all_rows_is_all_rows(send_rows: SendRows, size: str) -> None:
    assert [result["row"] for result in send_rows("--sample", size)] == list(range(1, 201))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--each", "line", "--sample", "0"], "at least 1"),
        (["--each", "line", "--sample", "-3"], "at least 1"),
        (["--each", "line", "--sample", "2.5"], "whole number"),
        (["--each", "line", "--sample", "ten"], "whole number"),
        (["--sample", "3"], "--sample only works with --each"),
        (["--chunk", "100", "--sample", "3"], "--sample only works with --each"),
    ],
)
def test_an_invalid_sample_is_a_usage_error(
    arguments: Sequence[str], words: str, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_home / "rows").write_text("a\n")
    assert main(["chat", "-f", "rows", *arguments, "hi"]) == 2
    assert words in capfd.readouterr().err


def test_an_empty_input_has_an_empty_sample(send_rows: SendRows, server: Loopback, empty_home: Path) -> None:
    (empty_home / "empty").write_text("\n\n")
    assert (send_rows("--sample", "3", file="empty"), server.requests) == ([], [])


def test_the_same_rows_are_chosen_each_time_and_a_larger_sample_includes_them(
    send_rows: SendRows, server: Loopback
) -> None:
    first = {result["row"] for result in send_rows("--sample", "5")}
    again = {result["row"] for result in send_rows("--sample", "5")}
    larger = {result["row"] for result in send_rows("--sample", "9")}
    assert (first == again, first < larger) == (True, True)


def test_a_run_can_be_resumed_with_a_larger_sample(send_rows: SendRows, server: Loopback) -> None:
    counts = []
    for arguments in (["--sample", "5"], ["--sample", "5"], ["--sample", "12"], []):
        before = len(server.requests)
        send_rows("--resume-from", "out.jsonl", *arguments)
        counts.append(len(server.requests) - before)
    assert counts == [5, 0, 7, 188]


def test_shards_divide_the_rows_of_one_sample(send_rows: SendRows) -> None:
    whole = [result["row"] for result in send_rows("--sample", "20")]
    shards = [[result["row"] for result in send_rows("--sample", "20", "--shard", f"{index}/3")] for index in (1, 2, 3)]
    assert (sorted(chain(*shards)), len(shards[0]) < 20) == (whole, True)


def test_multiline_records_and_broken_rows_are_chosen_like_all_others(send_rows: SendRows, empty_home: Path) -> None:
    (empty_home / "table").write_text("a,b\n" + "".join(f'"{n}\n",{n}\n' if n % 2 else f"{n}\n" for n in range(1, 41)))
    results = send_rows("--sample", "10", "{b}", row_format="csv", file="table", code=10)
    assert [result["row"] for result in results] == choose_rows(empty_home / "table", 10, "csv")
    assert {bool(result["error"]) for result in results} == {True, False}
    assert all(bool(result["error"]) == (result["row"] % 2 == 0) for result in results)


@pytest.mark.parametrize("command", ["chat", "respond"])
def test_estimates_and_dry_runs_use_the_sample(
    command: str, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (empty_home / "rows").write_text("".join(f"row {number}\n" for number in range(1, 201)))
    sampled = [command, "--each", "line", "-f", "rows", "--sample", "6"]
    assert main([*sampled, "--dry-run"]) == 0
    assert f'"row {choose_rows(empty_home / "rows", 6)[0]}"' in capfd.readouterr().out
    assert main([*sampled, "--estimate", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == 6


def test_each_row_is_equally_likely_to_be_chosen(empty_home: Path) -> None:
    path, total = empty_home / "many", 20_000
    path.write_text("x\n" * total)
    numbers = choose_rows(path, 2_000)
    assert len(set(numbers)) == 2_000
    tenths = [sum(start < number <= start + 2_000 for number in numbers) for start in range(0, total, 2_000)]
    odd = sum(number % 2 for number in numbers)
    assert (min(tenths) > 150, max(tenths) < 250, 900 < odd < 1_100) == (True, True, True)
