"""Inline Markdown: emphasis, links, code, formulas and the few tags that are drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.inline import Span, parse_html, parse_spans
from aiml_cli.output.markdown.inline_syntax import Target
from aiml_cli.system.sanitize import sanitize
from aiml_cli.system.terminal import GREEN

REFERENCES = {"b": Target("http://b.c"), "titled": Target("/u", "T")}
Styled = list[tuple[str, str]]


def read_styles(spans: list[Span]) -> Styled:
    """Return text and style of the spans; neighbors of one style are one text."""
    joined: Styled = []
    for span in spans:
        if joined and joined[-1][1] == span.style:
            joined[-1] = joined[-1][0] + span.text, span.style
        elif span.text:
            joined.append((span.text, span.style))
    return joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", [("a\nb", "")]),
        ("**a** *b*", [("a", "1"), (" ", ""), ("b", "3")]),
        ("***a***", [("a", "3;1")]),
        ("*a **b** c*", [("a ", "3"), ("b", "3;1"), (" c", "3")]),
        ("**a *b***", [("a ", "1"), ("b", "1;3")]),
        ("*foo**bar**baz*", [("foo", "3"), ("bar", "3;1"), ("baz", "3")]),
        ("**open", [("**open", "")]),
        ("2 * 3 * 4", [("2 * 3 * 4", "")]),
        ("snake_case_name", [("snake_case_name", "")]),
        ("_a_ __b__", [("a", "3"), (" ", ""), ("b", "1")]),
        ("~~a~~ ~b~", [("a", "9"), (" ", ""), ("b", "9")]),
        ("3~5 or 7~9", [("3~5 or 7~9", "")]),
        ("~~~a~~~", [("~~~a~~~", "")]),
        ("`b*c*` ``a`b``", [("b*c*", GREEN), (" ", ""), ("a`b", GREEN)]),
        ("`a\nb` ` `` `", [("a b", GREEN), (" ", ""), ("``", GREEN)]),
        ("\\``", [("``", "")]),
        ("a  \nb\\\nc", [("a  \nb\nc", "")]),
        ("\\*a\\* \\a", [("*a* \\a", "")]),
        ("<b>a</b> &amp; &copy; &nope; &#65;&#x42;&#0;", [("<b>a</b> & © &nope; AB\ufffd", "")]),
    ],
)
def test_marks_become_styles(text: str, expected: Styled) -> None:
    assert read_styles(parse_spans(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**注意\uff1a**请", [("注意\uff1a", "1"), ("请", "")]),
        ("**「重要」**です", [("「重要」", "1"), ("です", "")]),
        ("これは**「重要」**です", [("これは", ""), ("「重要」", "1"), ("です", "")]),
        ("**스크립트(script)**라고", [("스크립트(script)", "1"), ("라고", "")]),
        ("**“重要”**的", [("“重要”", "1"), ("的", "")]),
        ("a**あ、**b", [("a", ""), ("あ、", "1"), ("b", "")]),
        ("a**(b)**c", [("a**(b)**c", "")]),
    ],
)
def test_emphasis_next_to_cjk_characters_needs_no_space(text: str, expected: Styled) -> None:
    assert read_styles(parse_spans(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](http://b.c)", [("a", "4"), (" (http://b.c)", "2")]),
        ("[a](<b c> 'd')", [("a", "4"), (' (b c "d")', "2")]),
        ("[a](b(c)d)", [("a", "4"), (" (b(c)d)", "2")]),
        ("[a](b", [("[a](b", "")]),
        ("[*a*](b)", [("a", "4;3"), (" (b)", "2")]),
        ("[a [b](c)](d)", [("[a ", ""), ("b", "4"), (" (c)", "2"), ("](d)", "")]),
        ("<http://b.c> <a@b.c>", [("http://b.c", "4"), (" ", ""), ("a@b.c", "4")]),
        ("http://b.c/d_e_f, x", [("http://b.c/d_e_f", "4"), (", x", "")]),
        ("(see www.b.c/(d))", [("(see ", ""), ("www.b.c/(d)", "4"), (")", "")]),
        ("**http://b.c**", [("http://b.c", "1;4")]),
        ("http://b.c。请", [("http://b.c", "4"), ("。请", "")]),
        ("![a](http://b.c/d.png)", [("[a]", "3"), (" (http://b.c/d.png)", "2")]),
        ("![*a* [b](c)](d)", [("[a b]", "3"), (" (d)", "2")]),
        ("![](d)", [("[image]", "3"), (" (d)", "2")]),
        ("[![a](b)](c)", [("[a]", "4;3"), (" (b) (c)", "2")]),
        ("a[^1].", [("a", ""), ("[1]", "2"), (".", "")]),
        ("[b]", [("b", "4"), (" (http://b.c)", "2")]),
        ("[a][b] [a][ B ]", [("a", "4"), (" (http://b.c)", "2"), (" ", ""), ("a", "4"), (" (http://b.c)", "2")]),
        ("[titled][]", [("titled", "4"), (' (/u "T")', "2")]),
        ("[a][c] [c]", [("[a][c] [c]", "")]),
        ("[a](https://\u0435xample.com/\u00fc)", [("a", "4"), (" (https://xn--xample-2of.com/\u00fc)", "2")]),
    ],
)
def test_links_show_their_address(text: str, expected: Styled) -> None:
    assert read_styles(parse_spans(text, REFERENCES)) == expected


def test_the_text_of_a_link_knows_its_address() -> None:
    spans = [*parse_spans("[a](http://b.c/1)"), *parse_spans("www.d.e")]
    assert [(span.text, span.link) for span in spans if span.link] == [
        ("a", "http://b.c/1"),
        ("www.d.e", "http://www.d.e"),
    ]


def test_data_in_an_address_is_shortened() -> None:
    (_, address) = read_styles(parse_spans(f"![a](data:image/png;base64,{'A' * 100_000})"))
    assert address[0] == " (data:image/png;base64,AAAAAAAA… (100,022 characters))"


@pytest.mark.parametrize(
    "formula",
    ["$a*b*c$", "$x$", "\\\\(x*y*z\\\\)", "\\\\[a*b*c\\\\]", "$$a_1 * b_2$$", "\\(x*y*\\)", "\\[ \\frac{a}{b} \\\\ _c_ \\]", "$\\alpha_1 \\$ *x*$",
     "\\begin{pmatrix} a & b \\\\ c & *d* \\end{pmatrix}"],
)  # fmt: skip
@pytest.mark.parametrize("surroundings", ["{}", "so {} *is*", "**{}**", "函数{}是"])
def test_formulas_are_shown_as_they_are_written(formula: str, surroundings: str) -> None:
    spans = parse_spans(surroundings.format(formula))
    assert [span.text for span in spans if GREEN in span.style.split(";")] == [formula]


@pytest.mark.parametrize(
    "text",
    ["$5 and *$6*", "from $10-$20 *a*", "\\$a*b* $", "$ a*b* $", "a$ *b* c$ d", "\\(\\) *x*", "\\[a](b) *x*",
     "\\[Short words.\\]", "\\(see below\\)"],
)  # fmt: skip
def test_prices_and_escaped_dollars_are_not_formulas(text: str) -> None:
    assert not [span for span in parse_spans(text) if GREEN in span.style]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<br>b<BR/>c<br />\nd", "a\nb\nc\nd"),
        ("H<sub>2</sub>O", "H₂O"),
        ("x<sup>10</sup> y<sup>n+1</sup>", "x¹⁰ yⁿ⁺¹"),
        ("x<sup>A</sup> x<sub>big one</sub>", "x^A x_(big one)"),
        ("<sup>*a*</sup>", "^(*a*)"),
        ("<details><summary>s</summary>", "▸ s"),
        ("<u>a</u> <img src='b'> <!-- c -->", "<u>a</u> <img src='b'> <!-- c -->"),
        ("1 < 2 <3", "1 < 2 <3"),
    ],
)
def test_a_few_tags_are_drawn_and_all_others_are_text(text: str, expected: str) -> None:
    assert "".join(span.text for span in parse_html(text)) == expected


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize(
    "text", ["&#27;[2J", "`&#27;`&#x202e;", "[a](http://b.c/&#x202e;)", "[&#x202e;a](b)", "![a&#27;](b&#x9b;)", "<http://a.b/&#27;>", "&#13;&#8;", "[a](b '&#27;')"]
)  # fmt: skip
def test_entities_cannot_control_the_terminal(text: str) -> None:
    assert [span.text for span in parse_spans(text)] == [sanitize(span.text) for span in parse_spans(text)]


MARKS = [
    "&#27;", "&#x202e;", "&#xE0041;", "*", "_", "`", "[", "](", ")", "<", ">", "!", "http://a", "\\", "  \n", "&shy;",
    "x", "$", "~", "<br>", "<sub>", "\\(", "\\)", "www.", "[^1]", "注",
]  # fmt: skip
MARKDOWN = st.lists(st.sampled_from(MARKS)).map("".join)


@pytest.mark.promise("terminal-control")
@given(MARKDOWN)
def test_no_mixture_of_marks_and_entities_controls_the_terminal(text: str) -> None:
    assert all(sanitize(span.text) == span.text for span in parse_spans(text))


@given(st.text(alphabet="ab c\n*_[]()!<>&`$\\", max_size=60))
def test_every_letter_is_shown_in_order(text: str) -> None:
    shown = iter("".join(span.text for span in parse_spans(text)))
    assert all(letter in shown for letter in text if letter.isalpha())
