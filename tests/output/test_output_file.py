"""Only a complete answer takes the file's place; what came is never lost."""

import os
import stat
from pathlib import Path

import pytest

from aiml_cli.errors import OutputFailed, UsageError
from aiml_cli.output.output_file import OutputFile


def test_a_complete_answer_takes_the_files_place(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    target.write_text("old")
    file = OutputFile(str(target))
    file.write(b"new ")
    file.write(b"answer\n")
    assert target.read_text() == "old"
    assert file.close(complete=True) == ""
    assert target.read_bytes() == b"new answer\n"
    assert list(tmp_path.glob("answer*")) == [target]


@pytest.mark.promise("whole-or-told")
def test_an_incomplete_answer_stays_beside_the_file(tmp_path: Path) -> None:
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
def test_the_modes_of_the_old_file_are_kept(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "answer.md"
    target.touch()
    target.chmod(mode)
    file = OutputFile(str(target))
    assert stat.S_IMODE(next(tmp_path.glob(".*.part")).stat().st_mode) == mode
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
def test_no_link_is_followed_out_of_the_part(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("keep")
    (tmp_path / "answer.md.part").symlink_to(elsewhere)
    file = OutputFile(str(tmp_path / "answer.md"))
    file.write(b"new")
    assert file.close(complete=False) == str(tmp_path / "answer.md.part1")
    assert elsewhere.read_text() == "keep"


def test_an_earlier_part_is_kept(tmp_path: Path) -> None:
    (tmp_path / "answer.md.part").write_text("paid for")
    OutputFile(str(tmp_path / "answer.md")).close(complete=False)
    assert (tmp_path / "answer.md.part").read_text() == "paid for"


@pytest.mark.parametrize("name", ["no/such/folder/answer.md", "folder", "file.txt/answer.md", "x" * 300])
def test_a_path_that_cannot_be_opened_is_misuse(tmp_path: Path, name: str) -> None:
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


@pytest.mark.promise("stdout-fails")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told() -> None:
    file = OutputFile("/dev/full")
    with pytest.raises(OutputFailed, match="No space"):
        file.write(b"x")
    file.close(complete=False)


def test_a_place_that_vanished_is_told_with_where_the_answer_is(tmp_path: Path) -> None:
    target = tmp_path / "answer.md"
    file = OutputFile(str(target))
    file.write(b"the answer")
    target.mkdir()
    part = next(tmp_path.glob(".*.part"))
    with pytest.raises(OutputFailed) as failed:
        file.close(complete=True)
    assert str(part) in failed.value.hint
    assert part.read_bytes() == b"the answer"


def test_the_standard_output_itself_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        file = OutputFile(f"/dev/fd/{out.fileno()}")
        file.write(b"the answer")
        assert file.close(complete=True) == ""
    assert (tmp_path / "out").read_bytes() == b"the answer"
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == ["out"]
