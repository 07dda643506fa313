"""Code coloured slice by slice."""

import re
from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.ansi import STYLE
from aiml_cli.output.markdown.highlight import CodeHighlighter

CODE = {
    "python": 'x = """a\nb\'\nc"""\n\n@d\ndef f(x: int) -> str:\n    """One.\n\n    # no comment\n    """\n    return f"{x}" + \'y\'  # comment\n\nclass C:\n    y = 1.5\n',
    "c": '/* a\n * b\n */\nint main(void) { // c\n  char *s = "/*";\n  return 0x1f;\n}\n',
    "javascript": "const s = `a\n${b}\nc`; // d\n/* e\nf */\nfunction g() { return /x/.test('y'); }\n",
    "sql": "SELECT a, 'b\nc' FROM d -- e\nWHERE f = 1 /* g\nh */;\n",
    "rust": '/* a /* b\n*/ c */\nfn main() { let s = "d\ne"; println!("{}", s); }\n',
    "html": '<!-- a\nb -->\n<p class="c\nd">e</p>\n<script>\nlet x = 1;\n</script>\n',
    "yaml": "a: |\n  b\n  c: d\ne: [f, 'g']\n# h\n",
    "bash": 'cat <<END\na $b\nEND\nif [ "$x" = 1 ]; then echo \'c\nd\'; fi # e\n',
    "json": '{"a": [1, true, null],\n "b": "c"}\n',
    "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-c\n+d\n",
    "nothing-like-it": "a \x2a b\n",
}  # fmt: skip


def sliced(language: str, code: str, sizes: list[int]) -> list[str]:
    colours, lines, place = CodeHighlighter(language), code.split("\n"), 0
    drawn: list[str] = []
    for size in [*sizes, len(lines)]:
        if piece := lines[place : place + size]:
            drawn += colours.highlight("\n".join(piece))
        place += size
    return drawn


def colours_of(line: str) -> list[tuple[str, str]]:
    """Give each character that can be seen with its colour."""
    colour, found = "", []
    for index, piece in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if index % 2:
            colour = piece
        else:
            found += [(char, colour) for char in piece if char.strip()]
    return found


# What is open where a slice ends: strings, comments, nested ones; a border in the head of a function is another matter.
OPEN = [("python", 1), ("python", 2), ("python", 3), ("c", 2), ("javascript", 3), ("sql", 2), ("sql", 3)]
OPEN += [(language, size) for language in ("rust", "json", "diff", "nothing-like-it") for size in (1, 2, 3)]


@pytest.mark.parametrize(("language", "size"), OPEN)
def test_what_a_slice_leaves_open_is_carried_on(language: str, size: int) -> None:
    code = CODE[language]
    drawn = sliced(language, code, [size] * 20)
    assert list(map(colours_of, drawn)) == list(map(colours_of, CodeHighlighter(language).highlight(code)))


@given(st.sampled_from(sorted(CODE)), st.lists(st.integers(1, 5), max_size=10))
def test_no_character_of_the_code_is_lost(language: str, sizes: list[int]) -> None:
    drawn = "\n".join(sliced(language, CODE[language], sizes))
    assert STYLE.sub("", drawn) == CODE[language]


@given(
    st.sampled_from(["python", "c", "html", "markdown"]),
    st.text(st.sampled_from("a'\"`/*<#\n \\{}"), max_size=80),
    st.integers(1, 3),
)
def test_wild_code_loses_nothing_either(language: str, code: str, size: int) -> None:
    assert STYLE.sub("", "\n".join(sliced(language, code, [size] * 80))) == code


def test_a_copy_goes_its_own_way() -> None:
    colours = CodeHighlighter("python")
    colours.highlight('"""a')
    assert copy(colours).highlight("b") == copy(colours).highlight("b") != CodeHighlighter("python").highlight("b")
