"""A name given to -f is a file, the texts of a folder, the files of a pattern or an address."""

import os
import re
from pathlib import Path

import pytest

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit, format_size
from aiml_cli.prompt.file_sources import FileContent, FileFinder, is_image_url

Notices = list[str]


def refuse_fetch(url: str) -> tuple[bytes, str]:
    pytest.fail(url)


def find_files(name: str, notices: Notices | None = None, budget: SizeLimit | None = None) -> list[tuple[str, bytes]]:
    notify = pytest.fail if notices is None else notices.append
    return [(each.name, each.data) for each in FileFinder(budget or SizeLimit(), refuse_fetch, notify).find(name)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with texts, and with other files."""
    for path in ("src/b.py", "src/a.py", "src/sub/c.md", "src/.git/config", "src/.env"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "src/photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "src/late.bin").write_bytes(b"text" * 5000 + b"\0")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "src/link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "src/pipe")
    return tmp_path


@pytest.mark.parametrize("name", ["src", "src/"])
def test_a_folder_gives_its_texts_in_order_and_names_what_is_left_out(name: str, folder: Path) -> None:
    notices = Notices()
    assert find_files(name, notices) == [(path, path.encode()) for path in ("src/a.py", "src/b.py", "src/sub/c.md")]
    assert notices == [f"{name}: 3 files, 28 bytes; left out: 2 hidden, 3 not text, 1 linked"]


def test_a_folder_without_texts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(UsageError, match="src: this folder contains no text files"):
        find_files("src")


def test_a_folder_with_too_many_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for number in range(1001):
        (tmp_path / "src" / str(number)).touch()
    with pytest.raises(UsageError, match="more than 1,000 files"):
        find_files("src")
    with pytest.raises(UsageError, match="1,001 files match"):
        find_files("src/*")


def test_a_folder_with_too_much_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_bytes(b"a" * 10_000_001)
    with pytest.raises(UsageError, match="more than 10 MB of text"):
        find_files("src")


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("src/*.py", ["src/a.py", "src/b.py"]),
        ("src/?.py", ["src/a.py", "src/b.py"]),
        ("src/[b-z].py", ["src/b.py"]),
        ("src/**/*.md", ["src/sub/c.md"]),
    ],
)
def test_a_glob_gives_the_files_that_match_in_order(glob: str, names: list[str], folder: Path) -> None:
    assert [name for name, _ in find_files(glob)] == names


def test_a_pattern_that_matches_nothing_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("src/*.rs: no file matches")):
        find_files("src/*.rs")


def test_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("1")
    assert find_files("a[1].txt") == [("a[1].txt", b"1")]


def test_an_endless_file_is_refused_while_it_is_read() -> None:
    with pytest.raises(UsageError, match=r"/dev/zero: more than 2\.0 MB"):
        find_files("/dev/zero", budget=SizeLimit(2_000_000))


def test_the_size_limit_applies_to_all_files_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 600)
    budget = SizeLimit(1000)
    find_files("a", budget=budget)
    with pytest.raises(UsageError, match=r"a: more than 1\.0 kB"):
        find_files("a", budget=budget)


def test_an_address_is_fetched_and_counted() -> None:
    def fetch(url: str) -> tuple[bytes, str]:
        return url.encode(), 'text/plain; Charset="KOI8-R"; x=y'

    assert list(FileFinder(SizeLimit(), fetch, pytest.fail).find("https://x.test/a")) == [
        FileContent("https://x.test/a", b"https://x.test/a", "koi8-r")
    ]
    with pytest.raises(UsageError):
        list(FileFinder(SizeLimit(3), fetch, pytest.fail).find("https://x.test/a"))


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("https://x.test/a.png", True),
        ("HTTP://x.test/a.JPEG?size=1", True),
        ("https://x.test/a?b=c.png", False),
        ("https://x.test/", False),
        ("a.png", False),
        ("ftp://x.test/a.png", False),
    ],
)
def test_an_address_with_the_extension_of_an_image_is_sent_as_an_image(name: str, *, is_image: bool) -> None:
    assert is_image_url(name) is is_image


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (4_500_000, "4.5 MB"),
        (64 << 20, "64 MiB"),
    ],
)
def test_sizes_are_written_as_file_managers_write_them(count: int, expected: str) -> None:
    assert format_size(count) == expected


@pytest.fixture
def folder_with_links(tmp_path: Path) -> Path:
    """Make a folder with links to itself, to its parent, to a file and a folder outside, and to a file inside."""
    for path in ("p/a.txt", "p/sub/b.txt", "outside/c.txt", "d.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    for link, target in {
        "p/up": "..", "p/self": ".", "p/sub/up": "../..", "p/out": "../outside", "p/d.txt": "../d.txt",
        "p/again.txt": "a.txt", "p/loop": "loop", "p/z.txt": "/etc/hostname", "q": "p",
    }.items():  # fmt: skip
        (tmp_path / link).symlink_to(target)
    return tmp_path


GLOBS_WITH_LINKS = [
    ("p/**/*.txt", ["p/a.txt", "p/sub/b.txt"], 3),
    ("./p/**/*.txt", ["./p/a.txt", "./p/sub/b.txt"], 3),
    ("p/**", ["p/a.txt", "p/sub/b.txt"], 3),
    ("p/**/**/b.txt", ["p/sub/b.txt"], 0),
    ("p/*/*.txt", ["p/self/a.txt", "p/sub/b.txt"], None),
    ("p/*.txt", ["p/a.txt"], 3),
    ("q/*.txt", ["q/a.txt"], 3),
    ("p/out/*.txt", ["p/out/c.txt"], 0),
    ("**/b.txt", ["p/sub/b.txt"], 0),
]


@pytest.mark.promise("folders")
@pytest.mark.parametrize(("glob", "names", "left_out"), GLOBS_WITH_LINKS)
def test_a_glob_gives_each_file_once_and_stays_inside(
    glob: str, names: list[str], left_out: int | None, folder_with_links: Path
) -> None:
    notices = Notices()
    assert [name for name, _ in find_files(glob, notices)] == names
    if left_out == 0:
        assert notices == []
    elif left_out:
        assert notices[0].startswith(f"{glob}: {len(names)} file")
        assert f"left out: {left_out} linked" in notices[0]


def test_a_link_to_a_hidden_file_in_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "p/.data").mkdir(parents=True)
    (tmp_path / "p/.data/a").write_text("a")
    (tmp_path / "p/a.txt").symlink_to(".data/a")
    assert find_files("p/*.txt") == [("p/a.txt", b"a")]


@pytest.mark.promise("folders")
def test_a_link_that_the_user_names_is_followed(folder_with_links: Path) -> None:
    assert find_files("p/d.txt") == [("p/d.txt", b"d.txt")]


@pytest.mark.promise("folders")
def test_a_pattern_that_matches_only_links_says_so(folder_with_links: Path) -> None:
    with pytest.raises(UsageError, match="no file matches") as refused:
        find_files("p/d*.txt")
    assert "1 linked" in refused.value.hint


@pytest.mark.promise("folders")
def test_a_folder_with_links_to_itself_ends(folder_with_links: Path) -> None:
    notices = Notices()
    assert [name for name, _ in find_files("p", notices)] == ["p/a.txt", "p/sub/b.txt"]
    assert "8 linked" in notices[0]


def test_a_deep_folder_is_matched(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["d"] * 300)
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("deep")
    assert [data for _, data in find_files("d/**/a.txt")] == [b"deep"]
