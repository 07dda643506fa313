"""The marks inside of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.output.markdown.inline import Span, parse_spans
from aiml_cli.system.sanitize import sanitize


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\nb", [("a b", "")]),
        ("**a** *b*", [("a", "1"), (" ", ""), ("b", "3")]),
        ("***a***", [("a", "3;1")]),
        ("~~a~~ `b*c*`", [("a", "9"), (" ", ""), ("b*c*", "36")]),
        ("2 * 3 * 4", [("2 * 3 * 4", "")]),
        ("snake_case_name", [("snake_case_name", "")]),
        ("[a](http://b.c)", [("a", "4"), (" (http://b.c)", "2")]),
        ("<http://b.c>", [("http://b.c", "4")]),
        ("<a@b.c>", [("a@b.c", "4")]),
        ("![a](http://b.c/d.png)", [("[a]", "3"), (" (http://b.c/d.png)", "2")]),
        ("a[^1].", [("a", ""), ("[1]", "2"), (".", "")]),
        ("a  \nb\\\nc", [("a", ""), ("\n", ""), ("b", ""), ("\n", ""), ("c", "")]),
        ("<b>a</b> &amp; \\*", [("<b>a</b> & *", "")]),
        ("[a][b] [c]", [("[a][b] [c]", "")]),
        ("**open", [("**open", "")]),
    ],
)
def test_marks_become_styles(text: str, found: list[tuple[str, str]]) -> None:
    assert [span for span in _joined(parse_spans(text)) if span.text] == found


def _joined(found: list[Span]) -> list[Span]:
    """Join neighbours of one style: how many there are is nobody's business."""
    joined: list[Span] = []
    for span in found:
        if joined and joined[-1].style == span.style and "\n" not in (span.text, joined[-1].text):
            joined[-1] = Span(joined[-1].text + span.text, span.style)
        else:
            joined.append(span)
    return joined


@pytest.mark.promise("no-driving")
@pytest.mark.parametrize(
    "text", ["&#27;[2J", "`&#27;`&#x202e;", "[a](http://b.c/&#x202e;)", "[&#x202e;a](b)", "![a&#27;](b&#x9b;)", "<http://a.b/&#27;>", "&#13;&#8;", "[a](b '&#27;')"]
)  # fmt: skip
def test_an_entity_drives_no_terminal(text: str) -> None:
    assert [span.text for span in parse_spans(text)] == [sanitize(span.text) for span in parse_spans(text)]


@pytest.mark.promise("no-driving")
@given(
    st.lists(
        st.sampled_from(
            [
                "&#27;",
                "&#x202e;",
                "&#xE0041;",
                "*",
                "_",
                "`",
                "[",
                "](",
                ")",
                "<",
                ">",
                "!",
                "http://a",
                "\\",
                "  \n",
                "&shy;",
                "x",
            ]
        )
    ).map("".join)
)
def test_no_mixture_of_marks_and_entities_drives_a_terminal(text: str) -> None:
    assert all(span.text == "\n" or span.text == sanitize(span.text) for span in parse_spans(text))
