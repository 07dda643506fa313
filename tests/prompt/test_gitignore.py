"""Folders and ** leave out the files that Git ignores, as Git itself does."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.prompt.decode_text import SizeLimit
from aiml_cli.prompt.file_sources import FileFinder
from aiml_cli.prompt.gitignore import IgnoreRules

GIT_ENVIRON = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": "/nonexistent"}
MAX_RATIO = 60  # of the time for an input that is ten times as long


def run_git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env={**os.environ, **GIT_ENVIRON}, capture_output=True, text=True, check=True
    )
    return done.stdout


def write_files(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def list_unignored(folder: Path) -> list[str]:
    """List the files below a folder with our rules."""
    rules, found = IgnoreRules(str(folder)), []
    for root, folders, files in os.walk(folder):
        start = "" if Path(root) == folder else f"{Path(root).relative_to(folder)}/"
        folders[:] = [name for name in folders if name != ".git" and not rules.is_ignored(start + name, is_dir=True)]
        found += [start + name for name in files if not rules.is_ignored(start + name, is_dir=False)]
    return sorted(found)


def list_by_git(folder: Path) -> list[str]:
    """List them with Git; no example has a folder that is a repository of its own."""
    return sorted(filter(None, run_git("ls-files", "-coz", "--exclude-standard", cwd=folder).split("\0")))


RULES = [
    "*.o", "build/", "/build", "build", "**/build", "a/**", "a/**/c", "/a/*", "!keep.o", "*", "**", "*/", "!*/", "!*.py",
    "# comment", "", "  ", "\\#x", "\\!x", "a b", "trailing ", "escaped\\ ", "[ab].txt", "[!a].txt", "[a-c]*", "?.txt",
    "a/b/c.txt", "b/c.txt", "/c.txt", "é", "?", "*é*", "x\r", "foo*bar", "a*/b*/c*", "**/b/**", "/**/c.txt", "[", "a[",
]  # fmt: skip
FILES = [
    "keep.o", "x.o", "build/y", "a/build", "a/b/build/z", "a/b/c.txt", "a/b/x/c.txt", "c.txt", "a.txt", "d.txt", "a b",
    "#x", "!x", "trailing", "trailing ", "escaped ", "é", "m.py", "a/m.py", "foobar", "fooxbar", "x", "a/x", "build2/é/q",
]  # fmt: skip


@pytest.mark.promise("ignored-files")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["", "a/", "a/b/", "build/"]),
        st.lists(st.sampled_from(RULES), min_size=1, max_size=4),
        max_size=3,
    ),
    st.lists(st.sampled_from(RULES), max_size=2),
)
def test_the_files_left_out_are_those_that_git_ignores(
    tmp_path_factory: pytest.TempPathFactory, rules: dict[str, list[str]], own: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("repository")
    run_git("init", "-q", ".", cwd=folder)
    write_files(folder, **{name.replace("/", "__"): "x" for name in FILES})
    for place, lines in rules.items():
        (folder / place / ".gitignore").write_bytes("\n".join(lines).encode())
    (folder / ".git/info/exclude").write_text("\n".join(own) + "\n")
    assert list_unignored(folder) == list_by_git(folder)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_alone_means_what_it_means_to_git(tmp_path: Path, rule: str) -> None:
    run_git("init", "-q", ".", cwd=tmp_path)
    write_files(tmp_path, **{name.replace("/", "__"): "x" for name in FILES})
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf" + rule.encode() + b"\n")
    assert list_unignored(tmp_path) == list_by_git(tmp_path)


def test_a_worktree_has_the_rules_of_its_repository(tmp_path: Path) -> None:
    write_files(tmp_path, main__a="x")
    run_git("init", "-q", ".", cwd=tmp_path / "main")
    run_git(
        "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x", cwd=tmp_path / "main"
    )
    run_git("worktree", "add", "-q", "../tree", cwd=tmp_path / "main")
    (tmp_path / "main/.git/info/exclude").write_text("*.log\n")
    write_files(tmp_path / "tree", **{"a.log": "x", "b": "x"})
    assert "a.log" not in list_unignored(tmp_path / "tree")
    assert "b" in list_unignored(tmp_path / "tree")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "*b", "a"),
        ("?*" * 20 + "z", "a"),
        ("**/" + "a/**/" * 20 + "z", "a/"),
        ("**/*a*b/**/*a*c/**/x", "aab/"),
        ("[a-z]*" * 10 + "!", "q"),
    ],
)
def test_a_rule_with_many_wildcards_is_matched_in_linear_time(tmp_path: Path, pattern: str, path: str) -> None:
    (tmp_path / ".gitignore").write_text(pattern + "\n")
    rules = IgnoreRules(str(tmp_path))
    rules.is_ignored("x", is_dir=False)

    def measure_seconds(count: int) -> float:
        start = time.process_time()
        for _ in range(10):
            rules.is_ignored(path * count, is_dir=False)
        return time.process_time() - start

    # The garbage collector may run in one of the measurements.
    assert any(measure_seconds(1000) < MAX_RATIO * max(measure_seconds(100), 0.001) for _ in range(3))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with ignored files, below a folder with rules that do not count."""
    root = tmp_path / "outer/repository"
    root.mkdir(parents=True)
    run_git("init", "-q", ".", cwd=root)
    write_files(tmp_path / "outer", **{".gitignore": "*.py\n"})
    texts = {
        ".gitignore": "build/\n*.log\n!keep.log\n.env\n", "src__.gitignore": "local.txt\n!a.log\n", "src__a.py": "a",
        "src__a.log": "log", "src__b.log": "log", "src__keep.log": "log", "src__local.txt": "x", "local.txt": "x",
        "build__out.js": "js", "build__.gitignore": "", ".env": "K", ".github__w.yml": "yml", "src__.hidden__x": "x",
    }  # fmt: skip
    write_files(root, **texts)
    monkeypatch.chdir(root)
    return root


def refuse_fetch(url: str) -> tuple[bytes, str]:
    pytest.fail(url)


Find = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def find(repository: Path) -> Find:
    """Return a function that lists the files that names stand for, and the notices."""

    def run(*names: str) -> tuple[list[str], list[str]]:
        notices: list[str] = []
        finder = FileFinder(SizeLimit(), refuse_fetch, notices.append)
        return [file.name for name in names for file in finder.find(name)], notices

    return run


@pytest.mark.promise("ignored-files")
@pytest.mark.parametrize(
    ("name", "names", "left_out"),
    [
        (".", ["./local.txt", "./src/a.log", "./src/a.py", "./src/keep.log"], "left out: 6 hidden, 3 ignored by Git"),
        ("src", ["src/a.log", "src/a.py", "src/keep.log"], "left out: 2 hidden, 2 ignored by Git"),
        ("src/", ["src/a.log", "src/a.py", "src/keep.log"], "left out: 2 hidden, 2 ignored by Git"),
        ("**/*", ["local.txt", "src/a.log", "src/a.py", "src/keep.log"], "left out: 3 ignored by Git"),
        ("**", ["local.txt", "src/a.log", "src/a.py", "src/keep.log"], "left out: 3 ignored by Git"),
        ("**/*.log", ["src/a.log", "src/keep.log"], "left out: 2 ignored by Git"),
        ("src/**/*.txt", [], ""),
        ("build", ["build/out.js"], "left out: 1 hidden"),
        ("build/*.js", ["build/out.js"], ""),
        ("build/**/*.js", ["build/out.js"], ""),
        ("src/*.log", ["src/a.log", "src/b.log", "src/keep.log"], ""),
        ("src/b.log", ["src/b.log"], ""),
        (".env", [".env"], ""),
        (".en*", [".env"], ""),
        ("**/.env", [".env"], ""),
        (".github", [".github/w.yml"], ""),
        (".github/**", [".github/w.yml"], ""),
        ("**/.hidden/*", ["src/.hidden/x"], ""),
    ],
)
def test_folders_and_deep_patterns_leave_it_out_and_explicit_names_win(
    name: str, names: list[str], left_out: str, find: Find
) -> None:
    if not names:
        with pytest.raises(UsageError, match="no file matches") as raised:
            find(name)
        assert raised.value.hint == "left out: 1 ignored by Git"
        return
    found, notices = find(name)
    assert found == names
    assert any(line.endswith(left_out) for line in [*notices, ""] if left_out or not line)


def test_outside_of_a_repository_only_the_rules_below_the_folder_count(tmp_path: Path, find: Find) -> None:
    write_files(
        tmp_path / "plain",
        **{".gitignore": "*.md\n", "in__.gitignore": "*.x\n", "in__a.x": "1", "in__b.md": "2", "in__c": "3"},
    )
    assert find(str(tmp_path / "plain"))[0] == [str(tmp_path / "plain/in/c")]
    assert find(str(tmp_path / "plain/in"))[0] == [f"{tmp_path}/plain/in/b.md", f"{tmp_path}/plain/in/c"]


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "unreadable"])
def test_a_gitignore_that_is_not_a_regular_file_is_skipped(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ".gitignore"
    if kind == "link":
        write_files(tmp_path, rules="*.a\n")
        path.symlink_to("rules")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"x\n" * 1_000_000)
    assert not IgnoreRules(str(tmp_path)).is_ignored("x.a", is_dir=False)


@pytest.mark.promise("ignored-files")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["src", "src/a.py"], ["src/a.log", "src/a.py", "src/keep.log"]),
        (["src/a.py", "src"], ["src/a.py", "src/a.log", "src/keep.log"]),
        (["src/a.py", "./src/a.py", "src/../src/a.py"], ["src/a.py"]),
        (["src/*.py", "src/a.*"], ["src/a.py", "src/a.log"]),
        (["src", "src"], ["src/a.log", "src/a.py", "src/keep.log"]),
        (["link.py", "src/a.py"], ["link.py"]),
    ],
)
def test_no_file_is_sent_twice(arguments: list[str], names: list[str], repository: Path, find: Find) -> None:
    (repository / "link.py").symlink_to("src/a.py")
    assert find(*arguments)[0] == names
