"""Code is highlighted slice by slice, in any language."""

import random
import re
from copy import copy
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown import highlight
from aiml_cli.output.markdown.ansi import STYLE
from aiml_cli.output.markdown.highlight import ALIASES, SAFE_LEXERS, CodeHighlighter

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


def highlight_in_slices(language: str, code: str, sizes: list[int]) -> list[str]:
    colors, lines, place = CodeHighlighter(language), code.split("\n"), 0
    drawn: list[str] = []
    for size in [*sizes, len(lines)]:
        if piece := lines[place : place + size]:
            drawn += colors.highlight("\n".join(piece))
        place += size
    return drawn


def read_colors(line: str) -> list[tuple[str, str]]:
    """Return each visible character with its color."""
    color, found = "", []
    for index, piece in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if index % 2:
            color = piece
        else:
            found += [(char, color) for char in piece if char.strip()]
    return found


# What is open where a slice ends: strings, comments, nested ones; a border in the head of a function is another matter.
LANGUAGES_AND_SLICE_SIZES = [
    ("python", 1),
    ("python", 2),
    ("python", 3),
    ("c", 2),
    ("javascript", 3),
    ("sql", 2),
    ("sql", 3),
]
LANGUAGES_AND_SLICE_SIZES += [
    (language, size) for language in ("rust", "json", "diff", "nothing-like-it") for size in (1, 2, 3)
]


@pytest.mark.parametrize(("language", "size"), LANGUAGES_AND_SLICE_SIZES)
def test_strings_and_comments_that_a_slice_leaves_open_keep_their_color(language: str, size: int) -> None:
    code = CODE[language]
    drawn = highlight_in_slices(language, code, [size] * 20)
    assert list(map(read_colors, drawn)) == list(map(read_colors, CodeHighlighter(language).highlight(code)))


@given(st.sampled_from(sorted(CODE)), st.lists(st.integers(1, 5), max_size=10))
def test_no_character_of_the_code_is_lost(language: str, sizes: list[int]) -> None:
    drawn = "\n".join(highlight_in_slices(language, CODE[language], sizes))
    assert STYLE.sub("", drawn) == CODE[language]


@given(
    st.sampled_from(["python", "c", "html", "markdown"]),
    st.text(st.sampled_from("a'\"`/*<#\n \\{}"), max_size=80),
    st.integers(1, 3),
)
def test_no_character_of_random_code_is_lost(language: str, code: str, size: int) -> None:
    assert STYLE.sub("", "\n".join(highlight_in_slices(language, code, [size] * 80))) == code


def test_a_copy_of_a_highlighter_is_independent() -> None:
    colors = CodeHighlighter("python")
    colors.highlight('"""a')
    assert copy(colors).highlight("b") == copy(colors).highlight("b") != CodeHighlighter("python").highlight("b")


# The words that models write after a fence, for which no color would be missed.
COMMON_LANGUAGES = (
    "python py python3 pycon javascript js jsx typescript ts tsx json jsonc html css scss bash sh shell zsh console "
    "powershell ps1 java kotlin swift c cpp c++ csharp cs c# go golang rust rs ruby rb php perl lua r julia scala haskell "
    "elixir sql postgresql mysql sqlite yaml yml toml ini dockerfile makefile cmake nginx diff patch xml svg graphql "
    "protobuf terraform hcl vim latex tex matlab dart groovy http markdown md asm"
)
UNITS = [
    "\\", '"', "'", "`", "(", "[", "{", "<", "=", "-", "%", "/", "*", "#", "$", "a!", "[[", "<<", "<<a ", '"\\', "\\0", "a ", "a.",
    "_", "1", "\u4e16", " \t", "/*", "s!", "$(", "a: ", "- ", "%0", "\n", "a\n", "\\\n",
]  # fmt: skip
CODE_OF_ALL_LANGUAGES = "\n".join(CODE.values())
MAX_GROWTH = 3  # times more than in proportion to the code


def highlight_all(language: str, code: str) -> str:
    return STYLE.sub("", "\n".join(CodeHighlighter(language).highlight(code)))


@pytest.mark.parametrize("name", COMMON_LANGUAGES.split())
def test_the_languages_that_models_name_have_colors(name: str) -> None:
    code = '# a\n- b: 1\n+ c\nHTTP/1.1 200 OK\nserver { listen 80; }\nif (x == 1) { return "s"; }\n<a>b</a>\nmov eax, 1\n[d]\ne = 2\n'
    samples = [code, *code.split("\n"), *CODE_OF_ALL_LANGUAGES.split("\n"), '$ ls "a"', "GET / HTTP/1.1\nHost: a"]
    assert any(STYLE.search("\n".join(CodeHighlighter(name).highlight(each))) for each in samples)


@pytest.mark.parametrize("name", ["", "nothing-like-it", "rst", "batch", "brainfuck", "__init__", "a" * 10_000])
def test_other_languages_are_plain(name: str) -> None:
    assert CodeHighlighter(name).highlight(CODE_OF_ALL_LANGUAGES) == CODE_OF_ALL_LANGUAGES.split("\n")


@pytest.mark.parametrize("name", sorted(SAFE_LEXERS))
def test_no_lexer_changes_the_text(name: str) -> None:
    rng = random.Random(name)  # noqa: S311 - no secret
    wild = "".join(rng.choices("".join(map(chr, range(32, 127))) + "\n\t\xe9\u6f22", k=3000))
    for code in (CODE_OF_ALL_LANGUAGES, wild, "x" * 100_000, "\n" * 1000, *(unit * 60 for unit in UNITS)):
        assert highlight_all(name, code) == code


@pytest.mark.promise("linear-time")
@pytest.mark.parametrize("times_longer", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(SAFE_LEXERS))
def test_each_lexer_takes_linear_time(name: str, times_longer: int) -> None:
    """All units, each alone and in quotation marks, in 4 kB of code and in code that is longer."""
    lines = [f"{start}{unit * 30}" for unit in UNITS for start in ("", '"')]

    def measure_seconds(factor: int) -> float:
        code, began = "\n".join(line for line in lines for _ in range(factor)), process_time()
        CodeHighlighter(name, 10_000_000).highlight(code)
        return process_time() - began

    short = measure_seconds(1)
    # What else runs on the machine makes a run longer, never shorter.
    assert any(measure_seconds(times_longer) < MAX_GROWTH * times_longer * max(short, 0.01) for _ in range(3))


def test_an_error_in_a_lexer_costs_only_the_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    highlighter = CodeHighlighter("python")
    assert STYLE.search(highlighter.highlight("if x: pass")[0])

    def fail(*_arguments: object) -> None:
        raise KeyError

    monkeypatch.setattr(highlight, "_run_lexer", fail)
    assert highlighter.highlight("if y:\n    pass") == ["if y:", "    pass"]
    monkeypatch.undo()
    assert highlighter.highlight("if z: pass") == ["if z: pass"]


def test_long_lines_and_code_beyond_the_budget_are_plain() -> None:
    long = "x = 1; " * 1000
    first = CodeHighlighter("python", 200)
    assert first.highlight(long) == [long]
    assert STYLE.search(first.highlight("if x: pass")[0])
    assert first.highlight("if x: pass\n" * 20) == ("if x: pass\n" * 20).split("\n")
    assert CodeHighlighter("python", first.budget).highlight("if x: pass") == ["if x: pass"]


@pytest.mark.parametrize("nested", ["rst", "racket", "batch"])
@pytest.mark.parametrize("block", ["markdown", "http", "postgresql"])
def test_no_lexer_starts_one_that_is_not_safe(block: str, nested: str) -> None:
    codes = {
        "markdown": f"```{nested}\n{'%s'}\n```\n",
        "http": f"HTTP/1.1 200 OK\nContent-Type: text/x-{nested}\n\n{'%s'}\n",
        "postgresql": f"CREATE FUNCTION f() RETURNS int LANGUAGE {nested} AS $$\n{'%s'}\n$$;\n",
    }
    code = codes[block] % ('"' + "\\" * 60)
    assert highlight_all(block, code) == code


def test_every_alias_has_a_lexer() -> None:
    assert set(ALIASES.values()) <= SAFE_LEXERS
    assert all(CodeHighlighter(name)._lexer for name in [*ALIASES, *SAFE_LEXERS])  # noqa: SLF001
