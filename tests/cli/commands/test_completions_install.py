"""`aiml config completions`: what it prints, what it installs, and that a new shell uses it."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.paths import ROOT

from aiml_cli.__main__ import main
from aiml_cli.api.model_list import Model
from aiml_cli.cli.commands.shell_completions import SHELLS
from aiml_cli.store import model_cache

SCRIPTS = ROOT / "completions"
SCRIPT_NAMES = {"bash": "aiml.bash", "zsh": "aiml.zsh", "fish": "aiml.fish"}
INSTALLED_PATHS = {
    "bash": ".local/share/bash-completion/completions/aiml",
    "zsh": ".local/share/zsh/site-functions/_aiml",
    "fish": ".config/fish/completions/aiml.fish",
}
INSTALL_COMMAND = ["config", "completions", "--install"]
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")


@pytest.fixture(autouse=True)
def home(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory with its folders in the default places."""
    for variable in (
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "BASH_COMPLETION_USER_DIR",
    ):
        monkeypatch.delenv(variable, raising=False)
    return empty_home / "home"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_generated_script_is_printed_unchanged(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "completions", shell]) == 0
    assert capfd.readouterr() == ((SCRIPTS / SCRIPT_NAMES[shell]).read_text("utf-8"), "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_installed_where_the_shell_looks_for_it(
    shell: str, home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/nothing")
    umask = os.umask(0o002)
    try:
        assert main([*INSTALL_COMMAND, shell]) == 0
    finally:
        os.umask(umask)
    path = home / INSTALLED_PATHS[shell]
    told = capfd.readouterr()
    assert path.read_bytes() == (SCRIPTS / SCRIPT_NAMES[shell]).read_bytes()
    assert f"aiml: wrote {path}\n" in told.err
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert not [each for each in (path, *path.relative_to(home).parents) if (home / each).stat().st_mode & stat.S_IWGRP]
    assert (str(path.parent) in told.out) == (shell == "zsh")


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("zsh", """fpath=('{}/it'"'"'s mine/.local/share/zsh/site-functions' $fpath)\n"""),
    ],
)
def test_a_path_in_the_suggested_startup_line_is_quoted(
    shell: str, line: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", f"{home}/it's mine")
    assert main([*INSTALL_COMMAND, shell]) == 0
    assert capfd.readouterr().out.startswith(line.format(home))


def test_environment_variables_set_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_COMPLETION_USER_DIR", f"{home}/own:{home}/other")
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{home}/settings")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert [main([*INSTALL_COMMAND, shell]) for shell in ("bash", "fish", "zsh")] == [0, 0, 0]
    for name in ("own/completions/aiml", "settings/fish/completions/aiml.fish", INSTALLED_PATHS["zsh"]):
        assert (home / name).is_file()
    assert not Path("relative").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("value", ["", "rel/ative"])
def test_a_home_directory_that_is_not_an_absolute_path_is_refused(
    value: str, shell: str, empty_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "home", lambda: empty_home / "elsewhere")  # of an empty one Python makes the root
    monkeypatch.setenv("HOME", value)
    assert (main([*INSTALL_COMMAND, shell]), [path.name for path in empty_home.rglob("*aiml*")]) == (2, [])
    assert "there is no home directory to write to" in capfd.readouterr().err


def test_a_file_that_aiml_did_not_write_is_replaced_only_with_yes(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = home / INSTALLED_PATHS["fish"]
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n")
    assert main([*INSTALL_COMMAND, "fish"]) == 2
    assert "is not from aiml" in capfd.readouterr().err
    assert path.read_text() == "# mine\n"
    assert main([*INSTALL_COMMAND, "fish", "-y"]) == 0
    assert path.read_bytes() == (SCRIPTS / "aiml.fish").read_bytes()


def test_an_older_script_of_aiml_is_replaced(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = home / INSTALLED_PATHS["zsh"]
    path.parent.mkdir(parents=True)
    path.write_text("#compdef aiml\n# Generated\n# Completion of aiml for zsh: an older one\n")
    assert [main([*INSTALL_COMMAND, "zsh"]), main([*INSTALL_COMMAND, "zsh"])] == [0, 0]
    assert path.read_bytes() == (SCRIPTS / "aiml.zsh").read_bytes()
    assert "is up to date" in capfd.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_installed_by_pipx_are_recognized(shell: str, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = home / ".local/share/pipx/venvs/aiml-cli/share" / SCRIPT_NAMES[shell]
    target.parent.mkdir(parents=True)
    shutil.copy(SCRIPTS / SCRIPT_NAMES[shell], target)
    link = home / INSTALLED_PATHS[shell]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    assert main([*INSTALL_COMMAND, shell]) == 0
    assert "completions are already installed by pipx; open a new shell" in capfd.readouterr().err
    assert link.is_symlink()


def test_nothing_is_written_through_a_link(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = home / INSTALLED_PATHS["bash"]
    path.parent.mkdir(parents=True)
    (home / "precious").write_text("# Completion of aiml for bash\n")
    path.symlink_to(home / "precious")
    assert main([*INSTALL_COMMAND, "bash", "-y"]) == 2
    assert "symbolic link" in capfd.readouterr().err
    assert (home / "precious").read_text() == "# Completion of aiml for bash\n"


def test_a_folder_that_cannot_be_created_is_an_error(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / ".local").write_text("a file")
    assert main([*INSTALL_COMMAND, "bash"]) == 1
    assert str(home / INSTALLED_PATHS["bash"]) in capfd.readouterr().err


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        ("zhs", "did you mean zsh?"),
        ("powershell", "available: bash, zsh, fish"),
        ("tcsh", "available: bash, zsh, fish"),
        ("", "the name of a shell is required"),
    ],
)
def test_an_unknown_shell_is_a_usage_error(
    shell: str, message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    assert main(["config", "completions", *([shell] if shell else [])]) == 2
    shown = capfd.readouterr()
    assert (shown.out, message in shown.err) == ("", True)


def test_without_an_argument_the_shell_of_the_user_is_used(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/local/bin/fish")
    assert main(["config", "completions"]) == 0
    shown = capfd.readouterr()
    assert shown.out == (SCRIPTS / "aiml.fish").read_text("utf-8")
    assert shown.err == "aiml: completions for fish (from $SHELL)\n"


def start_interactive_shell(shell: str, home: Path, startup_lines: str) -> Any:
    """Start a shell as a user would, with the suggested lines in its startup file, and an aiml that records its use."""
    path = shutil.which(shell)
    if not path or (shell == "bash" and not BASH_COMPLETION.exists()):
        pytest.skip(f"{shell}, or what it completes with, is not installed")
    (home / ".zshrc").write_text(startup_lines)
    (home / ".bashrc").write_text(f"source {BASH_COMPLETION}\n")
    (home / "bin").mkdir()
    (home / "bin/aiml").write_text(f"#!/bin/sh\n: >{home}/started\n")
    (home / "bin/aiml").chmod(0o700)
    environ: Any = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    return pexpect.spawn(path, ["-i"], cwd=home, env=environ, encoding="utf-8", dimensions=(50, 200), timeout=20)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_new_shell_completes_without_starting_aiml(shell: str, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model_cache.save_models(model_cache.CachedModels("https://api.example/v1", "", 0, b"[]", [Model("acme/only-one")]))
    assert main([*INSTALL_COMMAND, shell]) == 0
    child = start_interactive_shell(shell, home, capfd.readouterr().out)
    child.sendline("echo 'rea''dy'")
    child.expect("ready\r\n")
    child.send("aiml chat -m acm\t")
    child.expect("acme/only-one|(?<=acm)e/only-one")
    child.close(force=True)
    assert not (home / "started").exists()
