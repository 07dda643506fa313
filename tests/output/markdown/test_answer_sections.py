"""An answer on a terminal is divided into reasoning in tags, JSON and Markdown."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_terminal import Terminal, split_text
from support.loopback import Loopback, delta, stream
from support.pty_run import run_on_pty

from aiml_cli.output.markdown.ansi import strip_styles
from aiml_cli.output.markdown.answer_sections import AnswerSections
from aiml_cli.output.markdown.json_section import JsonSection
from aiml_cli.output.markdown.live_renderer import MarkdownStream

DOCUMENT = {
    "__init__": ["*a*", 'say "hi"\\', "1. x", "漢字 😀"],
    "numbers": [1, -2.5, 1e300, True, False, None],
    "empty": [{}, [], ""],
    "deep": {"a": [[[{"b": {"c": []}}]]]},
    "long": "word " * 60,
}


def draw(text: str, sizes: list[int], *, is_json: bool = False, hides_reasoning: bool = False) -> str:
    """Draw a text that arrives in pieces, with a look at the open lines after each."""
    sections = AnswerSections(is_json=is_json, hides_reasoning=hides_reasoning)
    for piece in split_text(text, sizes):
        sections.feed(piece, 79)
        sections.open_lines(79, 24)
    sections.finish(79)
    return strip_styles("\n".join(sections.finished))


# ---- JSON


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("indent", [None, 0, 4])
@pytest.mark.parametrize("document", [DOCUMENT, [DOCUMENT, 1], {}, [], [[1, 2], [3]], ["a", "b"], [None]])
def test_json_is_indented_and_its_strings_are_unchanged(document: Any, indent: int | None, size: int) -> None:
    for ensure_ascii in (True, False):
        text = json.dumps(document, indent=indent, ensure_ascii=ensure_ascii)
        assert draw(text, [size]) == json.dumps(document, indent=2, ensure_ascii=ensure_ascii)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON_VALUES.filter(lambda value: isinstance(value, dict | list)), st.lists(st.integers(1, 9), min_size=1))
def test_any_json_is_drawn_completely(value: Any, sizes: list[int]) -> None:
    assert draw(json.dumps(value), sizes, is_json=True) == json.dumps(value, indent=2)


@given(st.text(st.sampled_from("{}[]\",:\\ \n1-.eatrufls'/x"), max_size=40), st.integers(1, 5))
def test_no_character_of_malformed_json_is_lost(text: str, size: int) -> None:
    section, taken = JsonSection(), 0
    for piece in split_text(text, [size]):
        if not section.is_over:
            section.feed(piece, 79)
            taken += len(piece)
    section.finish(79)
    assert "".join(strip_styles("".join(section.finished)).split()) == "".join(text[:taken].split())


@pytest.mark.parametrize(
    "text",
    ["[link](url)", "[x] task", "[ ] task", "[1] See", "[1, 2] say so", "[1]: note", "{}", "{name}", '["a"](b)', "[", "{"],
)  # fmt: skip
def test_text_that_only_begins_like_json_is_markdown(text: str) -> None:
    assert draw(text + " and **bold**", [1]) == draw("x " + text + " and **bold**", [1])[2:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}\n\nIt is **so**.', '{\n  "a": 1\n}\n\nIt is so.'),
        ('{"a": 1}\n{"b": 2}\n', '{\n  "a": 1\n}\n\n{\n  "b": 2\n}'),
        ('{"a": 1, // one\n *b* }', '{\n  "a": 1,\n// one\n *b* }'),
        ('{"a": "b', '{\n  "a": "b'),
        ('{"a": "b\\', '{\n  "a": "b\n\\'),
        ('\n  {"a": tru', '{\n  "a": \ntru'),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_text_after_json_and_broken_json_is_shown(text: str, expected: str, size: int) -> None:
    lines = [line.rstrip() for line in draw(text, [size]).split("\n")]
    assert lines == [line.rstrip() for line in expected.split("\n")]


@pytest.mark.parametrize("text", ["Sorry, **no**.", "```json\n{}\n```", "1. one", "true story"])
def test_an_answer_without_json_is_markdown_even_if_json_was_asked_for(text: str) -> None:
    assert draw(text, [1], is_json=True) == draw(text, [1])


def test_a_long_string_is_shown_while_it_grows_and_ends_as_one_line() -> None:
    terminal = Terminal(40, 10)
    page = MarkdownStream(terminal.write, {})
    for index in range(60):
        page.feed('{"a": "' if not index else f"w{index:02} ", terminal.size)
        page.draw(terminal.size)
        assert not index or f"w{index:02}" in "".join(line.rstrip() for line in terminal.screen.display)
    page.feed('"}', terminal.size)
    page.finish(terminal.size)
    assert "".join(terminal.read_lines()).count("w33") == 1


@pytest.mark.parametrize("arguments", [["--json-object"], ["--schema", "a"], []])
def test_json_is_drawn_on_a_terminal(arguments: list[str], server: Loopback) -> None:
    server.answer_with(stream(delta('{"a": "__init__'), delta(' *x*"}'), delta(finish="stop")))
    wrote, code, screen = run_on_pty(server, "chat", "hi", *arguments)
    lines = [line.rstrip() for line in screen.display]
    assert (code, lines[:3]) == (0, ["{", '  "a": "__init__ *x*"', "}"])
    assert b"\x1b[32m" in wrote


# ---- reasoning in tags

TAGS = ["think", "thinking", "thought", "THINK"]


def list_piece_sizes(text: str) -> Iterator[list[int]]:
    yield [1]
    yield [10_000]
    yield from ([size, 10_000] for size in range(1, len(text)))


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("start", ["", "\n", "  \n "])
def test_reasoning_in_tags_is_separated_from_the_answer_wherever_it_is_cut(tag: str, start: str) -> None:
    text = f"{start}<{tag}>\nHm *so*\n\nwell </\n\n</{tag}>\n\n# Yes\n"
    for sizes in list_piece_sizes(text):
        assert draw(text, sizes) == "Hm *so*\n\nwell </\n\nYes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nnever closed", "never closed"),
        ("<think></think>\n\nYes", "Yes"),
        ("<think>\n\n</think>Yes", "Yes"),
        ('<think>a</think>{"b":1}', 'a\n\n{\n  "b": 1\n}'),
        ("<think>a</think>", "a"),
        ("<think>\u0130\u0130\u0130\u0130</think>Yes", "\u0130\u0130\u0130\u0130\n\nYes"),  # longer in lower case
        ("a <think>b</think>", "a <think>b</think>"),
        ("<thinker>a", "<thinker>a"),
        ("<thin", "<thin"),
        ("", ""),
    ],
)
def test_tags_elsewhere_are_text(text: str, expected: str) -> None:
    for sizes in list_piece_sizes(text):
        assert draw(text, sizes) == expected


def test_reasoning_is_dim_and_hidden_on_request() -> None:
    sections = AnswerSections(is_json=False, hides_reasoning=False)
    sections.feed("<think>a</think>b", 79)
    sections.finish(79)
    assert sections.finished == ["\x1b[2ma\x1b[m", "", "b"]
    assert draw("<think>a\nb</think>\n\nc", [3], hides_reasoning=True) == "c"


def test_a_terminal_shows_reasoning_without_tags_and_a_file_with_them(server: Loopback, empty_home: Any) -> None:
    pieces = [delta(piece) for piece in ("<th", "ink>Hm</thi", "nk>\n\nYes")]
    server.answer_with(stream(*pieces, delta(finish="stop")))
    _, _, screen = run_on_pty(server, "chat", "hi")
    assert [line.rstrip() for line in screen.display][:3] == ["Hm", "", "Yes"]
    server.answer_with(stream(*pieces, delta(finish="stop")))
    run_on_pty(server, "chat", "hi", "-o", "answer.md")
    assert (empty_home / "answer.md").read_text() == "<think>Hm</think>\n\nYes\n"


def test_each_choice_is_json_or_reasoning_by_itself(server: Loopback) -> None:
    pieces = [delta("one **x**"), delta('{"a": "*b*"}', index=1), delta("<think>hm</think>yes", index=2)]
    server.answer_with(stream(*pieces, *(delta(finish="stop", index=index) for index in range(3))))
    _, code, screen = run_on_pty(server, "chat", "hi", "-n", "3")
    lines = [line.rstrip() for line in screen.display if line.strip() and not line.startswith("─")]
    assert (code, lines) == (0, ["one x", "Choice 2:", "{", '  "a": "*b*"', "}", "Choice 3:", "hm", "yes"])
