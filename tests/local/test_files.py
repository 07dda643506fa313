"""Config and key files: damaged, replaced by folders or links, and written by concurrent or killed processes."""

import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.forked_process import run_process
from support.loopback import HELLO, Loopback
from support.run_cli import Aiml, build_command

SECRET = "canary-0123456789"
# One interpreter makes all writers: a hundred starts would take a minute.
KILLED_WRITERS_SCRIPT = """
import os, signal, sys, time
from aiml_cli.store import api_keys, config_edit as config
import tomlkit
config.set_value("seed", "1")
api_keys.store_key("a.example", "1" * 3000)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            for seed in "1", "2":
                config.set_value("seed", seed)
                config.set_value("system", seed * 3000)
                api_keys.store_key("a.example", seed * 3000)
    time.sleep(int(line) / 1e6)  # any moment will do: the later writer may be anywhere
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""
FIFTY_WRITERS_SCRIPT = """
import os, sys
from aiml_cli.store import api_keys, config_edit as config
import tomlkit
start, go = os.pipe()
children = []
for n in range(50):
    children.append(os.fork())
    if not children[-1]:
        os.close(go)
        os.read(start, 1)
        config.set_value("option", f"a{n}=1")
        api_keys.store_key(f"{n}.example", "k" * 3000)
        os._exit(0)
os.close(go)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.fixture
def folder() -> Path:
    """Return the directory of config and keys."""
    return Path(os.environ["XDG_CONFIG_HOME"]) / "aiml"


@pytest.mark.promise("atomic-writes")
def test_a_hundred_killed_writers_leave_config_and_keys_intact(folder: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITERS_SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as nest:
        assert nest.stdin
        assert nest.stdout
        for _ in range(100):
            nest.stdin.write(b"%d\n" % chance.randint(0, 20_000))
            nest.stdin.flush()
            assert nest.stdout.readline() == b"killed\n"
            check_files_are_whole(folder)
        nest.stdin.close()
        assert nest.wait(30) == 0
    assert run_process(build_command("config", "set", "seed", "7"), check=False).returncode == 0
    assert sorted(each.name for each in folder.iterdir() if not each.name.endswith(".lock")) == [
        ".keys.json.new", "config.toml", "keys.json",
    ][0 if (folder / ".keys.json.new").exists() else 1 :]  # fmt: skip


def check_files_are_whole(folder: Path) -> None:
    settings = tomllib.loads((folder / "config.toml").read_text())
    assert settings["seed"] in (1, 2)
    assert settings.get("system", "1" * 3000) in ("1" * 3000, "2" * 3000)
    assert json.loads((folder / "keys.json").read_text())["a.example"] in ("1" * 3000, "2" * 3000)
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}


@pytest.mark.promise("atomic-writes")
def test_fifty_concurrent_writers_lose_nothing(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FIFTY_WRITERS_SCRIPT], timeout=60, check=False)
    assert done.returncode == 0
    assert tomllib.loads((folder / "config.toml").read_text())["option"] == {f"a{n}": 1 for n in range(50)}
    assert set(json.loads((folder / "keys.json").read_text())) == {f"{n}.example" for n in range(50)}


DAMAGED_CONFIGS = [b"seed = ", b"seed = 1\nseed = 2\n", b"\xff\xfe\0", b"[profiles\n", b"\0" * 100, b'seed = "x"\n']


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize("damage", DAMAGED_CONFIGS)
@pytest.mark.parametrize(
    "words", [["chat", "hi"], ["config", "set", "n", "2"], ["config", "unset", "n"], ["config", "show"]]
)
def test_a_damaged_config_is_reported_and_not_changed(
    words: list[str], damage: bytes, folder: Path, server: Loopback, aiml: Aiml
) -> None:
    folder.mkdir()
    file = folder / "config.toml"
    file.write_bytes(damage)
    done = aiml(*words)
    if words[1] in ("set", "unset", "show") and damage == b'seed = "x"\n':
        return  # a bad value is one that can be mended with these
    assert (done.returncode, server.requests, file.read_bytes()) == (2, [], damage)
    assert done.stderr.startswith(f"aiml: {file}".encode())
    assert b"Traceback" not in done.stderr


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize("name", ["config.toml", "keys.json"])
def test_a_directory_in_place_of_a_file_is_reported(name: str, folder: Path, server: Loopback, aiml: Aiml) -> None:
    """File modes do not stop root, but nobody can read a directory as a file."""
    (folder / name).mkdir(parents=True)
    server.answer_with(HELLO)
    for words in ["chat", "hi"], ["config", "set", "n", "2"], ["config", "key", "--stdin"]:
        done = aiml(*words, stdin=SECRET.encode())
        assert done.returncode in (0, 1, 2)
        assert done.returncode == 0 or f"{folder / name}: Is a directory" in done.stderr.decode()
        assert b"Traceback" not in done.stderr
        assert SECRET.encode() not in done.stderr
    assert (folder / name).is_dir()


@pytest.mark.promise("damaged-config")
@pytest.mark.parametrize("damage", [b"{", b"[]", b"\xff", b'{"127.0.0.1:1": 1}', b"null", b'{"a": "canary-0123456789"'])
def test_a_damaged_key_file_is_reported_and_not_changed(
    damage: bytes, folder: Path, server: Loopback, aiml: Aiml
) -> None:
    folder.mkdir()
    file = folder / "keys.json"
    file.write_bytes(damage)
    for words in ["chat", "hi"], ["config", "key", "--stdin"]:
        done = aiml(*words, stdin=b"canary-0123456789")
        assert (done.returncode, server.requests, file.read_bytes()) == (2, [], damage)
        assert str(file).encode() in done.stderr
        assert SECRET.encode() not in done.stderr


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("name", ["config.toml", "keys.json"])
def test_nothing_is_written_through_a_link(name: str, folder: Path, tmp_path: Path, aiml: Aiml) -> None:
    folder.mkdir()
    target = tmp_path / "theirs"
    target.write_text("{}" if name == "keys.json" else "")
    before = target.read_bytes()
    (folder / name).symlink_to(target)
    words = ["config", "set", "n", "2"] if name == "config.toml" else ["config", "key", "--stdin"]
    done = aiml(*words, stdin=SECRET.encode())
    assert (done.returncode, target.read_bytes(), (folder / name).is_symlink()) == (2, before, True)
    assert b"is a symbolic link" in done.stderr


@pytest.mark.promise("private-files")
@pytest.mark.parametrize("umask", ["0", "0777", "0022"])
def test_all_files_are_readable_only_by_their_owner(umask: str, tmp_path: Path, server: Loopback) -> None:
    server.answer_with(HELLO)
    for place in tmp_path.glob("xdg*"):
        place.rmdir()
    environ = {**os.environ, "AIML_BASE_URL": server.url}
    line = 'umask "$0"; "$@" chat hi && echo canary-0123456789 | "$@" config key --stdin && "$@" config set n 2'
    done = subprocess.run(
        ["/bin/sh", "-c", line, umask, *build_command()], env=environ, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, b"Hello"), done.stderr
    found = [each for place in tmp_path.glob("xdg*") for each in (place, *place.rglob("*"))]
    assert {each.stat().st_mode & 0o777 for each in found if each.is_dir()} == {0o700}
    assert {each.stat().st_mode & 0o777 for each in found if each.is_file()} == {0o600}
    assert {"config.toml", "keys.json"} <= {each.name for each in found}
