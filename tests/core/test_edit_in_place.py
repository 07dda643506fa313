"""`--in-place`: a file is sent, and the answer replaces it after the user has seen the difference."""

import os
import signal
from pathlib import Path

import pytest
from support.answers import stream_text
from support.console import Console
from support.loopback import Loopback, delta, stream
from support.pty_run import HOSTILE_TEXT
from support.run_cli import IGNORES_PERMISSIONS, Aiml, build_permission_prefix

EXPECTED_PROMPT = (
    "fix it \n\nAnswer with the whole new text of f.txt and nothing else: no explanation, no code fence around it."
)
OLD_CONTENT, NEW_CONTENT = b"one\ntwo\n", b"one\n2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f.txt"
    path.write_bytes(OLD_CONTENT)
    path.chmod(0o640)
    return path


def list_other_files(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir() if path.is_file() and path != file)


@pytest.mark.parametrize("endpoint", ["chat", "respond"])
def test_the_answer_replaces_the_file_that_was_sent(endpoint: str, server: Loopback, aiml: Aiml, file: Path) -> None:
    server.answer_with(stream_text(endpoint, "one\n2\n"))
    result = aiml(endpoint, "fix", "it", "--in-place", "f.txt", "-y")
    assert (result.returncode, result.stdout, file.read_bytes(), list_other_files(file)) == (0, b"", NEW_CONTENT, [])
    difference = "--- f.txt\n+++ f.txt (the answer)\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert result.stderr.decode() == f"{difference}aiml: replaced f.txt\n"
    body = server.requests[0].json
    sent = body["messages"][0]["content"] if endpoint == "chat" else body["input"]
    assert f'<file name="f.txt">\none\ntwo\n</file>\n\n{EXPECTED_PROMPT}' in str(sent).replace("\\n", "\n")
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("old", "text", "new"),
    [
        (OLD_CONTENT, "```\none\n2\n```", NEW_CONTENT),
        (OLD_CONTENT, "one\n2", NEW_CONTENT),
        (OLD_CONTENT, "\n\none\n2\n\n", NEW_CONTENT),
        (b"one\r\ntwo\r\n", "one\n2\n", b"one\r\n2\r\n"),
        (b"one\r\ntwo\r\n", "one\r\n2\r\n", b"one\r\n2\r\n"),
        (b"one\ntwo", "one\n2\n", b"one\n2"),
        (b"\xef\xbb\xbfone\n", "2\n", b"\xef\xbb\xbf2\n"),
        (b"", "one", b"one\n"),
        (b"```\na\n```\n", "```\nb\n```", b"```\nb\n```\n"),
        (OLD_CONTENT, "see:\n```\n2\n```\n", b"see:\n```\n2\n```\n"),
    ],
)  # fmt: skip
def test_fences_and_line_ends_that_models_change_by_habit_are_restored(
    old: bytes, text: str, new: bytes, server: Loopback, aiml: Aiml, file: Path
) -> None:
    file.write_bytes(old)
    server.answer_with(stream_text("chat", text))
    result = aiml("chat", "fix it", "--in-place", "f.txt", "-y", "-q")
    assert (result.returncode, file.read_bytes(), result.stderr) == (0, new, b"")


def test_with_extract_a_code_block_replaces_the_file(server: Loopback, aiml: Aiml, file: Path) -> None:
    server.answer_with(stream_text("chat", "Sure:\n\n```txt\none\n2\n```\n\nDone."))
    assert aiml("chat", "fix it", "--in-place", "f.txt", "-x", "-y").returncode == 0
    assert file.read_bytes() == NEW_CONTENT


@pytest.mark.promise("incomplete-answers")
@pytest.mark.parametrize(
    ("reply", "flags", "code", "part"),
    [
        (stream(delta("on"), end=b""), [], 8, b"on"),
        (stream_text("chat", "one", "length"), ["--allow-cut"], 8, b"one"),
        (stream(delta(refusal="No."), delta(finish="stop")), [], 8, None),
        (stream_text("chat", " \n"), [], 9, None),
        (stream_text("chat", "text"), ["-x"], 9, b"text"),
        (b"HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n", [], 4, None),
    ],
)
def test_an_incomplete_answer_does_not_change_the_file(
    reply: bytes, flags: list[str], code: int, part: bytes | None, server: Loopback, aiml: Aiml, file: Path
) -> None:
    server.answer_with(reply)
    result = aiml("chat", "fix it", "--in-place", "f.txt", "-y", *flags)
    assert (result.returncode, result.stdout, file.read_bytes()) == (code, b"", OLD_CONTENT)
    assert list_other_files(file) == ([] if part is None else ["f.txt.part"])
    if part is not None:
        assert (file.parent / "f.txt.part").read_bytes() == part
        assert b"the incomplete answer is in" in result.stderr


def test_an_identical_answer_is_reported_and_writes_nothing(server: Loopback, aiml: Aiml, file: Path) -> None:
    server.answer_with(stream_text("chat", "one\ntwo"))
    before = file.stat().st_ino
    result = aiml("chat", "fix it", "--in-place", "f.txt", "-y")
    assert (result.returncode, result.stderr) == (0, b"aiml: f.txt was not changed: the answer is identical\n")
    assert (file.stat().st_ino, list_other_files(file)) == (before, [])


def test_a_format_setting_from_the_environment_is_ignored(server: Loopback, aiml: Aiml, file: Path) -> None:
    server.answer_with(stream_text("chat", "one\n2\n"))
    assert aiml("chat", "fix it", "--in-place", "f.txt", "-y", AIML_FORMAT="json").returncode == 0
    assert file.read_bytes() == NEW_CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_file_keeps_its_owner(server: Loopback, aiml: Aiml, file: Path) -> None:
    os.chown(file, 12345, 23456)
    server.answer_with(stream_text("chat", "one\n2\n"))
    assert aiml("chat", "fix it", "--in-place", "f.txt", "-y").returncode == 0
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777, file.read_bytes()) == (12345, 23456, 0o640, NEW_CONTENT)


def test_the_whole_file_is_sent_despite_a_fit_setting(server: Loopback, aiml: Aiml, file: Path) -> None:
    file.write_text("line\n" * 5000)
    server.answer_with(stream_text("chat", "one\n"))
    aiml("chat", "-m", "m", "fix it", "--in-place", "f.txt", "-y", "-q", AIML_FIT="head")
    assert str(server.requests[-1].json["messages"][0]["content"]).count("line\n") == 5000


def test_a_link_is_kept_and_its_target_is_replaced(server: Loopback, aiml: Aiml, file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    server.answer_with(stream_text("chat", "one\n2\n"))
    assert aiml("chat", "fix it", "--in-place", "link", "-y").returncode == 0
    assert ((file.parent / "link").is_symlink(), file.read_bytes()) == (True, NEW_CONTENT)


@pytest.mark.promise("atomic-writes")
def test_a_file_that_changed_during_the_request_is_not_overwritten(server: Loopback, aiml: Aiml, file: Path) -> None:
    def change_file_and_answer() -> object:
        file.write_bytes(b"mine\n")
        yield stream_text("chat", "one\n2\n")

    server.answer_with(change_file_and_answer())
    result = aiml("chat", "fix it", "--in-place", "f.txt", "-y")
    assert (result.returncode, file.read_bytes()) == (1, b"mine\n")
    assert (file.parent / "f.txt.part").read_bytes() == NEW_CONTENT


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["hi", "--in-place", "f.txt"], "add -y to replace it without asking"),
        (["--in-place", "f.txt", "-y"], "what should be done"),
        (["hi", "--in-place", "none", "-y"], "No such file"),
        (["hi", "--in-place", ".", "-y"], "not a regular file"),
        (["hi", "--in-place", "/dev/null", "-y"], "not a regular file"),
        (["hi", "--in-place", "binary", "-y"], "not UTF-8"),
        (["hi", "--in-place", "latin", "-y"], "not UTF-8"),
        (["hi", "--in-place", "f.txt", "-y", "-o", "o"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "-m", "a", "-m", "b"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--json"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--format", "json"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--reduce", "x"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--audio-out", "o"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--resume-from", "o"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "-n", "2"], "cannot be used with"),
        (["hi", "--in-place", "f.txt", "-y", "--schema", "a"], "cannot be used with"),
    ],
)
def test_invalid_combinations_are_refused_before_anything_is_sent(
    flags: list[str], message: str, server: Loopback, aiml: Aiml, file: Path
) -> None:
    (file.parent / "binary").write_bytes(b"a\0b")
    (file.parent / "latin").write_bytes(b"caf\xe9")
    result = aiml("chat", *flags)
    assert (result.returncode, server.connections, file.read_bytes()) == (2, 0, OLD_CONTENT)
    assert message in result.stderr.decode()
    assert list_other_files(file) == ["binary", "latin"]


@pytest.mark.skipif(IGNORES_PERMISSIONS, reason="root may write everything, and there is no setpriv")
def test_a_file_that_cannot_be_written_is_not_sent(server: Loopback, aiml: Aiml, file: Path) -> None:
    file.chmod(0o400)
    assert aiml("chat", "fix it", "--in-place", "f.txt", "-y", before=build_permission_prefix()).returncode == 2
    assert server.connections == 0


def test_a_dry_run_shows_the_request_and_changes_nothing(server: Loopback, aiml: Aiml, file: Path) -> None:
    result = aiml("chat", "fix it", "--in-place", "f.txt", "--dry-run")
    assert (result.returncode, server.connections, file.read_bytes()) == (0, 0, OLD_CONTENT)
    assert b"whole new text of f.txt" in result.stdout


def wait_for_question(server: Loopback, text: str, *flags: str) -> Console:
    """Wait for the question on a terminal."""
    server.answer_with(stream(delta(text), delta(finish="stop")))
    console = Console("chat", "fix it", "--in-place", "f.txt", *flags, AIML_BASE_URL=server.url)
    console.wait_until("replace f.txt? [y/N]")
    return console


@pytest.mark.parametrize(
    ("user_input", "code", "content"),
    [("y", 0, NEW_CONTENT), ("yes", 0, NEW_CONTENT), ("n", 9, OLD_CONTENT), ("", 9, OLD_CONTENT)],
)
def test_a_terminal_asks_before_the_file_is_replaced(
    user_input: str, code: int, content: bytes, server: Loopback, file: Path
) -> None:
    with wait_for_question(server, "one\n2\n") as console:
        assert b"\x1b[31m-two\x1b[0m" in console.output
        console.type_line(user_input)
        assert (console.wait_for_exit(), file.read_bytes(), list_other_files(file)) == (code, content, [])


@pytest.mark.promise("stored-while-arriving")
def test_ctrl_c_at_the_question_keeps_the_answer_in_a_partial_file(server: Loopback, file: Path) -> None:
    with wait_for_question(server, "one\n2\n") as console:
        console.send_signal(signal.SIGINT)
        assert (console.wait_for_exit(), file.read_bytes(), list_other_files(file)) == (
            130,
            OLD_CONTENT,
            ["f.txt.part"],
        )
        assert b"\naiml: the incomplete answer is in" in console.output


def test_the_terminal_asks_even_if_standard_input_is_a_pipe(server: Loopback, file: Path) -> None:
    server.answer_with(stream(delta("one\n2\n"), delta(finish="stop")))
    with Console.start_shell(AIML_BASE_URL=server.url) as console:
        console.run("chat", "fix it", "--in-place", "f.txt", before="echo more | ", after="; echo code $?")
        console.wait_until("replace f.txt? [y/N]")
        console.type_line("y")
        console.wait_until("code 0")
    assert (file.read_bytes(), b"<stdin>" in server.requests[0].body) == (NEW_CONTENT, True)


@pytest.mark.promise("terminal-control")
def test_the_difference_cannot_control_the_terminal(server: Loopback, file: Path) -> None:
    with wait_for_question(server, HOSTILE_TEXT, "--color", "never") as console:
        assert b"\x1b" not in console.output
        assert "\\x1b]52;c;ZXZpbA==\\x07" in console.read_text()
        console.type_line("n")
        console.wait_for_exit()
