"""Output is written to the last byte, or an error says why not."""

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiml_cli.errors import OutputFailed, ReaderClosed
from aiml_cli.system.stdio import check_stdout, print_err, print_out, write_err, write_out
from aiml_cli.system.terminal import is_terminal

MANY_BYTES = b"z" * 300_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe; a test may close its ends."""
    reading, writing = os.pipe()
    ends = {fd: os.fstat(fd) for fd in (reading, writing)}
    yield reading, writing
    for fd, before in ends.items():
        try:
            is_ours = os.fstat(fd).st_ino == before.st_ino
        except OSError:
            continue
        if is_ours:
            os.close(fd)


@pytest.mark.promise("pipe-bytes")
def test_every_byte_is_written(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT)
    write_out(MANY_BYTES, fd)
    write_out(b"", fd)
    os.close(fd)
    assert (tmp_path / "x").read_bytes() == MANY_BYTES


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_slow_reader_gets_every_byte(pipe: tuple[int, int], *, is_blocking: bool) -> None:
    reading, writing = pipe
    os.set_blocking(writing, is_blocking)
    got = bytearray()

    def read() -> None:
        while piece := os.read(reading, 4096):
            got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    write_out(MANY_BYTES, writing)
    os.close(writing)
    reader.join()
    assert got == MANY_BYTES


@pytest.mark.promise("closed-pipe")
def test_a_reader_that_went_away_is_not_an_error(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    with pytest.raises(ReaderClosed):
        write_out(b"x", writing)


@pytest.mark.promise("failed-stdout")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OutputFailed, match="No space"):
        write_out(b"x", fd)
    os.close(fd)


@pytest.mark.promise("failed-stdout")
def test_a_closed_standard_output_is_an_error_before_anything_is_sent() -> None:
    check_stdout()
    kept = os.dup(1)
    os.close(1)
    try:
        with pytest.raises(OutputFailed, match="closed"):
            check_stdout()
        with pytest.raises(OutputFailed):
            write_out(b"x")
        assert not is_terminal(1)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_terminal_is_recognized(pipe: tuple[int, int]) -> None:
    leader, terminal = os.openpty()
    assert is_terminal(terminal)
    assert not is_terminal(pipe[1])
    os.close(terminal)
    os.close(leader)


def test_text_of_the_program_goes_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    print_out("Grüße \U0001f389\n")
    assert capfd.readouterr().out == "Grüße \U0001f389\n"


def test_a_line_to_the_user_is_sanitized(capsys: pytest.CaptureFixture[str]) -> None:
    print_err("the server said \x1b[2J\u202e\nand more")
    assert capsys.readouterr().err == "the server said \\x1b[2J\\u202e\nand more\n"
    print_err("dim\x1b", dim=True)
    assert capsys.readouterr().err == "\x1b[2mdim\\x1b\x1b[0m\n"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"Gr\\xfc\\xdfe"), ("utf-8", "Grüße".encode())])
def test_standard_error_without_unicode_gets_escapes(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding))
    write_err("Grüße")
    assert raw.getvalue() == shown


def test_half_a_character_does_not_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="utf-8"))
    print_err("a\ud83c")
    assert raw.getvalue() == b"a\\ud83c\n"


def test_without_a_standard_error_messages_are_dropped(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        print_err("to nobody")
    assert capfd.readouterr() == ("", "")
