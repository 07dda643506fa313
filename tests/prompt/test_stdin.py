"""Standard input is read to its last byte if it can contain something."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import SizeLimit

Notices = list[str]


@pytest.fixture(autouse=True)
def _real_stdin() -> Iterator[None]:
    """Restore file descriptor 0, which each test replaces."""
    kept = os.dup(0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


def replace_stdin(fd: int) -> None:
    """Make a file descriptor standard input."""
    os.dup2(fd, 0)
    os.close(fd)


def replace_stdin_by_pipe() -> int:
    """Make a pipe standard input; return its other end."""
    reading, writing = os.pipe()
    replace_stdin(reading)
    return writing


def test_a_pipe_holds_something() -> None:
    os.close(replace_stdin_by_pipe())
    assert stdin.has_stdin()


def test_a_file_holds_something(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    replace_stdin(os.open(tmp_path / "x", os.O_RDONLY))
    assert stdin.has_stdin()


def test_a_socket_holds_something() -> None:
    ours, theirs = socket.socketpair()
    replace_stdin(theirs.detach())
    assert stdin.has_stdin()
    ours.sendall(b"through a socket")
    ours.close()
    assert stdin.read_stdin(pytest.fail) == b"through a socket"


@pytest.mark.parametrize("path", [os.devnull, "/dev/zero", "."])
def test_a_device_and_a_folder_hold_nothing(path: str) -> None:
    replace_stdin(os.open(path, os.O_RDONLY))
    assert not stdin.has_stdin()


def test_a_terminal_holds_nothing() -> None:
    leader, terminal = os.openpty()
    replace_stdin(terminal)
    assert not stdin.has_stdin()
    os.close(leader)


@pytest.mark.promise("stdin")
def test_a_closed_stdin_holds_nothing_and_cannot_be_read() -> None:
    os.close(0)
    assert not stdin.has_stdin()
    with pytest.raises(UsageError, match="standard input"):
        stdin.read_stdin(pytest.fail)


def test_dev_null_is_empty() -> None:
    replace_stdin(os.open(os.devnull, os.O_RDONLY))
    assert stdin.read_stdin(pytest.fail) == b""


@pytest.mark.promise("stdin")
@pytest.mark.parametrize("data", [b"", b"text", b"\xff\x00\n", b"x" * 5_000_000], ids=len)
def test_every_byte_is_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    replace_stdin(os.open(tmp_path / "x", os.O_RDONLY))
    assert stdin.read_stdin(pytest.fail) == data


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_non_blocking_pipe_is_read_to_its_end(*, is_blocking: bool) -> None:
    writing = replace_stdin_by_pipe()
    os.set_blocking(0, is_blocking)

    def write() -> None:
        with os.fdopen(writing, "wb") as other_end:
            other_end.write(b"y" * 300_000)

    writer = threading.Thread(target=write)
    writer.start()
    assert stdin.read_stdin(lambda _: None) == b"y" * 300_000
    writer.join()


def test_a_notice_says_that_standard_input_is_awaited_and_no_byte_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdin, "NOTICE_AFTER_SECONDS", 0.0)
    writing, notices = replace_stdin_by_pipe(), Notices()

    def notify(line: str) -> None:
        notices.append(line)
        os.write(writing, b"late, but whole")
        os.close(writing)

    assert stdin.read_stdin(notify) == b"late, but whole"
    assert len(notices) == 1
    assert "--no-stdin" in notices[0]


@pytest.mark.promise("stdin")
def test_input_beyond_the_size_limit_is_refused_without_reading_on() -> None:
    writing = replace_stdin_by_pipe()
    os.write(writing, b"x" * 5000)
    with pytest.raises(UsageError, match=r"standard input: more than 1\.0 kB"):
        stdin.read_stdin(pytest.fail, SizeLimit(1000))
    os.close(writing)


def test_input_of_exactly_the_size_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1000)
    replace_stdin(os.open(tmp_path / "x", os.O_RDONLY))
    assert len(stdin.read_stdin(pytest.fail, SizeLimit(1000))) == 1000


def test_a_folder_as_standard_input_is_an_error() -> None:
    replace_stdin(os.open(".", os.O_RDONLY))
    with pytest.raises(UsageError, match="directory"):
        stdin.read_stdin(pytest.fail)
