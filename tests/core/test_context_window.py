"""`--fit`: input beyond the model's context is shortened where the user says, and a notice says what is sent."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import HELLO, Loopback, json_response
from support.run_cli import Aiml

from aiml_cli.catalog.pricing import estimate_tokens
from aiml_cli.core.context_window import take_head, take_tail
from aiml_cli.store.model_cache import CachedModels, save_models

pytestmark = pytest.mark.in_process

LINES = "".join(f"line {number:05}\n" for number in range(2000))
ENTRY = {"id": "m", "type": "chat-completion", "info": {"contextLength": 4000, "outputMax": 500}}
ASK_FLAGS = ("-m", "m", "--max-tokens", "500")


def build_catalog(**info: Any) -> bytes:
    """Make a catalog of one model."""
    return json_response({"object": "list", "data": [{**ENTRY, "info": info or ENTRY["info"]}]})


def get_prompt(server: Loopback) -> str:
    """Return the prompt of the last request."""
    return str(server.requests[-1].json["messages"][-1]["content"])


@pytest.fixture
def server_with_catalog(server: Loopback) -> Loopback:
    server.answer_with(build_catalog())
    server.answer_with(HELLO)
    return server


@pytest.mark.parametrize(
    ("part", "begins", "ends", "words"),
    [
        ("head", True, False, "its head"),
        ("tail", False, True, "its tail"),
        ("middle", True, True, "both ends"),
    ],
)
def test_shortened_input_fits_and_a_notice_says_what_was_kept(
    part: str, begins: bool, ends: bool, words: str, server_with_catalog: Loopback, aiml: Aiml
) -> None:
    result = aiml("chat", *ASK_FLAGS, "--fit", part, "what?", stdin=LINES.encode())
    prompt, told = get_prompt(server_with_catalog), result.stderr.decode()
    assert (result.returncode, "line 00000\n" in prompt, "line 01999\n" in prompt) == (0, begins, ends)
    assert prompt.startswith("<stdin>\n")
    assert prompt.endswith("\n</stdin>\n\nwhat?")
    kept = [line for line in prompt.splitlines() if line.startswith("line")]
    assert {len(line) for line in kept} == {10}
    assert prompt.count("tokens are left out here …]\n") == 1
    assert 3000 < estimate_tokens(prompt) <= 3500
    assert told.startswith("aiml: sends 3,4")
    assert told.endswith(f" of about 7,334 tokens of standard input ({words})\n")


def test_input_that_fits_is_sent_whole_without_a_notice(server_with_catalog: Loopback, aiml: Aiml) -> None:
    result = aiml("chat", *ASK_FLAGS, "--fit", "head", stdin=LINES[:9000].encode())
    assert (get_prompt(server_with_catalog), result.stderr) == (LINES[:9000], b"")


def test_a_short_prompt_needs_no_catalog(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", *ASK_FLAGS, "--fit", "head", stdin=b"short").returncode == 0
    assert len(server.requests) == 1


def test_files_are_shortened_together_and_each_is_marked(
    server_with_catalog: Loopback, aiml: Aiml, empty_home: Any
) -> None:
    (empty_home / "a").write_text(LINES[:6600])
    (empty_home / "b").write_text(LINES)
    (empty_home / "c").write_text("the last")
    result = aiml("chat", *ASK_FLAGS, "--fit", "head", "-f", "a", "-f", "b", "-f", "c", "what?")
    prompt = get_prompt(server_with_catalog)
    assert f'<file name="a">\n{LINES[:6600]}</file>' in prompt
    assert '<file name="c">\n[… about 3 tokens are left out here …]\n</file>\n\nwhat?' in prompt
    assert (prompt.count("left out here"), b"tokens of 3 inputs (its head)" in result.stderr) == (2, True)


def test_words_and_system_text_are_never_shortened(server_with_catalog: Loopback, aiml: Aiml) -> None:
    words, system = "w" * 3000, "s" * 3000
    aiml("chat", *ASK_FLAGS, "--fit", "tail", "-s", system, f"{words}{{stdin}}!", stdin=LINES.encode())
    prompt = get_prompt(server_with_catalog)
    assert (prompt.startswith(words), prompt.endswith("!")) == (True, True)
    assert server_with_catalog.requests[-1].json["messages"][0]["content"] == system
    assert 1000 < estimate_tokens(prompt) - 1000 <= 1500


@pytest.mark.parametrize(
    "catalog", [build_catalog(contextLength=0), json_response({"data": []}), json_response({}, "500 x")]
)
def test_an_unknown_context_is_an_error_before_anything_is_sent(catalog: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(catalog)
    result = aiml("chat", *ASK_FLAGS, "--fit", "head", stdin=LINES.encode())
    assert (result.returncode, [request.request_line[:3] for request in server.requests]) == (2, ["GET"])
    assert b"hint: without --fit all of it is sent" in result.stderr


def test_a_token_limit_that_leaves_no_room_for_input_is_an_error(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_catalog())
    result = aiml("chat", "-m", "m", "--max-tokens", "4000", "--fit", "head", "what?", stdin=LINES.encode())
    assert (result.returncode, len(server.requests)) == (2, 1)
    assert b"aiml: --fit: the token limit leaves no room for input: the context of m is 4,000 tokens\n" in result.stderr


@pytest.mark.parametrize(("info", "max_tokens"), [({}, 3500), ({"contextLength": 4000, "outputMax": 100}, 3900)])
def test_without_a_token_limit_part_of_the_context_is_reserved_for_the_answer(
    info: dict[str, int], max_tokens: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(build_catalog(**info))
    server.answer_with(HELLO)
    assert aiml("chat", "-m", "m", "--fit", "head", "what?", stdin=LINES.encode()).returncode == 0
    assert max_tokens - 100 < estimate_tokens(get_prompt(server)) <= max_tokens


def test_images_take_up_space_too(server_with_catalog: Loopback, aiml: Aiml, empty_home: Any) -> None:
    (empty_home / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    aiml("chat", *ASK_FLAGS, "--fit", "head", "-f", "p.png", "what?", stdin=LINES.encode())
    (prompt,) = [
        part["text"]
        for part in server_with_catalog.requests[-1].json["messages"][-1]["content"]
        if part["type"] == "text"
    ]
    assert 1500 < estimate_tokens(prompt) <= 2000


def test_words_beyond_the_context_are_refused(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(build_catalog())
    result = aiml("chat", *ASK_FLAGS, "--fit", "head", "w" * 12_000, stdin=b"x")
    assert (result.returncode, len(server.requests)) == (2, 1)


def test_a_hint_suggests_fit_if_the_stored_catalog_shows_that_input_is_too_long(server: Loopback, aiml: Aiml) -> None:
    body = json.dumps({"data": [ENTRY]}).encode()
    save_models(CachedModels(server.url, "", time.time(), body, []))
    server.answer_with(HELLO)
    result = aiml("chat", *ASK_FLAGS, stdin=LINES.encode() * 5)
    assert (result.returncode, get_prompt(server)) == (0, LINES * 5)
    assert b"aiml: about 36,667 tokens of input, and the context of m is 4,000; --fit head" in result.stderr
    assert aiml("chat", *ASK_FLAGS, "-q", stdin=LINES.encode() * 5).stderr == b""


TEXTS = st.text(st.sampled_from("ab \n.ä語😀\u0301"), max_size=200)


@given(TEXTS, st.integers(-1, 80))
def test_shortened_text_is_the_beginning_or_end_and_fits(text: str, tokens: int) -> None:
    start, end = take_head(text, tokens), take_tail(text, tokens)
    assert text.startswith(start)
    assert text.endswith(end)
    assert max(estimate_tokens(start), estimate_tokens(end)) <= max(0, tokens)
    assert estimate_tokens(text) > tokens or (start, end) == (text, text)


@given(TEXTS, st.integers(1, 80))
def test_text_is_cut_at_a_line_end_if_one_is_in_its_last_half(text: str, tokens: int) -> None:
    start = take_head(text, tokens)
    if start != text and "\n" in start:
        assert start.endswith("\n") or "\n" not in start[len(start) // 2 + 1 :]
