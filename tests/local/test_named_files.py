"""Whatever a file is that the user names: its content is used, or one sentence says why not, soon and in little memory."""

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from support.forked_process import CliProcess, install_program
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import Aiml, build_command

from aiml_cli.system import atomic_write

TOOLS = '[{"type": "function", "name": "f"}]'
SCHEMA = '{"type": "object", "properties": {}}'
MESSAGES = '[{"role": "user", "content": "x"}]'
# How a file is named in each place, and a content that is right there.
ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "schema": (["chat", "hi", "--schema", "{}"], SCHEMA),
    "schema-at": (["chat", "hi", "--schema", "@{}"], SCHEMA),
    "tools": (["chat", "hi", "--tools", "{}"], TOOLS),
    "tools-at": (["respond", "hi", "--tools", "@{}"], TOOLS),
    "tool-choice": (["chat", "hi", "--tool-choice", "@{}"], '{"type": "function", "name": "f"}'),
    "response-format": (["chat", "hi", "--response-format", "@{}"], '{"type": "json_object"}'),
    "messages": (["chat", "hi", "--messages", "{}"], MESSAGES),
    "system": (["chat", "hi", "-s", "@{}"], "Be brief."),
    "file": (["chat", "hi", "-f", "{}"], "text"),
    "parameter": (["chat", "-t", "t", "-P", "x=@{}"], "text"),
    "reduce": (["chat", "hi", "-f", "text", "--chunk", "10", "--reduce", "@{}"], "text"),
    "replay": (["chat", "hi", "--replay", "{}"], ""),
    "certificates": (["chat", "hi", "--ca-bundle", "{}", "--base-url", "https://127.0.0.1:9/v1"], ""),
    "import": (["config", "templates", "--import", "{}"], "prompt: x"),
    "config": (["chat", "hi"], "seed = 1"),
}


def make_files() -> None:
    folder = Path("xdg_config_home/aiml/templates")
    folder.mkdir(parents=True, mode=0o700)
    (folder / "t.toml").write_text('prompt = "{x}"')
    Path("text").write_text("words " * 50)
    Path("folder").mkdir()
    os.mkfifo("fifo")
    with Path("sparse").open("wb") as file:
        file.truncate(1 << 40)


def build_arguments(place: str, name: str) -> list[str]:
    if place == "config":
        (Path("xdg_config_home/aiml") / "config.toml").symlink_to(Path(name).absolute())
    return [argument.format(name) for argument in ARGUMENTS[place][0]]


@pytest.mark.parametrize("name", ["/dev/zero", "./folder", "./fifo", "./sparse"])
@pytest.mark.parametrize("place", ARGUMENTS)
def test_an_endless_file_or_a_pipe_without_a_writer_is_refused(
    place: str, name: str, aiml: Aiml, server: Loopback
) -> None:
    if (place, name) in (("file", "./folder"), ("import", "./folder")):
        pytest.skip("a folder has a meaning there")
    make_files()
    used = run_and_measure(build_arguments(place, name), server.url)
    assert (used["code"], used["out"], server.requests) == (2, "", []), used["err"]
    assert len([line for line in used["err"].splitlines() if line.startswith("aiml: ")]) == 1
    assert name.strip("./") in used["err"] or place == "config"
    assert used["kilobytes"] < 300 * 1024


def run_and_measure(arguments: list[str], url: str) -> dict[str, Any]:
    """Run the program; return how it ended and its peak memory."""
    environ = {**os.environ, "AIML_BASE_URL": url, "AIML_RETRIES": "0"}
    with Path("stdout").open("wb") as out, Path("stderr").open("wb") as err:
        process = CliProcess(build_command(*arguments), env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    texts = {"out": Path("stdout").read_text(), "err": Path("stderr").read_text()}
    return {"code": process.returncode, "kilobytes": usage.ru_maxrss, **texts}


@pytest.mark.parametrize(
    "place", [place for place in ARGUMENTS if place not in ("replay", "config", "import", "certificates")]
)
def test_a_named_pipe_with_a_writer_is_read_like_a_file(place: str, aiml: Aiml, server: Loopback) -> None:
    make_files()
    command, content = ARGUMENTS[place]
    for _ in range(3):
        server.answer_with(
            HELLO if command[0] == "chat" else json_response({"id": "r", "status": "completed", "output": []})
        )
    writer = threading.Thread(target=lambda: Path("fifo").write_text(content), daemon=True)
    writer.start()
    done = aiml(*[argument.format("./fifo") for argument in command], "--no-log")
    assert server.requests, done.stderr
    assert done.returncode in (0, 8, 9)


@pytest.mark.parametrize("place", ["schema", "tools", "messages", "system", "replay"])
@pytest.mark.parametrize("source", ["<(cat {})", "/dev/stdin"])
def test_a_pipe_of_the_shell_is_read_like_a_file(
    place: str, source: str, aiml: Aiml, server: Loopback, tmp_path: Path
) -> None:
    command, content = ARGUMENTS[place]
    Path("content").write_text(content)
    for _ in range(2):
        server.answer_with(HELLO)
    if place == "replay":
        assert aiml("chat", "hi", "--record", "content").returncode == 0
    program = ["aiml"] if source == "/dev/stdin" else build_command()  # the launcher passes standard streams on
    script = " ".join([*program, *[each.format(source.format("./content")) for each in command], "--no-stdin"])
    if source == "/dev/stdin":
        script = f"cat content | {script}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": install_program(tmp_path / "bin"), "AIML_BASE_URL": server.url},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, len(server.requests)) in ((0, 1), (9, 1)), done.stderr


def test_the_wait_for_a_silent_writer_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(atomic_write, "SILENCE_SECONDS", 0.01)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    with pytest.raises(OSError, match="nothing was written to this pipe"):
        atomic_write.read_bounded(fifo)
    os.close(writer)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 11)
    assert atomic_write.read_bounded(path, 11) == b"x" * 11
    with pytest.raises(OSError, match="cannot be read"):
        atomic_write.read_bounded(path, 10)
    assert atomic_write.read_bounded(os.devnull) == b""
