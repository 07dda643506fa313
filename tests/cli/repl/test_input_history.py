"""What was typed in the REPL is kept for this user alone."""

import json
import os
from multiprocessing import get_context
from pathlib import Path

import pytest

from aiml_cli.cli.repl.input_history import MAX_BYTES, InputHistory
from aiml_cli.store import paths


def get_input_history_path() -> Path:
    return paths.require_path(paths.input_history_file())


def load_lines() -> list[str]:
    return list(InputHistory().load_history_strings())


def add_many_lines(name: str) -> None:
    for number in range(20):
        InputHistory().store_string(f"{name} {number} " + "x" * 5000)


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("mask", [0, 0o777])
def test_the_file_is_private_whatever_the_umask(mask: int) -> None:
    before = os.umask(mask)
    try:
        InputHistory().store_string("secret")
    finally:
        os.umask(before)
    assert (
        get_input_history_path().stat().st_mode & 0o777,
        get_input_history_path().parent.stat().st_mode & 0o777,
    ) == (0o600, 0o700)


@pytest.mark.promise("atomic-writes")
def test_concurrent_writers_do_not_mix_their_lines() -> None:
    workers = [get_context("spawn").Process(target=add_many_lines, args=(name,)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len([json.loads(line) for line in get_input_history_path().read_text().splitlines()]) == 40


def test_damaged_lines_are_skipped_and_do_not_affect_others() -> None:
    InputHistory().store_string("first")
    with get_input_history_path().open("ab") as file:
        file.write(b'\xff\n{"a": 1}\n' + b"[" * 5000 + b'\n"half')
    InputHistory().store_string("two\nlines")
    assert load_lines() == ["two\nlines", "first"]


@pytest.mark.promise("private-files")
def test_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text('"theirs"\n')
    get_input_history_path().parent.mkdir(parents=True)
    get_input_history_path().symlink_to(other)
    InputHistory().store_string("mine")
    assert (load_lines(), other.read_text()) == ([], '"theirs"\n')


def test_only_the_end_of_a_long_file_is_read() -> None:
    InputHistory().store_string("old")
    InputHistory().store_string("x" * MAX_BYTES)
    InputHistory().store_string("new")
    assert load_lines() == ["new"]


def test_nothing_is_saved_if_saving_is_off() -> None:
    prompts = InputHistory(is_saved=False)
    prompts.append_string("secret")
    assert (prompts.get_strings(), get_input_history_path().exists()) == (["secret"], False)
