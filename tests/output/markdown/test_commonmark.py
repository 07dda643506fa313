"""The structure of Markdown is that of CommonMark and GFM, compared with the specification and other programs."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from support.fake_terminal import draw_at_once, split_text
from support.markdown_outline import list_texts, read_expected, read_gfm, read_outline

from aiml_cli.output.markdown.ansi import strip_styles

SPECIFICATION = Path(__file__).parents[3] / "build/spec/package/spec.txt"
EXAMPLE = re.compile(r"^`{32} example[^\n]*\n(.*?)^\.\n(.*?)^`{32}$", re.DOTALL | re.MULTILINE)
COMMONMARK = MarkdownIt("commonmark")
# A tag that we draw, and addresses that GFM makes links.
DRAWN_TAGS = re.compile(r"</?pre[^<>]*>")
DRAWN_DIFFERENTLY = re.compile(r"</pre>\n</td>|^<?[^<]*https://(?:foo\.bar/baz bim|foo\.bar |example\.com)")
PIECES = [
    "a", "b", "\n", "\n\n", "- ", "  ", "    ", "1. ", "2. ", "> ", "```\n", "~~~\n", "# ", "## ", "|", "|-|-|\n",
    "|-|\n", "| a | b |\n", "| x |\n", "---\n", "===\n", "*", "**", "_", "`", "``", "[a]", "[a](u)", "<div>\n", "</div>\n",
    "<b>", "![i](u)", "\\", "<!-- c -->", "1) ", "+ ", "* ", "***\n", "c d", " ", "   ", "~~", "&amp;", "<a@b.c>", "-",
    "\n- ", "\n1. ", "\n  ", "\n    ", "\n> ", "\\|", ":-:|:-\n",
]  # fmt: skip


def read_examples() -> Iterator[tuple[str, str]]:
    """Yield the examples of the specification: Markdown and HTML."""
    text = SPECIFICATION.read_text() if SPECIFICATION.exists() else ""
    for match in EXAMPLE.finditer(text.replace("→", "\t")):
        yield match[1], match[2]


def normalize_html(html: str) -> str:
    """Return HTML without the blanks between tags."""
    return re.sub(r">\s+<", "><", html)


EXAMPLES = list(read_examples())
needs_specification = pytest.mark.skipif(not EXAMPLES, reason="`make spec` fetches the specification's examples")
needs_cmark = pytest.mark.skipif(not shutil.which("cmark-gfm"), reason="the package cmark-gfm is not installed")


@needs_specification
@pytest.mark.promise("markdown")
def test_every_example_of_the_specification_has_the_expected_structure() -> None:
    wrong = []
    for markdown, html in EXAMPLES:
        assert normalize_html(COMMONMARK.render(markdown)) == normalize_html(html)  # the oracle is right
        if read_outline(markdown) != read_expected(markdown, COMMONMARK) and not DRAWN_DIFFERENTLY.search(markdown):
            wrong.append((markdown, read_outline(markdown), read_expected(markdown, COMMONMARK)))
    assert wrong == []
    assert len(EXAMPLES) > 600


@needs_specification
@pytest.mark.promise("markdown")
def test_every_example_has_the_same_structure_however_it_arrives() -> None:
    rng = random.Random(1)  # noqa: S311 - no secret
    for markdown, _ in EXAMPLES:
        pieces = list(split_text(markdown, [rng.randint(1, 5) for _ in range(20)]))
        assert read_outline(markdown, pieces) == read_outline(markdown)


@needs_specification
@pytest.mark.promise("markdown")
@pytest.mark.parametrize("columns", [80, 40])
def test_every_example_shows_its_text_in_order(columns: int) -> None:
    for markdown, _ in EXAMPLES:
        shown = iter("".join(strip_styles("\n".join(draw_at_once(markdown, columns))).split()))
        expected = DRAWN_TAGS.sub("", "".join(list_texts(read_outline(markdown))))
        assert all(char in shown for char in expected if char.isalnum()), markdown


@needs_cmark
@pytest.mark.parametrize("seed", range(4))
def test_random_texts_have_the_same_structure_as_in_cmark_gfm(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(150):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 14)))
        assert read_outline(text) == read_gfm(text), text
