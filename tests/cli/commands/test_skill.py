"""`aiml config skill`: the file has the form that agents read, and every command in it works."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.console import Console
from support.forked_process import install_program
from support.loopback import Loopback
from support.run_cli import Aiml

from aiml_cli import errors
from aiml_cli.__main__ import main
from aiml_cli.cli.commands.skill import format_skill
from aiml_cli.demo.server import serve

Capture = pytest.CaptureFixture[str]


def read_front_matter(text: str) -> dict[str, str]:
    """Return the front matter, read line by line as simple readers do."""
    begin, head, _ = text.split("---\n", 2)
    assert begin == ""
    return dict(line.split(": ", 1) for line in head.splitlines())


@pytest.mark.parametrize("folder", ["skills", "aiml", "deep/er/skills/", "skills/aiml/", "with space", "~/skills", "."])
def test_the_skill_is_written_into_a_folder_with_its_name(folder: str, tmp_path: Path, capfd: Capture) -> None:
    assert main(["config", "skill", folder]) == 0
    (path,) = [path for path in tmp_path.rglob("SKILL.md") if not path.is_symlink()]
    assert (path.parent.name, path.read_text()) == ("aiml", format_skill())
    assert read_front_matter(path.read_text())["name"] == path.parent.name
    out, err = capfd.readouterr()
    assert (out, err.startswith("aiml: wrote "), path.stat().st_mode & 0o777) == ("", True, 0o644)
    assert list(path.parent.iterdir()) == [path]


def test_the_front_matter_follows_the_format() -> None:
    found = read_front_matter(format_skill())
    assert sorted(found) == ["description", "name"]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", found["name"])
    assert "Use it when" in found["description"]
    assert len(found["description"]) <= 1024
    assert not re.search(r": |#|^[\"'>|&*!%@`-]", found["description"])  # plain YAML in one line
    assert len(format_skill().splitlines()) < 500


def test_the_table_lists_every_exit_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", format_skill(), re.MULTILINE)}
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.AimlError)]
    assert codes == {0, *(each.exit_code for each in classes)}


def test_an_unchanged_file_is_reported_as_up_to_date(capfd: Capture) -> None:
    for expected in ("wrote", "is up to date"):
        assert main(["config", "skill", "skills"]) == 0
        assert expected in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "content"), [([], 2, "mine"), (["-y"], 0, ""), (["--yes"], 0, "")]
)  # fmt: skip
def test_another_file_is_replaced_only_with_yes(
    flags: list[str], code: int, content: str, aiml: Aiml, tmp_path: Path
) -> None:
    path = tmp_path / "skills" / "aiml" / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    done = aiml("config", "skill", "skills", *flags, before=["setsid", "-w"])
    assert (done.returncode, path.read_text() == (content or format_skill())) == (code, True)
    assert (b"add -y to replace it" in done.stderr) == (code == 2)


@pytest.mark.parametrize(("answer", "is_replaced"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_the_user_is_asked_before_a_file_is_replaced(
    answer: str, is_replaced: bool, tmp_path: Path
) -> None:
    path = tmp_path / "aiml" / "SKILL.md"
    path.parent.mkdir()
    path.write_text("mine")
    console = Console("config", "skill", "aiml")
    console.wait_until("replace aiml/SKILL.md? [y/N]")
    console.type_line(answer)
    console.wait_until("wrote" if is_replaced else "add -y to replace it")
    assert path.read_text() == (format_skill() if is_replaced else "mine")


@pytest.mark.parametrize("link", ["skills/aiml/SKILL.md", "skills/aiml"])
def test_nothing_is_written_through_a_link(link: str, tmp_path: Path, capfd: Capture) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir() if link.endswith("aiml") else target.write_text("mine")
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(target)
    assert main(["config", "skill", "skills", "-y"]) == 2
    assert "is a symbolic link" in capfd.readouterr().err
    assert list(target.iterdir()) == [] if target.is_dir() else target.read_text() == "mine"


@pytest.mark.parametrize(("folder", "code"), [("", 2), (" ", 2), ("file", 2), ("file/below", 1), ("/dev/null/x", 1)])
def test_a_folder_that_cannot_be_created_is_an_error(folder: str, code: int, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["config", "skill", folder]) == code
    assert (capfd.readouterr().out, (tmp_path / "file").read_text()) == ("", "mine")


def list_commands() -> list[str]:
    """Return the commands in the text."""
    blocks = re.findall(r"```sh\n(.*?)```", format_skill(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", list_commands())
def test_every_command_in_the_skill_works(command: str, tmp_path: Path) -> None:
    """The demo server answers; standard input is an open pipe that nobody writes to, as in the shells of agents."""
    (tmp_path / "notes.txt").write_text("We met on Monday.\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "fine"}\n{"text": "bad"}\n')
    with serve() as url:
        environ = {
            **os.environ, "PATH": install_program(tmp_path / "bin"), "AIML_BASE_URL": url,
            "AIML_MODEL": "demo/echo", "AIMLAPI_API_KEY": "demo-key-for-tests", "AIML_SESSION": "my-task",
        }  # fmt: skip
        read_end, write_end = os.pipe()
        if "-c " in command:
            first = ["sh", "-c", "aiml chat --no-stdin 'My name is Ada.'"]
            subprocess.run(first, env=environ, stdin=read_end, check=True, timeout=60)
        done = subprocess.run(
            ["sh", "-c", command], env=environ, stdin=read_end, capture_output=True, check=False, timeout=60
        )
        os.close(read_end)
        os.close(write_end)
    output = done.stdout or b"".join(path.read_bytes() for path in tmp_path.glob("*.md"))
    output = output or b"".join(path.read_bytes() for path in tmp_path.glob("results.jsonl"))
    assert (done.returncode, output != b"") == (0, True), done.stderr.decode()


def test_the_flags_in_the_text_are_in_the_help(capfd: Capture, server: Loopback) -> None:
    assert server.requests == []
    assert main(["chat", "--help"]) == 0
    help_text = capfd.readouterr().out
    text = re.sub(r"^(---|\|.*)$", "", format_skill(), flags=re.MULTILINE)  # the exit codes are those of all commands
    flags = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text))
    assert sorted(flag for flag in flags if flag not in help_text) == []
