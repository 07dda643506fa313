"""[loaders]: commands of the user that convert files to text, by extension."""

import json
import os
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback
from support.processes import is_running

from aiml_cli.__main__ import main
from aiml_cli.prompt import loaders

KEY = "sk-made-up-key-0123456789"
ZIP = b"PK\x03\x04\0\0binary"
FILE_BLOCK = '<file name="{}">\n{}\n</file>'


@pytest.fixture
def config(empty_home: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = empty_home / "xdg_config_home/aiml/config.toml"
    path.parent.mkdir()
    server.answer_with(HELLO)
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    return path


def write_loaders(config: Path, **commands: object) -> None:
    config.write_text(
        "[loaders]\n" + "".join(f"{json.dumps(name)} = {json.dumps(run)}\n" for name, run in commands.items())
    )


def read_sent_text(server: Loopback) -> str:
    content = server.requests[-1].json["messages"][-1]["content"]
    assert isinstance(content, str)
    return content


@pytest.mark.parametrize(
    ("extension", "name", "is_loaded"),
    [
        ("docx", "a.docx", True), ("docx", "A.DOCX", True), ("DOCX", "a.docx", True), (".docx", "a.docx", True),
        ("tar.gz", "a.tar.gz", True), ("gz", "a.tar.gz", True), ("docx", "a.b.docx", True), ("txt", "a.txt", True),
        ("docx", "docx", False), ("docx", ".docx", False), ("docx", "a.docx.txt", False), ("docx", "adocx", False),
        ("gz", "a.gz.txt", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("source", ["flag", "mention", "respond"])
def test_a_loader_is_chosen_by_the_extension(
    source: str, extension: str, name: str, is_loaded: bool, config: Path, server: Loopback, empty_home: Path
) -> None:
    write_loaders(config, **{extension: ["echo", "text of", "{}"]})
    (empty_home / name).write_text("as it is")
    words = {
        "flag": ["chat", "-f", name, "hi"],
        "mention": ["chat", f"@{name}"],
        "respond": ["respond", "-f", name, "x"],
    }[source]
    main(words)
    body = json.dumps(server.requests[-1].json)
    assert (f"text of {empty_home / name}" in body) is is_loaded
    assert ("as it is" in body) is not is_loaded


def test_the_longest_extension_wins(config: Path, server: Loopback, empty_home: Path) -> None:
    write_loaders(config, gz="echo short {}", **{"tar.gz": "echo long {}"})
    (empty_home / "a.tar.gz").write_bytes(ZIP)
    assert main(["chat", "-f", "a.tar.gz", "hi"]) == 0
    assert read_sent_text(server) == FILE_BLOCK.format("a.tar.gz", f"long {empty_home}/a.tar.gz") + "\n\nhi"


@pytest.mark.promise("template-loaders")
@pytest.mark.parametrize(
    "name", ["a b.docx", "$(touch hacked).docx", "'; touch hacked; '.docx", "-x.docx", "\n.docx", "ü.docx"]
)
def test_no_shell_reads_the_name_and_it_is_never_an_option(
    name: str, config: Path, server: Loopback, empty_home: Path
) -> None:
    write_loaders(config, docx=["printf", "[%s]", "--in={}", "{}"])
    (empty_home / name).write_bytes(ZIP)
    assert main(["chat", f"--file={name}", "hi"]) == 0
    assert f"[--in={empty_home}/{name}][{empty_home}/{name}]" in read_sent_text(server)
    assert not (empty_home / "hacked").exists()


def test_folders_and_patterns_use_loaders_too(
    config: Path, server: Loopback, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_loaders(config, docx="echo loaded {}")
    (empty_home / "d").mkdir()
    (empty_home / "d/a.docx").write_bytes(ZIP)
    (empty_home / "d/b.zip").write_bytes(ZIP)
    (empty_home / "d/c.txt").write_text("c")
    assert main(["chat", "-f", "d", "hi"]) == 0
    assert "d: 2 files, " in (err := capfd.readouterr().err)
    assert "1 read by loaders; left out: 1 not text" in err
    assert main(["chat", "-f", "d/*.docx", "hi"]) == 0
    assert [request.body.count(b"loaded ") for request in server.requests] == [1, 1]


@pytest.mark.promise("template-loaders")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-program", "{}"], ["a.docx", "no-such-program", "is not an executable program"]),
        (["/no/such/program", "{}"], ["/no/such/program", "is not an executable program"]),
        (["sh", "-c", "echo first >&2; echo last words >&2; exit 3", "{}"], ["exit code 3: last words"]),
        (["sh", "-c", "kill -9 $$", "{}"], ["SIGKILL"]),
        (["printf", "\\377\\376\\377", "{}"], ["did not write UTF-8 text"]),
        (["sh", "-c", "yes", "{}"], ["more than 16 MiB"]),
        (["sh", "-c", "echo x | cat; exit 1", "{}"], ["exit code 1"]),
        (["true", "{}"], ["a.docx: its loader true found no text in it"]),
        (["printf", "\\n\\f\\n", "{}"], ["its loader printf found no text in it"]),
    ],
)
def test_a_loader_that_fails_sends_nothing(
    command: list[str],
    words: list[str],
    config: Path,
    server: Loopback,
    empty_home: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_loaders(config, docx=command)
    (empty_home / "a.docx").write_bytes(ZIP)
    assert main(["chat", "-f", "a.docx", "hi"]) == 2
    err = capfd.readouterr().err
    assert [word for word in words if word not in err] == []
    assert "first" not in err
    assert server.requests == []


@pytest.mark.promise("template-loaders")
def test_a_loader_that_does_not_end_is_killed_with_its_child_processes(
    config: Path, server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loaders, "SECONDS", 0.5)
    write_loaders(config, docx=["sh", "-c", 'sleep 60 & echo $! > "$0.pid"; wait', "{}"])
    (empty_home / "a.docx").write_bytes(ZIP)
    assert main(["chat", "-f", "a.docx", "hi"]) == 2
    assert "did not end within 0.5 s" in capfd.readouterr().err
    while is_running(int((empty_home / "a.docx.pid").read_text())):
        pass  # a killed process needs a moment; the test's own time limit ends this
    assert server.requests == []


@pytest.mark.promise("template-loaders")
def test_the_key_is_not_in_the_environment(
    config: Path, server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", f"Bearer {KEY}")
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("PATH", f"relative:{os.environ['PATH']}")
    write_loaders(config, docx=["sh", "-c", "env; pwd", "{}"])
    (empty_home / "a.docx").write_bytes(ZIP)
    assert main(["chat", "-f", "a.docx", "hi"]) == 0
    assert KEY not in read_sent_text(server)
    assert "KEPT=kept" in read_sent_text(server)
    assert "relative" not in read_sent_text(server)
    assert read_sent_text(server).endswith("\n/\n</file>\n\nhi")


def test_a_file_edited_in_place_is_never_loaded(
    config: Path, server: Loopback, empty_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_loaders(config, txt="echo loaded {}")
    (empty_home / "a.txt").write_text("as it is\n")
    main(["chat", "--in-place", "a.txt", "-y", "hi"])
    assert "as it is" in read_sent_text(server)
    assert "loaded" not in read_sent_text(server)


def test_a_config_file_that_a_group_can_change_sets_no_loaders(
    config: Path, empty_home: Path, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    write_loaders(config, docx="echo {}")
    config.chmod(0o660)
    assert main(["chat", "hi"]) == 2
    assert "it sets loaders" in capfd.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "not a command"), ("", "not a command"), (["prog"], "does not contain {}"), (["{}"], "does not contain {}"), ("prog x", "does not contain {}"),
        (["prog", 1, "{}"], "not a command"), (["", "{}"], "not a command"), ("prog '{}", "not a command"),
        (["./prog", "{}"], "not an absolute path"), (["bin/prog", "{}"], "not an absolute path"),
    ],
)  # fmt: skip
def test_an_invalid_loader_command_is_refused(
    command: object, words: str, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_loaders(config, docx=command)
    assert main(["chat", "hi"]) == 2
    assert words in capfd.readouterr().err
    assert main(["config", "check", "--base-url", "http://127.0.0.1:9"]) != 0


def test_config_sets_a_loader_and_shows_it(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "set", "loaders.docx", "pandoc -t markdown {}"]) == 0
    assert main(["config", "set", "loaders.PDF", '["pdftotext", "{}", "-"]']) == 0
    capfd.readouterr()
    assert main(["config", "get", "loaders"]) == 0
    assert capfd.readouterr().out == 'docx=["pandoc", "-t", "markdown", "{}"]\npdf=["pdftotext", "{}", "-"]\n'
    assert main(["config", "unset", "loaders.Docx"]) == 0
    assert main(["config", "get", "loaders.docx"]) == 0
    assert capfd.readouterr().out == ""
