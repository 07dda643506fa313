"""Files are in the user's own directories, never in the current one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.store import paths
from aiml_cli.store.config_file import read_sources

SCRIPT_WITHOUT_HOME = """
import os
import platformdirs.unix
from aiml_cli.errors import UsageError
from aiml_cli.store import config_edit, config_file as config, paths
os.setuid(54321)
assert paths.config_file() is None and paths.keys_file() is None
assert not any(config.read_sources({}, {}).values())
for ask in (lambda: config_edit.set_value("effort", "low"), paths.cache_dir):
    try:
        ask()
    except UsageError as fault:
        print(fault.message, "|", fault.hint)
"""


def test_each_file_has_its_directory(tmp_path: Path) -> None:
    assert paths.config_file() == tmp_path / "xdg_config_home" / "aiml" / "config.toml"
    assert paths.keys_file() == tmp_path / "xdg_config_home" / "aiml" / "keys.json"
    assert paths.cache_dir() == tmp_path / "xdg_cache_home" / "aiml"


@pytest.mark.promise("current-directory")
@pytest.mark.parametrize("value", ["", ".", "relative"])
def test_a_relative_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    (tmp_path / value / "aiml").mkdir(parents=True)
    (tmp_path / value / "aiml" / "config.toml").write_text("base_url = 'https://evil.example'")
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert not any(read_sources({}, {}).values())


def test_a_relative_directory_of_an_old_platformdirs_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _: ".config/aiml")
    assert (paths.config_file(), paths.keys_file()) == (None, None)


def test_a_home_that_is_not_a_directory_has_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null")
    assert not any(read_sources({}, {}).values())


def test_asking_for_a_path_creates_nothing(tmp_path: Path) -> None:
    read_sources({}, {})
    assert not list((tmp_path / "xdg_config_home").iterdir())


@pytest.mark.promise("odd-environment")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a home")
def test_without_a_home_only_commands_that_must_write_fail() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT_WITHOUT_HOME], env={}, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "there is no home directory to write to | set HOME to an absolute path\n" * 2


def test_requiring_a_path_without_a_home_is_an_error() -> None:
    with pytest.raises(UsageError, match="no home directory"):
        paths.require_path(None)
