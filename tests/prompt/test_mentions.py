"""A word `@path` is a file when something is there, and a word otherwise."""

from pathlib import Path

import pytest

from aiml_cli.prompt.compose import extract_mentions

CASES = [
    (["sum", "up", "@a.txt"], "sum up a.txt", ["a.txt"]),
    (["compare @a.txt with @b c.txt"], "compare @a.txt with @b c.txt", []),
    (["@b c.txt", "now"], "b c.txt now", ["b c.txt"]),
    (["@a.txt"], "", ["a.txt"]),
    (["@a.txt", "@dir"], "", ["a.txt", "dir"]),
    (["@a.txt", "and", "@a.txt"], "a.txt and a.txt", ["a.txt"]),
    (["ask", "@nobody"], "ask @nobody", []),
    (["me@a.txt", "(@a.txt)"], "me@a.txt (@a.txt)", []),
    (["@@a.txt"], "@a.txt", []),
    (["@@a.txt", "@a.txt"], "@a.txt a.txt", ["a.txt"]),
    (["@"], "@", []),
    (["read", "@https://x.test/y"], "read https://x.test/y", ["https://x.test/y"]),
    (["@" + "x" * 5000], "@" + "x" * 5000, []),
    (["@~no-such-user-here/x"], "@~no-such-user-here/x", []),
    (["why", "is  it\n?"], "why is  it\n?", []),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text", "names"), CASES)
def test_a_word_with_an_at_sign(words: list[str], text: str, names: list[str], tmp_path: Path) -> None:
    for name in ("a.txt", "b c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "dir").mkdir()
    assert extract_mentions(words) == (text, names)
