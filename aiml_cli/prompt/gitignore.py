"""Find the files below a folder that Git ignores, by .gitignore files and .git/info/exclude."""

import codecs
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aiml_cli.system.atomic_write import read_bounded

IGNORE_FILE = ".gitignore"
MAX_BYTES = 1024 * 1024  # of a file of rules
# The regular expressions of pathspec for `*`, `/**/`, and a pattern for every folder.
_STAR, _DEEP, _ANYWHERE = "[^/]*", "(?:/.+)?/", "^(?:.+/)?"


class IgnoreRule(NamedTuple):
    """A line of an ignore file: a file that it matches is ignored, or with `!` not ignored."""

    regex: "re.Pattern[str]"
    is_ignored: bool


class IgnoreRules:
    """The rules that apply below a folder.

    In a repository they begin at its root, elsewhere at the folder itself. Rules of a deeper folder take
    precedence over those of a folder above it, and later lines over earlier ones.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder or ".")
        root = _find_repository(self._folder)
        self._root = root or self._folder
        self._exclude = _read_rules(_find_exclude_file(root)) if root else ()
        self._rules: dict[str, Sequence[IgnoreRule]] = {}

    def is_ignored(self, path: str, *, is_dir: bool) -> bool:
        """True if the rules match a path, relative to the folder; folders above it are not checked."""
        full = os.path.join(self._folder, path)  # noqa: PTH118 - faster: runs for each file
        parent = os.path.dirname(full)  # noqa: PTH120 - as above
        while parent.startswith(self._root):
            if (found := _match(self._load_rules(parent), full[len(parent.rstrip("/")) + 1 :], is_dir)) is not None:
                return found
            if parent == self._root:
                break
            parent = os.path.dirname(parent)  # noqa: PTH120 - as above
        return bool(_match(self._exclude, full[len(self._root.rstrip("/")) + 1 :], is_dir))

    def _load_rules(self, folder: str) -> Sequence[IgnoreRule]:
        if folder not in self._rules:
            self._rules[folder] = _read_rules(Path(folder, IGNORE_FILE))
        return self._rules[folder]


def _match(rules: Sequence[IgnoreRule], path: str, is_dir: bool) -> bool | None:
    """Return the result of the last rule that matches, or None if none does."""
    if not rules:
        return None
    name = os.fsencode(f"{path}/" if is_dir else path).decode("latin-1")
    return next((rule.is_ignored for rule in reversed(rules) if rule.regex.fullmatch(name)), None)


def _find_repository(folder: str) -> str:
    """Return the root of the repository that a folder is in, "" if it is in none."""
    above = (str(path) for path in (Path(folder), *Path(folder).parents))
    return next((path for path in above if os.path.lexists(f"{path}/.git")), "")


def _find_exclude_file(root: str) -> Path:
    """Return the path of the repository's own rules; in a worktree or submodule, a `.git` file names the folder."""
    path = Path(root, ".git")
    if path.is_file():
        path = Path(root, _read_line(path).removeprefix("gitdir:").strip())
        common = path / "commondir"
        path = path / _read_line(common) if common.is_file() else path
    return path / "info/exclude"


def _read_line(path: Path) -> str:
    return os.fsdecode(_read_text(path).encode("latin-1")).partition("\n")[0].strip()


def _read_text(path: Path) -> str:
    """Return the bytes of a regular file, each as a character; "" if there is none or it cannot be read.

    As in Git, links are not followed and patterns match bytes.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ""
        return read_bounded(path, MAX_BYTES).removeprefix(codecs.BOM_UTF8).decode("latin-1")
    except (OSError, ValueError):
        return ""


def _read_rules(path: Path) -> Sequence[IgnoreRule]:
    """Return the rules of a file."""
    lines = (line.removesuffix("\r") for line in _read_text(path).split("\n"))
    return tuple(rule for line in lines if line.strip() and (rule := _parse_rule(line)))


def _parse_rule(line: str) -> IgnoreRule | None:
    """Return the rule of a line; None for a comment and for an invalid pattern, which Git skips too."""
    import warnings  # few prompts have a folder, as with pathspec

    from pathspec import GitIgnoreSpec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the regular expression for a pattern such as [[]
        try:
            pattern = next(iter(GitIgnoreSpec.from_lines([line]).patterns))
            if pattern.include is None or pattern.regex is None:
                return None
            return IgnoreRule(re.compile(_make_exact(pattern.regex.pattern), re.DOTALL), pattern.include)
        except (ValueError, re.error):
            return None


def _make_exact(regex: str) -> str:
    """Return a regular expression that matches the path itself but not files below it, in linear time.

    The expression of pathspec may match any part of a path if it has no anchor.
    """
    is_open = not regex.endswith(("$)", "(?P<ps_d>/)"))
    start = "" if regex.startswith("^") else ".*"
    return start + _make_linear(regex) + ("" if not is_open else ".+" if regex.endswith("/") else ".*")


def _make_linear(regex: str) -> str:
    """Return a regular expression that does not backtrack into the text between two `**`, or two `*`.

    The first match is as good as any other, because the next wildcard matches the remaining text.
    """
    head, *parts = (_make_stars_linear(part) for part in regex.split(_DEEP))
    if not parts:
        return head
    if head.startswith(_ANYWHERE):
        head = f"^(?>(?:.+?/)??{head[len(_ANYWHERE) :]}(?=/))"
    *middle, last = parts
    return head + "".join(f"(?>(?:/.+?)??/{part}(?=/))" for part in middle) + _DEEP + last


def _make_stars_linear(regex: str) -> str:
    head, *pieces = re.sub(rf"(?:{re.escape(_STAR)})+", lambda _: _STAR, regex).split(_STAR)
    if not pieces:
        return head
    *middle, last = pieces
    return head + "".join(f"(?>{_STAR}?{piece})" for piece in middle) + _STAR + last
