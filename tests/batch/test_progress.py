"""The progress line that a terminal shows during a run over rows."""

import os
import pty
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import pyte
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import build_command

LIMITED = json_response({"error": {"message": "slow down"}}, "429 Too Many Requests", "Retry-After: 0.5")


def run_on_terminal(
    server: Loopback, *arguments: str, retries: str = "1", columns: int = 80
) -> tuple[bytes, list[str]]:
    """Run over the rows of a file with standard error on a terminal; return its bytes, and the final lines."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    env = {**os.environ, "AIML_BASE_URL": server.url, "AIML_RETRIES": retries, "TERM": "xterm"}
    ask = build_command("chat", "--each", "line", "-f", "rows", "-j", "1", *arguments)
    with subprocess.Popen(ask, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        wrote = b""
        with suppress(OSError):  # how a pty says that the other side is gone
            while piece := os.read(ours, 65536):
                wrote += piece
        process.wait()
    os.close(ours)
    screen = pyte.Screen(100, 24)
    pyte.ByteStream(screen).feed(wrote)
    return wrote, [line.rstrip() for line in screen.display if line.strip()]


def test_the_progress_line_is_removed_at_the_end_and_never_mixed_with_notices(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\nb\n")
    for answer in (LIMITED, HELLO):
        server.answer_with(answer)
    wrote, lines = run_on_terminal(server)
    assert b"/s" in wrote
    assert [line.split(":")[0] for line in lines] == ["aiml", "aiml"]
    assert "2 rows: 2 succeeded" in lines[1]


def test_quiet_hides_the_progress_line(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\n")
    server.answer_with(HELLO)
    assert run_on_terminal(server, "-q") == (b"", [])


def test_the_progress_line_shows_the_rows_done_and_the_time_left(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("row\n" * 40)
    server.answer_with(HELLO)
    server.answer_with(LIMITED)
    server.answer_with(HELLO)
    wrote, _ = run_on_terminal(server, retries="3")
    assert b"1/~40 rows" in wrote
    assert b"left" in wrote


def test_the_progress_line_fits_the_terminal(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("row\n" * 4)
    server.answer_with(HELLO)
    server.answer_with(LIMITED)
    server.answer_with(HELLO)
    wrote, _ = run_on_terminal(server, columns=20)
    drawn = [line for line in wrote.decode().split("\r") if " rows" in line and "aiml" not in line]
    assert drawn, wrote
    assert max(map(len, drawn)) < 20
