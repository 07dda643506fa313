"""A config file, template or key file that others own or can change is not used."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aiml_cli.__main__ import main
from aiml_cli.store import paths

KEY = "k-0123456789abcdef"
OTHER_USER_ID = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
MakeUntrusted = Callable[[Path], object]


def create_config_folder() -> Path:
    path = Path("xdg_config_home/aiml").absolute()
    path.mkdir(mode=0o700, exist_ok=True)
    (path / "templates").mkdir(mode=0o700, exist_ok=True)
    return path


def give_away(path: Path) -> None:
    os.chown(path, OTHER_USER_ID, OTHER_USER_ID)


def give_link_away(path: Path) -> None:
    target = path.rename(path.with_name("target"))
    path.symlink_to(target)
    os.chown(path, OTHER_USER_ID, OTHER_USER_ID, follow_symlinks=False)


def link_to_file_of_other_user(path: Path) -> None:
    target = path.rename(Path("elsewhere").absolute())
    path.symlink_to(target)
    give_away(target)


def link_to_writable_file(path: Path) -> None:
    target = path.rename(Path("elsewhere").absolute())
    path.symlink_to(target)
    target.chmod(0o606)


def link_into_writable_folder(path: Path) -> None:
    Path("open").mkdir()
    Path("open").chmod(0o777)
    path.symlink_to(path.rename(Path("open/elsewhere").absolute()))


def make_writable_by_all(path: Path) -> None:
    path.chmod(0o602)


def make_folder_writable_by_all(path: Path) -> None:
    path.parent.chmod(0o777)


UNTRUSTED_CASES = [
    pytest.param(give_away, "belongs to user 54321, who is neither you nor root", marks=needs_root),
    pytest.param(give_link_away, "belongs to user 54321", marks=needs_root),
    pytest.param(link_to_file_of_other_user, "belongs to user 54321", marks=needs_root),
    (link_to_writable_file, "everyone can change it"),
    (link_into_writable_folder, "everyone can replace it"),
    (make_writable_by_all, "everyone can change it"),
    (make_folder_writable_by_all, "everyone can replace it"),
]


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize(("make_untrusted", "message"), UNTRUSTED_CASES)
@pytest.mark.parametrize(
    "command",
    [
        ["chat", "hi", "--dry-run"],
        ["respond", "hi", "--profile", "work"],
        ["config", "get", "n"],
        ["config", "show"],
        ["config", "set", "n", "2"],
        ["config", "unset", "n"],
        ["config", "edit"],
        ["models"],
        ["usage"],
    ],
    ids=" ".join,
)
def test_an_untrusted_config_file_is_not_used(
    command: list[str],
    make_untrusted: MakeUntrusted,
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDITOR", "true")
    path = create_config_folder() / "config.toml"
    path.write_text("key_command = 'touch ran'\nn = 1\n[profiles.work]\nbase_url = 'http://127.0.0.1:9/v1'\n")
    make_untrusted(path)
    assert main(command) == 2
    shown = capfd.readouterr()
    assert (message in shown.err, "hint: " in shown.err, shown.out, Path("ran").exists()) == (True, True, "", False)
    assert "ch" + "mod" in shown.err or "chown" in shown.err


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize(("make_untrusted", "message"), UNTRUSTED_CASES)
@pytest.mark.parametrize("command", [["chat", "-t", "t", "--dry-run"], ["config", "templates", "t"]], ids=" ".join)
def test_an_untrusted_template_is_not_used(
    command: list[str], make_untrusted: MakeUntrusted, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = create_config_folder() / "templates" / "t.toml"
    path.write_text("prompt = 'x'\n")
    make_untrusted(path)
    assert main(command) == 2
    assert (message in (shown := capfd.readouterr()).err, shown.out) == (True, "")


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize(("make_untrusted", "message"), UNTRUSTED_CASES)
def test_an_untrusted_key_file_is_not_used(
    make_untrusted: MakeUntrusted, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = create_config_folder() / "keys.json"
    path.write_text(f'{{"api.aimlapi.com": "{KEY}"}}')
    make_untrusted(path)
    assert main(["chat", "hi"]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o400])
def test_a_file_that_others_can_only_read_is_trusted(mode: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = create_config_folder() / "config.toml"
    path.write_text("base_url = 'https://h/v1'\nkey_command = 'echo'\n")
    path.chmod(mode)
    assert main(["config", "get", "base_url"]) == 0
    assert capfd.readouterr() == ("https://h/v1\n", "")


def test_a_users_own_link_and_a_sticky_folder_are_trusted(capfd: pytest.CaptureFixture[str]) -> None:
    target = Path("dotfiles").absolute()
    target.mkdir()
    target.chmod(0o1777)
    (target / "aiml.toml").write_text("n = 3\n")
    (create_config_folder() / "config.toml").symlink_to(target / "aiml.toml")
    assert main(["config", "get", "n"]) == 0
    assert capfd.readouterr() == ("3\n", "")
    (create_config_folder() / "config.toml").unlink()
    (create_config_folder() / "config.toml").symlink_to(os.devnull)
    assert main(["config", "get", "n"]) == 0


SENSITIVE_SETTINGS = [
    "base_url = 'https://h/v1'",
    "key_command = 'echo'",
    "ca_bundle = '/x'",
    "replay = '/x'",
    "mcp_server = {a = 'https://h/mcp'}",
    "tools = [{type = 'mcp', server_label = 'a'}]",
    'tools = \'[{"type": "x", "server_url": "h"}]\'',
    "[option]\ntools = [{type = 'mcp'}]",
    "[option]\n'a.headers' = 'x'",
    "profile = 'p'\n[profiles.p]\nbase_url = 'https://h/v1'",
]


@pytest.mark.promise("trusted-files")
@pytest.mark.parametrize("text", SENSITIVE_SETTINGS)
def test_a_config_file_that_the_group_can_change_cannot_name_servers_or_commands(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = create_config_folder() / "config.toml"
    path.write_text(text)
    path.chmod(0o664)
    assert main(["chat", "hi", "--dry-run"]) == 2
    shown = capfd.readouterr()
    assert ("is not used: its group can change it, and it sets " in shown.err, shown.out) == (True, "")
    path.chmod(0o644)
    assert main(["config", "get", "n"]) == 0


@pytest.mark.parametrize(
    "text",
    ["model = 'm'", "tools = [{type = 'function', name = 'f'}]", "n = 1\n[profiles.p]\nbase_url = 'https://h/v1'"],
)
def test_other_settings_in_a_file_that_the_group_can_change_give_a_warning(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = create_config_folder() / "config.toml"
    path.write_text(text)
    path.chmod(0o660)
    for _ in range(2):
        assert main(["chat", "hi", "--dry-run", "--demo"]) == 0
    assert capfd.readouterr().err.count(f"aiml: the group of {path} can change it: chmod 600 {path}\n") == 1


def test_quiet_hides_the_warning(capfd: pytest.CaptureFixture[str]) -> None:
    path = create_config_folder() / "config.toml"
    path.write_text("n = 1\n")
    path.chmod(0o660)
    assert main(["chat", "hi", "--dry-run", "--demo", "-q"]) == 0
    assert capfd.readouterr().err == ""


def test_a_template_that_the_group_can_change_is_used() -> None:
    path = create_config_folder() / "templates" / "t.toml"
    path.write_text("prompt = 'x'\n")
    path.chmod(0o664)
    assert main(["chat", "-t", "t", "--dry-run", "--demo", "-q"]) == 0


def test_a_missing_file_is_trusted(tmp_path: Path) -> None:
    assert paths.require_trusted(tmp_path / "nowhere" / "x") is False
    assert paths.require_trusted(tmp_path / "x") is False
