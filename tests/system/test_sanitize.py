"""Text of others cannot control a terminal, however it is cut; ordinary text is unchanged."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loopback import Loopback, delta, http_response, json_response, stream
from support.pty_run import run_on_pty
from support.run_cli import Aiml

from aiml_cli.system.sanitize import MAX_MARKS, Sanitizer, sanitize

SPECIAL_CHARACTERS = "\x1b\x9b\x07\r\x08\x7f\x90\u202e\u2066\u200f\u200b\ufeff\u2028\u200c\u200d\ufe0f\ufe00\u0301\u094d\u0915\u06cc\u0645\u2764\U000e0041\U000e0100\U0001f468\U0001f3fd\ud800[]0m;\n\t ab"
TEXT = st.text(st.characters(exclude_categories=[]) | st.sampled_from(SPECIAL_CHARACTERS))
# Signs that are seen, though the tables call them controls: the numbers and years of Arabic, Syriac and Kaithi.
VISIBLE_FORMAT_CHARACTERS = set(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
ORDINARY_TEXTS = [
    "",
    "tabs\tand\nlines\n",
    "Grüße, 世界, 안녕하세요, かな",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "\U0001f3f3\ufe0f\u200d\U0001f308 \u2764\ufe0f\u200d\U0001f525 1\ufe0f\u20e3",
    "\U0001f469\U0001f3fd\u200d\U0001f680 \U0001f642\u200d\u2194\ufe0f \U0001f408\u200d\u2b1b",
    "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3ff",
    "می\u200cخواهم کتاب\u200cها را",  # noqa: RUF001 - Persian letters
    "क्\u200dष और क्\u200cष हिन्दी",
    "অ্যা র\u200d্যাব বাংলা",
    "അവന്\u200d പറഞ്ഞു",
    "ශ්\u200dරී ලංකා",
    "مرحبا بِالعَالَمِ",
    "שָׁלוֹם עֲלֵיכֶם",
    "สวัสดี ที่นี่",
    "e\u0301 n\u0303 Vie\u0323\u0302t",
]


def sanitize_in_pieces(text: str, places: list[int]) -> str:
    """Sanitize a text that arrives in pieces."""
    sanitizer, borders = Sanitizer(), sorted(min(place, len(text)) for place in places)
    pieces = [text[start:end] for start, end in zip([0, *borders], [*borders, len(text)], strict=True)]
    return "".join([*map(sanitizer.feed, pieces), sanitizer.finish()])


def is_control(char: str) -> bool:
    """True if a character could do more than show itself, by the Unicode tables."""
    if char in "\n\t\u200c\u200d" or char in VISIBLE_FORMAT_CHARACTERS:
        return False
    is_selector = "\U000e0100" <= char <= "\U000e01ef"
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or is_selector


@pytest.mark.promise("terminal-control")
@settings(deadline=None)
@given(TEXT, st.lists(st.integers(0, 40)))
def test_no_control_sequence_gets_through_however_it_is_cut(text: str, places: list[int]) -> None:
    assert not [char for char in sanitize_in_pieces(text, places) if is_control(char)]


@pytest.mark.promise("terminal-control")
@settings(deadline=None)
@given(st.text(st.sampled_from(SPECIAL_CHARACTERS)) | TEXT, st.lists(st.integers(0, 40)))
def test_where_a_text_is_cut_makes_no_difference(text: str, places: list[int]) -> None:
    assert sanitize_in_pieces(text, places) == sanitize(text)


@settings(deadline=None)
@given(TEXT)
def test_sanitized_text_does_not_change_when_it_is_sanitized_again(text: str) -> None:
    assert sanitize(sanitize(text)) == sanitize(text)


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("text", ORDINARY_TEXTS)
def test_ordinary_text_is_shown_unchanged_however_it_is_cut(text: str) -> None:
    assert sanitize(text) == text
    assert sanitize_in_pieces(text, list(range(len(text)))) == text
    assert {sanitize_in_pieces(text, [place]) for place in range(len(text) + 1)} == {text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b]8;;http://evil\x1b\\", "\\x1b]8;;http://evil\\x1b\\"),
        ("\x1bP+q\x1b\\", "\\x1bP+q\\x1b\\"),
        ("\x9b31m", r"\x9b31m"),
        ("yes\rno\x08", r"yes\x0dno\x08"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("pay\u00adpal \u3164", r"pay\xadpal \u3164"),
        ("\U000e0041\U000e0100", r"\U000e0041\U000e0100"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u200dx", r"\u200dx"),
        ("a\u200db", r"a\u200db"),
        ("می \u200cخ", r"می \u200cخ"),
        ("می\u200c خ", r"می\u200c خ"),
        ("می\u200c\u200cخ", r"می\u200c\u200cخ"),
        ("می\u200c", r"می\u200c"),
        ("\U0001f468\u200da", "\U0001f468\\u200da"),
        ("\U0001f468\u200c\U0001f469", "\U0001f468\\u200c\U0001f469"),
        ("a\ufe0f\ufe0f", "a\ufe0f\\ufe0f"),
        (" \ufe0f", r" \ufe0f"),
    ],
)
def test_a_joiner_or_selector_without_a_base_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert sanitize(text) == shown


def test_a_joiner_waits_for_what_follows_it() -> None:
    sanitizer = Sanitizer()
    assert sanitizer.feed("\U0001f468\u200d") == "\U0001f468"
    assert sanitizer.feed("\U0001f469") == "\u200d\U0001f469"
    assert (sanitizer.feed("\u200d"), sanitizer.finish()) == ("", r"\u200d")


def test_stacked_marks_are_limited() -> None:
    assert sanitize("a" + "\u0301" * 40) == "a" + "\u0301" * MAX_MARKS + r"\u0301" * 10


HOSTILE_TEXT = (
    "\x1b]52;c;ZXZpbA==\x07\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b32m\x90q\x9c\rgone\x08\u202e\u200b\U000e0041end"
)


def run_and_check_screen(server: Loopback, *arguments: str, **environ: str) -> Any:
    """Run the program on a pty, check that it sent the terminal nothing but text, and return the screen."""
    wrote, _, screen = run_on_pty(server, *arguments, "--color", "never", **environ)
    assert not set(wrote.decode().replace("\r\n", "\n")) & set("\x1b\x07\x08\x9b\x9c\x90\r\u202e\u200b\U000e0041")
    assert b"]52;" in wrote
    assert screen.title == ""
    return screen


HOSTILE_DELTAS: list[dict[str, Any]] = [
    {"text": HOSTILE_TEXT},
    {"reasoning_content": HOSTILE_TEXT},
    {"refusal": HOSTILE_TEXT},
    {"tool_calls": [{"index": 0, "id": HOSTILE_TEXT, "function": {"name": HOSTILE_TEXT, "arguments": HOSTILE_TEXT}}]},
    {
        "text": "x",
        "annotations": [
            {"type": "url_citation", "url_citation": {"url": f"http://a/{HOSTILE_TEXT}", "title": HOSTILE_TEXT}}
        ],
    },
]


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("hostile_delta", HOSTILE_DELTAS)
def test_no_part_of_an_answer_controls_a_real_terminal(hostile_delta: dict[str, Any], server: Loopback) -> None:
    server.answer_with(stream(delta(**hostile_delta), delta(finish="stop")))
    run_and_check_screen(server, "chat", "hi")


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize(
    "flags", [["--format", "raw"], ["--json"], ["--format", "jsonl"], ["-o", "/dev/tty"], ["--debug"]]
)
def test_no_output_format_controls_a_real_terminal(flags: list[str], server: Loopback) -> None:
    found = {"choices": [{"index": 0, "message": {"content": HOSTILE_TEXT}, "finish_reason": "stop"}]}
    server.answer_with(http_response(json.dumps(found, ensure_ascii=False).encode()))
    run_and_check_screen(server, "chat", "hi", *flags)


@pytest.mark.promise("terminal-control")
def test_no_error_and_no_header_controls_a_real_terminal(server: Loopback) -> None:
    server.answer_with(
        json_response({"error": {"message": HOSTILE_TEXT, "code": HOSTILE_TEXT}}, "400 Bad", "X-Request-Id: a\x9bb")
    )
    run_and_check_screen(server, "chat", "hi", "-v", "-u")


@pytest.mark.promise("terminal-control")
@pytest.mark.parametrize("arguments", [[], ["a/b"], ["--json"]])
def test_no_name_in_the_catalog_controls_a_real_terminal(arguments: list[str], server: Loopback) -> None:
    models = [
        {
            "id": "a/b",
            "object": "model",
            "info": {"name": HOSTILE_TEXT, "developer": HOSTILE_TEXT, "description": HOSTILE_TEXT},
        }
    ]
    server.answer_with(json_response({"object": "list", "data": models}))
    wrote, code, screen = run_on_pty(server, "models", *arguments)
    assert code == 0
    assert b"\x1b" not in wrote
    assert screen.title == ""


@pytest.mark.promise("terminal-control")
def test_no_file_name_controls_a_real_terminal(server: Loopback) -> None:
    run_and_check_screen(server, "chat", "hi", "-f", HOSTILE_TEXT.replace("\x00", ""))


@pytest.mark.promise("pipe-bytes")
def test_a_pipe_gets_the_same_bytes(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(*[delta(piece) for piece in HOSTILE_TEXT], delta(finish="stop")))
    assert aiml("chat", "hi").stdout == f"{HOSTILE_TEXT}\n".encode()
