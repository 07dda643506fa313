"""`--chunk` sends each piece of a long input, and --reduce combines the answers into one."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import build_answer_with_cost, stream_text
from support.catalogs import PRICES, store_catalog
from support.forked_process import CliProcess
from support.loopback import SILENCE, STREAM, Loopback, chunk, delta, json_response, stream
from support.run_cli import Aiml, build_command

from aiml_cli.catalog.pricing import estimate_tokens
from aiml_cli.core.context_window import split_text

pytestmark = pytest.mark.in_process

THREE_PARAGRAPHS = b"one\n\ntwo\n\nsix\n\n"  # each paragraph is a piece of two tokens
CHUNK_ARGUMENTS = ("-j", "1", "--chunk", "2", "what?")
FAILED_RESPONSE = (
    b'HTTP/1.1 400 x\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n{"error":{"message":"too long"}}'
)


def list_prompts(server: Loopback) -> list[str]:
    return [request.json["messages"][-1]["content"] for request in server.requests]


@pytest.fixture
def server_with_three_answers(server: Loopback) -> Loopback:
    for text in ("A", "B\n", "C"):
        server.answer_with(stream_text("chat", text))
    return server


def test_each_chunk_is_sent_and_the_answers_are_printed_in_order(
    server_with_three_answers: Loopback, aiml: Aiml
) -> None:
    result = aiml("chat", *CHUNK_ARGUMENTS, stdin=THREE_PARAGRAPHS)
    assert (result.returncode, result.stdout) == (0, b"A\n\nB\n\nC\n")
    assert result.stderr == b"aiml: sends 3 chunks of about 2 tokens\n"
    assert list_prompts(server_with_three_answers) == [
        f'<file name="standard input, chunk {n} of 3">\n{text}\n\n</file>\n\nwhat?'
        for n, text in enumerate(["one", "two", "six"], 1)
    ]


def test_parallel_requests_keep_the_order(aiml: Aiml) -> None:
    lines = "".join(f"{number:05}\n" for number in range(400)).encode()
    result = aiml("chat", "--demo", "-q", "-j", "8", "--chunk", "40", "what?", stdin=lines)
    found = [int(number) for number in re.findall(r"chunk (\d+) of 20", result.stdout.decode())]
    assert (result.returncode, found) == (0, list(range(1, 21)))


def test_files_are_split_separately(server_with_three_answers: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "b").write_text("two\n\nsix\n")
    assert aiml("chat", "-f", "a", *CHUNK_ARGUMENTS, "@b").returncode == 0
    names = re.findall('name="(.*)"', "\n".join(list_prompts(server_with_three_answers)))
    assert names == ["a, chunk 1 of 1", "b, chunk 1 of 2", "b, chunk 2 of 2"]


def test_reduce_combines_the_answers_into_one(server_with_three_answers: Loopback, aiml: Aiml) -> None:
    server_with_three_answers.answer_with(stream_text("chat", "All."))
    result = aiml("chat", *CHUNK_ARGUMENTS, "--reduce", "join them", "-s", "be short", stdin=THREE_PARAGRAPHS)
    assert (result.returncode, result.stdout) == (0, b"All.\n")
    assert list_prompts(server_with_three_answers)[-1] == (
        '<answer name="chunk 1 of 3">\nA\n</answer>\n\n<answer name="chunk 2 of 3">\nB\n</answer>\n\n'
        '<answer name="chunk 3 of 3">\nC\n</answer>\n\njoin them'
    )
    assert {request.json["messages"][0]["content"] for request in server_with_three_answers.requests} == {"be short"}


def test_options_of_the_answer_apply_only_to_the_last_request(server_with_three_answers: Loopback, aiml: Aiml) -> None:
    server_with_three_answers.answer_with(stream_text("chat", "Here:\n```\ncode\n```\n"))
    result = aiml("chat", *CHUNK_ARGUMENTS, "--reduce", "join them", "-x", "-n", "1", "-o", "f", stdin=THREE_PARAGRAPHS)
    assert (result.returncode, Path("f").read_text()) == (0, "code\n")
    assert ["n" in request.json for request in server_with_three_answers.requests] == [False, False, False, True]


def test_json_is_an_array_of_the_documented_objects(server_with_three_answers: Loopback, aiml: Aiml) -> None:
    found = json.loads(aiml("chat", *CHUNK_ARGUMENTS, "--json", stdin=THREE_PARAGRAPHS).stdout)
    assert [(each["text"], each["complete"]) for each in found] == [("A", True), ("B\n", True), ("C", True)]
    server_with_three_answers.answer_with(stream_text("chat", "All."))
    assert isinstance(
        json.loads(aiml("chat", *CHUNK_ARGUMENTS, "--json", "--reduce", "join", stdin=THREE_PARAGRAPHS).stdout), dict
    )


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize(
    ("second_response", "stdout", "code", "message"),
    [
        (
            stream_text("chat", "hal", "length"),
            b"A\n\nhal\n",
            8,
            b"was cut off at the token limit\nhint: raise the limit with",
        ),
        (stream(delta("hal"), end=b""), b"A\n\nhal\n", 8, b"\nhint: try again"),
        (FAILED_RESPONSE, b"A\n", 4, b"too long"),
    ],
    ids=["length", "cut", "refused"],
)
def test_a_failed_chunk_stops_the_call_and_lists_what_was_not_sent(
    second_response: bytes, stdout: bytes, code: int, message: bytes, server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    server.answer_with(stream_text("chat", "A"))
    server.answer_with(second_response)
    result = aiml("chat", *CHUNK_ARGUMENTS, stdin=THREE_PARAGRAPHS)
    assert (result.returncode, result.stdout, len(server.requests)) == (code, stdout, 2)
    chunk_error = result.stderr.partition(b"\naiml: chunk 2 of 3: ")[2]
    assert (message in chunk_error, b"-c asks for the rest" in chunk_error) == (True, False)
    assert b"aiml: not sent: chunk 3 of 3\n" in result.stderr


def test_an_incomplete_chunk_prevents_the_combined_answer(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", "A"))
    server.answer_with(stream_text("chat", "hal", "length"))
    (tmp_path / "f").write_text("old")
    result = aiml("chat", *CHUNK_ARGUMENTS, "--reduce", "join", "-o", "f", stdin=THREE_PARAGRAPHS)
    assert (result.returncode, result.stdout, len(server.requests)) == (8, b"", 2)
    assert ((tmp_path / "f").read_text(), (tmp_path / "f.part").read_text()) == ("old", "A\n\nhal\n")


@pytest.mark.promise("stored-while-arriving")
@pytest.mark.parametrize("last_responses", [[], [FAILED_RESPONSE]], ids=["a piece", "the last"])
def test_answers_to_chunks_are_kept_if_the_combined_answer_fails(
    last_responses: list[bytes], server: Loopback, aiml: Aiml
) -> None:
    for no_log in ((), ("--no-log",)):
        for reply in [
            stream_text("chat", "A"),
            *([stream_text("chat", "B"), stream_text("chat", "C")] if last_responses else []),
            FAILED_RESPONSE,
        ]:
            server.answer_with(reply)
        result = aiml("chat", *CHUNK_ARGUMENTS, "--reduce", "join", *no_log, stdin=THREE_PARAGRAPHS)
        texts = "A\n\nB\n\nC\n" if last_responses else "A\n"
        message = f", which are not in the history:\n{texts}" if no_log else " are in the history: aiml history list\n"
        assert (result.returncode, result.stdout) == (4, b"")
        assert f"aiml: the answers for the chunks{message}" in result.stderr.decode()


@pytest.mark.promise("incomplete-answers")
def test_a_file_is_replaced_only_if_all_chunks_succeed(server: Loopback, aiml: Aiml, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    server.answer_with(stream_text("chat", "A"))
    server.answer_with(FAILED_RESPONSE)
    server.answer_with(stream_text("chat", "B"))
    assert aiml("chat", *CHUNK_ARGUMENTS, "-o", "f", stdin=THREE_PARAGRAPHS).returncode == 4
    assert ((tmp_path / "f").read_text(), (tmp_path / "f.part").read_text()) == ("old", "A\n")
    assert aiml("chat", *CHUNK_ARGUMENTS, "-o", "f", stdin=THREE_PARAGRAPHS).returncode == 0
    assert (tmp_path / "f").read_text() == "B\n\nB\n\nB\n"


@pytest.mark.promise("stored-while-arriving")
def test_every_chunk_is_in_the_history(server_with_three_answers: Loopback, aiml: Aiml) -> None:
    aiml("chat", *CHUNK_ARGUMENTS, stdin=THREE_PARAGRAPHS)
    kept = aiml("history", "list", "--json").stdout.decode()
    assert sorted(re.findall(r"what\? \(chunk \d of 3\)", kept)) == [f"what? (chunk {n} of 3)" for n in (1, 2, 3)]


@pytest.mark.promise("signals")
def test_ctrl_c_keeps_the_text_so_far(server: Loopback, tmp_path: Path) -> None:
    server.answer_with(stream_text("chat", "A"))
    server.answer_with(STREAM, chunk(delta("hal")), SILENCE)
    (tmp_path / "in").write_bytes(THREE_PARAGRAPHS)
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    with CliProcess(
        build_command("chat", *CHUNK_ARGUMENTS, "-f", "in", "--debug"),
        env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as program:  # fmt: skip
        assert program.stdout
        assert program.stderr
        assert any(b'"hal"' in line for line in program.stderr)
        program.send_signal(signal.SIGINT)
        assert (program.stdout.read(), program.stderr.read()[-12:], program.wait()) == (
            b"A\n\nhal\n", b"interrupted\n", 130,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reduce", "x", "what?"], "--chunk N"),
        (["--chunk", "2", "what?", "--reduce", "@blank"], "--reduce is empty"),
        (["--chunk", "2", "what?", "--reduce", "@none"], "No such file"),
        (["--chunk", "2", "what?", "--fit", "head"], "--fit cannot be used with --chunk"),
        (["--chunk", "2"], "what should be asked"),
        (["--chunk", "2", "{stdin}?"], "each chunk is put before the prompt"),
        (["--chunk", "2", "what?", "--no-stdin"], "no input to split"),
        (["--chunk", "2", "what?", "-c"], "cannot be used with"),
        (["--chunk", "2", "what?", "--format", "raw"], "--format json gives an array"),
        (["--chunk", "2", "what?", "-f", "p.png"], "cannot be split"),
        (["--chunk", "2", "what?", "-f", "long"], "at most 1,000"),
    ],
)
def test_invalid_combinations_are_refused_before_anything_is_sent(
    flags: list[str], message: str, server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    (tmp_path / "p.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    (tmp_path / "long").write_text("one\n" * 1001)
    (tmp_path / "blank").write_text(" \n")
    result = aiml("chat", *flags, stdin=THREE_PARAGRAPHS)
    assert (result.returncode, server.connections) == (2, 0)
    assert (message in result.stderr.decode(), "aiml: sends " in result.stderr.decode()) == (True, False)


def test_a_fit_setting_from_the_environment_is_ignored(server_with_three_answers: Loopback, aiml: Aiml) -> None:
    assert aiml("chat", *CHUNK_ARGUMENTS, stdin=THREE_PARAGRAPHS, AIML_FIT="tail").stdout == b"A\n\nB\n\nC\n"


def test_a_dry_run_shows_the_first_request(server: Loopback, aiml: Aiml) -> None:
    result = aiml("chat", *CHUNK_ARGUMENTS, "--dry-run", stdin=THREE_PARAGRAPHS)
    assert (result.returncode, server.connections) == (0, 0)
    assert b"chunk 1 of 3" in result.stdout
    assert b"aiml: would send 3 chunks" in result.stderr


def test_a_dry_run_with_reduce_sends_no_schema_with_a_chunk(server: Loopback, aiml: Aiml) -> None:
    result = aiml("chat", *CHUNK_ARGUMENTS, "--reduce", "join", "--schema", "name", "--dry-run", stdin=THREE_PARAGRAPHS)
    assert (result.returncode, server.connections) == (0, 0)
    assert "response_format" not in json.loads(result.stdout)["body"]


# What a piece may cost at most, in dollars: its input alone.
COST_PER_CHUNK = 0.00031


@pytest.mark.parametrize(
    ("costs", "more", "request_count", "message"),
    [
        ((COST_PER_CHUNK, COST_PER_CHUNK, COST_PER_CHUNK), (), 3, ""),
        ((1, 0, 0), (), 1, "chunk 2 of 3: $1 is spent, and this may cost $0.00031, more than --max-cost 0.00094: "),
        (
            (COST_PER_CHUNK, COST_PER_CHUNK, COST_PER_CHUNK),
            ("--reduce", "join"),
            3,
            "$0.00093 is spent, and this may cost $0.00",
        ),
    ],
)
def test_the_actual_cost_of_each_chunk_counts_toward_max_cost(
    costs: tuple[float, ...], more: tuple[str, ...], request_count: int, message: str, server: Loopback, aiml: Aiml
) -> None:
    store_catalog(server, pricing=PRICES)
    for cost in costs:
        server.answer_with(build_answer_with_cost("A", "stop", cost))
    result = aiml("chat", "-m", "m", "--max-cost", "0.00094", *CHUNK_ARGUMENTS, *more, stdin=THREE_PARAGRAPHS)
    assert (result.returncode, len(server.requests)) == (2 if message else 0, request_count)
    assert message in result.stderr.decode()


def test_max_cost_applies_to_all_chunks_together(server: Loopback, aiml: Aiml) -> None:
    units = [
        {"name": "token", "content": "text", "measure": kind, "origin": origin, "price": 1, "per": 1}
        for kind, origin in (("input", "provided"), ("output", "generated"))
    ]
    entry = {"id": "m", "type": "chat-completion", "pricing": {"kind": "fixed", "currency": "USD", "units": units}}
    server.answer_with(json_response({"object": "list", "data": [entry]}))
    flags = ("-m", "m", "--max-tokens", "100", "--max-cost", "300")
    result = aiml("chat", *CHUNK_ARGUMENTS, *flags, stdin=THREE_PARAGRAPHS)
    assert (result.returncode, {request.request_line[:3] for request in server.requests}) == (2, {"GET"})
    assert re.search(rb"aiml: the 3 chunks may cost \$\d+ together, more than --max-cost 300\n", result.stderr)


TEXTS = st.text(st.sampled_from("ab \n.ä語😀"), max_size=300)


@given(TEXTS, st.integers(1, 50))
def test_chunks_join_to_the_whole_text_and_none_exceeds_the_limit(text: str, tokens: int) -> None:
    pieces = list(split_text(text, tokens))
    assert "".join(pieces) == text
    assert all(estimate_tokens(piece) <= tokens or len(piece) == 1 for piece in pieces)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("aaa bbb.\n\nccc\nddd\n", ["aaa bbb.\n\n", "ccc\nddd\n"]),
        ("aaaaaaaa\nbbbb\ncccc", ["aaaaaaaa\n", "bbbb\ncccc"]),
        ("aaaa bbb. cccc dd", ["aaaa bbb. ", "cccc dd"]),
        ("a" * 20, ["a" * 12, "a" * 8]),
    ],
)
def test_a_chunk_ends_at_the_best_break_in_its_second_half(text: str, pieces: list[str]) -> None:
    assert list(split_text(text, 4)) == pieces
