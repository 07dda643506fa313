"""Private files are written completely or not at all, with concurrent writers and after a kill."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.system import atomic_write

SIZE = 300_000
REPLACE_FOREVER = """
import os, sys
from pathlib import Path
from aiml_cli.system import atomic_write as write
os.umask(0)
while True:
    for letter in b"AB":
        write.replace_file(Path(sys.argv[1]), bytes([letter]) * int(sys.argv[2]))
        os.write(1, b".")
"""
ADD_LINES = """
import sys
from pathlib import Path
from aiml_cli.system import atomic_write as write
for n in range(10):
    write.update_file(Path(sys.argv[1]), lambda old: (old or b"") + f"{sys.argv[2]} {n}\\n".encode())
"""
REPLACE_ON_FULL_DISK = """
import resource, sys
from pathlib import Path
from aiml_cli.errors import OutputFailed
from aiml_cli.system import atomic_write as write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write.replace_file(Path(sys.argv[1]), b"n" * 5000)
except OutputFailed as fault:
    print(fault.message, "|", fault.hint)
"""


def read_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "aiml" / "file"


@pytest.fixture(params=[0, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def build_python_command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


@pytest.mark.promise("private-files")
@pytest.mark.usefixtures("umask")
def test_files_are_private_whatever_the_umask(file: Path) -> None:
    atomic_write.replace_file(file, b"1")
    atomic_write.replace_file(file, b"2")
    assert file.read_bytes() == b"2"
    assert [read_mode(each) for each in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]
    assert {read_mode(each) for each in file.parent.iterdir()} == {0o600}


@pytest.mark.promise("private-files")
@pytest.mark.usefixtures("umask")
def test_a_file_that_was_open_to_others_is_private_after_a_rewrite(file: Path) -> None:
    atomic_write.replace_file(file, b"1")
    file.chmod(0o666)
    file.parent.chmod(0o755)
    atomic_write.replace_file(file, b"1")
    assert (read_mode(file), read_mode(file.parent)) == (0o600, 0o700)


@pytest.mark.promise("atomic-writes")
def test_a_writer_that_is_killed_leaves_a_whole_file(file: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(20):
        with subprocess.Popen(build_python_command(REPLACE_FOREVER, file, SIZE), stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.read(chance.randint(1, 40))
            writer.kill()
        found = file.read_bytes()
        assert found in (b"A" * SIZE, b"B" * SIZE)
        assert {read_mode(each) for each in file.parent.iterdir()} == {0o600}
    atomic_write.replace_file(file, b"after")
    assert file.read_bytes() == b"after"
    assert sorted(each.name for each in file.parent.iterdir()) == [".file.lock", "file"]


@pytest.mark.promise("atomic-writes")
def test_concurrent_writers_lose_nothing(file: Path) -> None:
    writers = [subprocess.Popen(build_python_command(ADD_LINES, file, name)) for name in range(10)]
    assert [writer.wait(60) for writer in writers] == [0] * 10
    lines = file.read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {n}" for name in range(10) for n in range(10))


@pytest.mark.promise("atomic-writes")
def test_a_full_disk_leaves_the_old_file(file: Path) -> None:
    atomic_write.replace_file(file, b"old")
    output = subprocess.run(
        build_python_command(REPLACE_ON_FULL_DISK, file), capture_output=True, text=True, check=True
    ).stdout
    assert output == f"{file}: File too large | the file was not changed\n"
    assert file.read_bytes() == b"old"
    assert sorted(each.name for each in file.parent.iterdir()) == [".file.lock", "file"]


@pytest.mark.promise("atomic-writes")
def test_a_change_that_fails_leaves_the_old_file_and_no_lock_held(file: Path) -> None:
    def fail(_old: bytes | None) -> bytes:
        raise UsageError("no")

    atomic_write.replace_file(file, b"old")
    with pytest.raises(UsageError, match=r"^no$"):
        atomic_write.update_file(file, fail)
    assert file.read_bytes() == b"old"
    atomic_write.replace_file(file, b"new")


def test_without_a_change_no_file_is_created(file: Path) -> None:
    atomic_write.update_file(file, lambda _: None)
    assert not file.exists()


@pytest.mark.promise("private-files")
def test_a_link_in_place_of_the_file_is_refused(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"theirs")
    atomic_write.make_private_folder(file.parent)
    file.symlink_to(target)
    with pytest.raises(UsageError, match=r"symbolic link to .*elsewhere"):
        atomic_write.replace_file(file, b"ours")
    assert file.is_symlink()
    assert target.read_bytes() == b"theirs"


@pytest.mark.promise("private-files")
def test_a_prepared_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    target = create_link_to_other_file(file.parent / ".file.new", tmp_path)
    atomic_write.replace_file(file, b"ours")
    assert (target.read_bytes(), read_mode(target), read_mode(file)) == (b"theirs", 0o644, 0o600)


def test_a_link_in_place_of_the_lock_is_an_error(file: Path, tmp_path: Path) -> None:
    target = create_link_to_other_file(file.parent / ".file.lock", tmp_path)
    with pytest.raises(OutputFailed, match="symbolic links"):
        atomic_write.replace_file(file, b"ours")
    assert (target.read_bytes(), read_mode(target)) == (b"theirs", 0o644)


def create_link_to_other_file(link: Path, tmp_path: Path) -> Path:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"theirs")
    target.chmod(0o644)
    atomic_write.make_private_folder(link.parent)
    link.symlink_to(target)
    return target


def test_an_existing_file_is_not_overwritten(file: Path) -> None:
    atomic_write.create_file(file, b"old")
    with pytest.raises(OutputFailed, match="File exists"):
        atomic_write.create_file(file, b"new")
    assert file.read_bytes() == b"old"


def test_a_parent_that_is_not_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="Not a directory") as told:
        atomic_write.replace_file(tmp_path / "file" / "x" / "y", b"")
    assert told.value.exit_code == 1
