"""A run that ended in any way can be resumed, and each row is sent once."""

import json
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forked_process import CliProcess, run_process
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import Aiml, build_command

from aiml_cli.batch.resume_file import NumberSet, ResultTable, ResumeFile

REJECTED_REQUEST = json_response({"error": {"message": "bad words"}}, "400 Bad Request")
RESUME_ARGUMENTS = ["chat", "--each", "line", "--resume-from", "out.jsonl", "-j", "1"]


HASH = "00ff" * 6


@pytest.fixture
def result_file(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def read_results(result_file: Path) -> list[Any]:
    return [json.loads(line) for line in result_file.read_text().splitlines()]


def list_prompts(server: Loopback) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


def test_finished_rows_are_skipped_and_failed_rows_are_sent_again(
    aiml: Aiml, server: Loopback, result_file: Path
) -> None:
    server.answer_with(HELLO)
    server.answer_with(REJECTED_REQUEST)
    server.answer_with(HELLO)
    first = aiml(*RESUME_ARGUMENTS, stdin=b"a\nb\n")
    second = aiml(*RESUME_ARGUMENTS, stdin=b"a\nb\nc\n")
    assert (first.returncode, second.returncode, first.stdout, second.stdout) == (10, 0, b"", b"")
    assert list_prompts(server) == ["a", "b", "b", "c"]
    assert [(found["row"], found["error"] is None) for found in read_results(result_file)] == [
        (1, True), (2, False), (2, True), (3, True),
    ]  # fmt: skip
    assert b"3 rows: 2 succeeded, 0 failed, 1 skipped" in second.stderr


def test_a_row_with_another_request_counts_as_a_new_row(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml(*RESUME_ARGUMENTS, stdin=b"a\n")
    aiml(*RESUME_ARGUMENTS, "--temperature", "1", stdin=b"a\n")
    assert list_prompts(server) == ["a", "a"]


def test_rows_may_change_their_positions_between_runs(aiml: Aiml, server: Loopback) -> None:
    server.answer_with(HELLO)
    aiml(*RESUME_ARGUMENTS, stdin=b"a\nb\nc\n")
    aiml(*RESUME_ARGUMENTS, stdin=b"new\na\nb\nc\n")
    aiml(*RESUME_ARGUMENTS, stdin=b"b\nc\n")
    assert list_prompts(server) == ["a", "b", "c", "new"]


def test_a_row_that_appears_twice_is_sent_twice(aiml: Aiml, server: Loopback, result_file: Path) -> None:
    server.answer_with(HELLO)
    aiml(*RESUME_ARGUMENTS, "--shard", "2/2", stdin=b"a\na\n")
    aiml(*RESUME_ARGUMENTS, stdin=b"a\na\n")
    assert sorted(found["row"] for found in read_results(result_file)) == [1, 2]


@pytest.mark.parametrize("incomplete_line", [b'{"row": 2, "ha', b"\xff", b"{}"])
def test_an_incomplete_last_line_is_removed(
    aiml: Aiml, server: Loopback, result_file: Path, incomplete_line: bytes
) -> None:
    server.answer_with(HELLO)
    aiml(*RESUME_ARGUMENTS, stdin=b"a\n")
    result_file.write_bytes(result_file.read_bytes() + incomplete_line)
    assert aiml(*RESUME_ARGUMENTS, stdin=b"a\nb\n").returncode == 0
    assert [found["row"] for found in read_results(result_file)] == [1, 2]


@pytest.mark.parametrize("text", ["a\nb\n", "{}\n", "[1]\n"])
def test_a_file_with_other_content_is_refused_and_not_changed(
    aiml: Aiml, server: Loopback, result_file: Path, text: str
) -> None:
    result_file.write_text(text)
    ended = aiml(*RESUME_ARGUMENTS, stdin=b"a\n")
    assert (ended.returncode, result_file.read_text(), server.requests) == (2, text, [])
    assert b"line 1: not a result of --each" in ended.stderr


def test_two_runs_do_not_share_a_file(aiml: Aiml, server: Loopback, result_file: Path) -> None:
    import fcntl

    with result_file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        ended = aiml(*RESUME_ARGUMENTS, stdin=b"a\n")
    assert (ended.returncode, server.requests) == (2, [])
    assert b"another run" in ended.stderr


def test_each_row_is_in_the_file_once_after_several_kills(
    server: Loopback, aiml: Aiml, result_file: Path, tmp_path: Path
) -> None:
    rows = [f"row {number // 2}" for number in range(200)]  # each appears twice
    (tmp_path / "rows").write_text("\n".join(rows))
    arguments = ["chat", "--each", "line", "-j", "4", "-f", "rows", "--resume-from", "out.jsonl", "-q"]
    arguments += ["--base-url", server.url]
    server.answer_with(HELLO)
    for wanted in (20, 60, 110, 150):
        with CliProcess(build_command(*arguments)) as process:
            while not (result_file.exists() and result_file.read_bytes().count(b"\n") > wanted):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
                    break
            process.kill()
    sent, written = len(server.requests), result_file.read_bytes().count(b"\n")
    assert run_process(build_command(*arguments), check=False).returncode == 0
    assert Counter(found["row"] for found in read_results(result_file)) == Counter(range(1, 201))
    assert len(server.requests) - sent <= 200 - written + 4  # the server may read 4 of the killed run only now


def test_a_result_counts_only_for_its_own_row_if_two_rows_are_equal(result_file: Path) -> None:
    result_file.write_text(f'{{"row": 61, "hash": "{HASH}", "error": null}}\n')
    done = ResumeFile("out.jsonl")
    assert (done.has(62, HASH), done.has(61, HASH)) == (False, True)


RESULT_LINE = '{"row": 7, "hash": "%s", "input": "a", "error": %s, "seconds": %s}\n'


@pytest.mark.parametrize(
    ("line", "is_done"),
    [
        (RESULT_LINE % (HASH, "null", "0.5"), True),
        (RESULT_LINE % (HASH, "null", "null"), True),
        (RESULT_LINE % (HASH, "null", "1e-05"), True),
        (RESULT_LINE % (HASH, '{"message": "x"}', "0.5"), False),
        (RESULT_LINE.replace('"a"', r'"\"error\": null, \"seconds\": 1}"') % (HASH, '"x"', "0.5"), False),
        (RESULT_LINE.replace('"a"', '{"error": null, "seconds": 1}') % (HASH, '"x"', "0.5"), False),
        (f'{{"hash": "{HASH}", "error": null, "row": 7}}\n', True),
        (f'{{ "row":7,"hash":"{HASH.upper()}","error":null }}\n', True),
        (RESULT_LINE % ("h", "null", "0.5"), False),
        (RESULT_LINE % (HASH + "00", "null", "0.5"), False),
        (f'{{"row": {10**20}, "hash": "{HASH}", "error": null}}\n', False),
        (f'{{"row": -1, "hash": "{HASH}", "error": null}}\n', False),
        (f'{{"row": true, "hash": "{HASH}", "error": null}}\n', False),
    ],
)
def test_a_result_counts_only_if_it_has_no_error(line: str, is_done: bool, result_file: Path) -> None:
    result_file.write_text(line)
    assert ResumeFile("out.jsonl").has(7, HASH) is is_done


NUMBERS = st.integers(0, 70_000) | st.integers(0, 2**47)


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=12, max_size=12) | st.sampled_from([b"\0" * 12, b"\0\0\0" * 4, b"ab" * 6]), NUMBERS
        )
    )
)
def test_a_result_table_behaves_like_a_dictionary_of_lists(results: list[tuple[bytes, int]]) -> None:
    table, expected = ResultTable(), dict[bytes, list[int]]()
    for digest, number in results:
        table.add(digest, number)
        expected.setdefault(digest, []).append(number)
    assert {digest: table.find(digest) for digest in expected} == expected
    for digest, number in results:
        table.remove(digest, number)
        expected[digest].remove(number)
        assert table.find(digest) == expected[digest]


@given(st.sets(NUMBERS), st.sets(NUMBERS))
def test_a_number_set_contains_exactly_what_was_added(added: set[int], others: set[int]) -> None:
    numbers = NumberSet()
    for number in added:
        numbers.add(number)
    assert {number for number in added | others if number in numbers} == added


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_file_cannot_be_both_input_and_output(aiml: Aiml, server: Loopback, result_file: Path, is_kept: bool) -> None:
    server.answer_with(HELLO)
    assert aiml(*RESUME_ARGUMENTS, stdin=b"a\n").returncode == 0
    before, arguments = result_file.read_bytes(), ["chat", "--each", "jsonl", "-f", "out.jsonl"]
    more = ["--resume-from", "out.jsonl"] if is_kept else ["--base-url", server.url]
    with result_file.open("ab") as file:
        ended = run_process(build_command(*arguments, *more), stdout=file, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, result_file.read_bytes(), len(server.requests)) == (2, before, 1)
    assert b"rows cannot be read from the file that the results are written to" in ended.stderr


def test_a_full_disk_leaves_only_whole_lines(server: Loopback, result_file: Path) -> None:
    server.answer_with(HELLO)
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); "
    script = f"{limit}import sys; from aiml_cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [*build_command()[:1], "-c", script, *RESUME_ARGUMENTS, "--no-log", "--base-url", server.url],
        input=b"a\n" * 20, capture_output=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, b"out.jsonl: File too large" in ended.stderr) == (1, True)
    assert result_file.read_bytes().endswith(b"\n")
    assert 0 < len(read_results(result_file)) < 20
