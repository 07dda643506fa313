"""Only a complete answer replaces a file; an incomplete one is kept in a partial file."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiml_cli.errors import OutputFailed, ReaderClosed, UsageError
from aiml_cli.output import output_file
from aiml_cli.output.output_file import OutputFile, is_stdout


def test_a_complete_answer_replaces_the_file(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    target.write_text("old")
    file = OutputFile(str(target))
    file.write(b"new ")
    file.write(b"answer\n")
    assert target.read_text() == "old"
    assert file.close(complete=True) == ""
    assert target.read_bytes() == b"new answer\n"
    assert list(tmp_path.glob("answer*")) == [target]


@pytest.mark.promise("incomplete-answers")
def test_an_incomplete_answer_is_kept_in_a_partial_file(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    target.write_text("old")
    file = OutputFile(str(target))
    file.write(b"so far")
    part = file.close(complete=False)
    assert Path(part).read_text() == "so far"
    assert target.read_text() == "old"


def test_an_answer_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    file = OutputFile(str(tmp_path / "answer.md"))
    assert file.close(complete=False) == ""
    assert list(tmp_path.glob("answer*")) == []


def test_an_empty_answer_that_is_complete_is_an_empty_file(tmp_path: Path) -> None:
    OutputFile(str(tmp_path / "answer.md")).close(complete=True)
    assert (tmp_path / "answer.md").read_bytes() == b""


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_permissions_of_the_old_file_are_kept(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "answer.md"
    target.touch()
    target.chmod(mode)
    file = OutputFile(str(target))
    assert stat.S_IMODE(next(tmp_path.glob("*.part")).stat().st_mode) == mode
    file.close(complete=True)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.md", tmp_path / "link.md"
    target.write_text("old")
    link.symlink_to(target)
    file = OutputFile(str(link))
    file.write(b"new")
    file.close(complete=True)
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.promise("private-files")
def test_no_link_is_followed_when_the_partial_file_is_written(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("keep")
    (tmp_path / "answer.md.part").symlink_to(elsewhere)
    file = OutputFile(str(tmp_path / "answer.md"))
    file.write(b"new")
    assert file.close(complete=False) == str(tmp_path / "answer.md.part1")
    assert elsewhere.read_text() == "keep"


def test_an_earlier_partial_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "answer.md.part").write_text("paid for")
    OutputFile(str(tmp_path / "answer.md")).close(complete=False)
    assert (tmp_path / "answer.md.part").read_text() == "paid for"


@pytest.mark.parametrize("name", ["no/such/folder/answer.md", "folder", "file.txt/answer.md", "x" * 300])
def test_a_path_that_cannot_be_opened_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="cannot be written"):
        OutputFile(str(tmp_path / name))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_is_written_as_it_is() -> None:
    file = OutputFile(os.devnull)
    file.write(b"gone")
    assert file.close(complete=False) == ""
    assert Path(os.devnull).exists()


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = OutputFile(str(fifo))
    file.write(b"through")
    assert os.read(reader, 100) == b"through"
    assert file.close(complete=True) == ""
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    os.close(reader)


@pytest.mark.promise("failed-stdout")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error() -> None:
    file = OutputFile("/dev/full")
    with pytest.raises(OutputFailed, match="No space"):
        file.write(b"x")
    file.close(complete=False)


def test_an_error_names_the_partial_file_if_the_folder_vanished(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    file = OutputFile(str(target))
    file.write(b"the answer")
    target.mkdir()
    part = next(tmp_path.glob("*.part"))
    with pytest.raises(OutputFailed) as failed:
        file.close(complete=True)
    assert str(part) in failed.value.hint
    assert part.read_bytes() == b"the answer"


def test_standard_output_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        file = OutputFile(f"/dev/fd/{out.fileno()}")
        file.write(b"the answer")
        assert file.close(complete=True) == ""
    assert (tmp_path / "out").read_bytes() == b"the answer"
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == ["out"]


@pytest.fixture
def memory_file() -> Iterator[Path]:
    """Return a name in /dev/shm, which is an ordinary folder below /dev."""
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108
        pytest.skip("there is no /dev/shm")
    name = f"aiml-test-{uuid.uuid4().hex}"
    yield Path("/dev/shm", name)  # noqa: S108
    for path in Path("/dev/shm").glob(f"{name}*"):  # noqa: S108
        path.unlink()


@pytest.mark.promise("output-names", "atomic-writes")
@pytest.mark.parametrize("old_content", [None, b"old"])
def test_a_file_below_dev_is_a_file_like_any_other(memory_file: Path, old_content: bytes | None) -> None:
    if old_content is not None:
        memory_file.write_bytes(old_content)
    file = OutputFile(str(memory_file))
    file.write(b"half")
    assert file.close(complete=False) == f"{memory_file}.part"
    assert (memory_file.read_bytes() if memory_file.exists() else None) == old_content
    file = OutputFile(str(memory_file))
    file.write(b"new")
    file.close(complete=True)
    assert memory_file.read_bytes() == b"new"


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", ["n" * 255, "n" * 251, "ä" * 127, "界" * 85, "\U0001f389" * 63, "a" + "\udce4" * 254])
@pytest.mark.parametrize("is_complete", [True, False])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str, is_complete: bool) -> None:
    file = OutputFile(str(tmp_path / name))
    file.write(b"new")
    part = file.close(complete=is_complete)
    assert (tmp_path / name if is_complete else Path(part)).read_bytes() == b"new"
    assert part.endswith("" if is_complete else ".part")


@pytest.mark.promise("output-names")
def test_partial_files_of_long_names_do_not_collide(tmp_path: Path) -> None:
    files = [OutputFile(str(tmp_path / ("n" * 254 + letter))) for letter in "abc"]
    for file, text in zip(files, (b"a", b"b", b"c"), strict=True):
        file.write(text)
    assert [Path(file.close(complete=False)).read_bytes() for file in files] == [b"a", b"b", b"c"]


def test_a_partial_file_is_named_after_the_typed_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub/real")
    for name, part in [("a", "a.part"), ("./a", "./a.part1"), ("sub/../a", "sub/../a.part2"), ("link", None)]:
        file = OutputFile(name)
        file.write(b"x")
        assert file.close(complete=False) == (part or str(tmp_path / "sub/real.part"))


def test_closing_twice_has_no_effect(tmp_path: Path) -> None:
    file = OutputFile(str(tmp_path / "answer.md"))
    file.write(b"new")
    assert [file.close(complete=True), file.close(complete=False)] == ["", ""]
    assert (tmp_path / "answer.md").read_bytes() == b"new"


def test_another_name_of_the_old_file_keeps_the_old_text(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    target.write_text("old")
    (tmp_path / "other").hardlink_to(target)
    file = OutputFile(str(target))
    file.write(b"new")
    file.close(complete=True)
    assert (target.read_text(), (tmp_path / "other").read_text()) == ("new", "old")


def test_a_link_to_a_missing_file_creates_the_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later")
    file = OutputFile(str(tmp_path / "link"))
    file.write(b"new")
    file.close(complete=True)
    assert (tmp_path / "later").read_bytes() == b"new"


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", ["folder/", "new/", "loop", "sock", ".", "..", "/", "", "nul\0byte"])
def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="cannot be written"):
        OutputFile(name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may make a device")
def test_a_block_device_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    except OSError:
        pytest.skip("no device can be made here")
    with pytest.raises(UsageError, match="it is a disk"):
        OutputFile(str(tmp_path / "disk"))


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/dev/./fd/1", "/proc/self/fd/1", "link", "links"])
def test_standard_output_has_many_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "links").symlink_to("link")
    assert is_stdout(name)


@pytest.mark.parametrize(
    "name", [None, "", "--", "./-", "/dev/stderr", "/dev/fd/2", "/dev/fd", "1", "fd/1", "/dev/pts/1"]
)
def test_other_names_are_not_standard_output(name: str | None) -> None:
    assert not is_stdout(name)


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_a_descriptor_is_written_to_whatever_its_type(tmp_path: Path, kind: str) -> None:
    mine, theirs = socket.socketpair()
    reader, writer = os.pipe()
    with (tmp_path / "log").open("wb", buffering=0) as log:
        log.write(b"before ")
        fd = {"pipe": writer, "socket": theirs.fileno(), "file": log.fileno()}[kind]
        (tmp_path / "link").symlink_to(f"/dev/fd/{fd}")
        for name in (f"/dev/fd/{fd}", "link"):
            file = OutputFile(name)
            file.write(b"through ")
            assert file.close(complete=False) == ""
        log.write(b"after")
    found = {
        "pipe": lambda: os.read(reader, 99),
        "socket": lambda: mine.recv(99),
        "file": (tmp_path / "log").read_bytes,
    }
    assert found[kind]() == (b"before through through after" if kind == "file" else b"through through ")
    for end in (reader, writer):
        os.close(end)
    for side in (mine, theirs):
        side.close()


def test_a_descriptor_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    with (tmp_path / "in").open("rb") as source, pytest.raises(UsageError, match="open for reading only"):
        OutputFile(f"/dev/fd/{source.fileno()}")
    with pytest.raises(UsageError, match="Bad file descriptor"):
        OutputFile("/dev/fd/987")


@pytest.mark.promise("closed-pipe")
def test_a_pipe_whose_reader_went_away_is_an_error_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    file = OutputFile(str(tmp_path / "fifo"))
    os.close(reader)
    with pytest.raises(ReaderClosed):
        file.write(b"x")


@pytest.mark.promise("output-names")
@pytest.mark.parametrize("name", ["a", "with space", "tab\there", "back\\slash", "new\nline", "ü"])
def test_a_file_that_something_is_mounted_on_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("old")
    escapes = {"\\": r"\134", " ": r"\040", "\t": r"\011", "\n": r"\012"}
    path = "".join(escapes.get(char, char) for char in str(tmp_path / name))
    (tmp_path / "mounts").write_text(
        f"22 1 0:1 / / rw - ext4 /dev/sda rw\n63 43 254:0 /x {path} rw - ext4 /dev/vda rw\n"
    )
    monkeypatch.setattr(output_file, "MOUNTS", tmp_path / "mounts")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="mount its folder"):
        OutputFile(str(tmp_path / name))
    OutputFile(str(tmp_path / "another")).close(complete=False)
    assert (sorted(tmp_path.iterdir()), (tmp_path / name).read_text()) == (before, "old")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder whose parents every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


WRITE_AS_NOBODY = """
import os, sys
from aiml_cli.errors import UsageError
from aiml_cli.output.output_file import OutputFile
os.setegid(65534)
os.seteuid(65534)  # after the imports, which another user may not be able to read
try:
    file = OutputFile(sys.argv[1])
    file.write(b"new")
    print("part", file.close(complete=True))
except UsageError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.promise("output-names")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "message"),
    [
        (0o777, 0o666, "part "),
        (0o777, 0o644, "cannot be written: Permission denied"),
        (0o755, 0o666, "cannot be replaced: its folder is not writable"),
        (0o1777, 0o666, "cannot be replaced: it belongs to another user"),
        (0o755, None, "cannot be written: Permission denied"),
        (0o1777, None, "part "),
    ],
)
def test_missing_permissions_are_an_error_before_anything_is_sent(
    open_folder: Path, folder_mode: int, file_mode: int | None, message: str
) -> None:

    open_folder.chmod(folder_mode)
    target = open_folder / "answer.md"
    if file_mode is not None:
        target.write_bytes(b"old")
        target.chmod(file_mode)
    before = target.read_bytes() if file_mode is not None else None
    done = subprocess.run(
        [sys.executable, "-c", WRITE_AS_NOBODY, str(target)], capture_output=True, text=True, check=True
    )
    assert message in done.stdout
    if message != "part ":
        assert (sorted(open_folder.iterdir()), target.read_bytes() if target.exists() else None) == (
            [target] if file_mode is not None else [], before,
        )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may make a file immutable")
@pytest.mark.parametrize("attribute", ["i", "a"])
def test_an_immutable_file_is_refused_at_once(tmp_path: Path, attribute: str) -> None:
    target = tmp_path / "answer.md"
    target.write_text("old")
    if subprocess.run(["chattr", f"+{attribute}", target], capture_output=True, check=False).returncode:
        pytest.skip("the file system has no such attribute")
    try:
        with pytest.raises(UsageError, match="cannot be written: Operation not permitted"):
            OutputFile(str(target))
    finally:
        subprocess.run(["chattr", f"-{attribute}", target], check=True)
    assert sorted(tmp_path.glob("answer*")) == [target]


def test_a_program_that_runs_can_be_replaced(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as running:
        file = OutputFile(str(program))
        file.write(b"new")
        file.close(complete=True)
        running.kill()
    assert program.read_bytes() == b"new"


@pytest.mark.promise("stopped-runs")
def test_the_partial_file_of_a_run_has_one_name_and_is_never_overwritten(tmp_path: Path) -> None:
    file = OutputFile("out.jsonl", is_resumable=True)
    file.write(b"{}\n")
    assert file.close(complete=False) == "out.jsonl.part"
    with pytest.raises(UsageError, match=r"out\.jsonl\.part already exists") as failed:
        OutputFile("out.jsonl", is_resumable=True)
    assert "--resume-from out.jsonl.part" in failed.value.hint
    assert (tmp_path / "out.jsonl.part").read_bytes() == b"{}\n"
