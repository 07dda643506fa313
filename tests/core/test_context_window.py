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
ASK = ("-m", "m", "--max-tokens", "500")


def listed(**info: Any) -> bytes:
    """Make a catalog of one model."""
    return json_response({"object": "list", "data": [{**ENTRY, "info": info or ENTRY["info"]}]})


def sent(server: Loopback) -> str:
    """Return the prompt of the last request."""
    return str(server.requests[-1].json["messages"][-1]["content"])


@pytest.fixture
def known(server: Loopback) -> Loopback:
    server.answer_with(listed())
    server.answer_with(HELLO)
    return server


@pytest.mark.parametrize(
    ("how", "begins", "ends", "words"),
    [
        ("head", True, False, "its head"),
        ("tail", False, True, "its tail"),
        ("middle", True, True, "both ends"),
    ],
)
def test_shortened_input_fits_and_a_notice_says_what_was_kept(
    how: str, begins: bool, ends: bool, words: str, known: Loopback, aiml: Aiml
) -> None:
    result = aiml("chat", *ASK, "--fit", how, "what?", stdin=LINES.encode())
    prompt, told = sent(known), result.stderr.decode()
    assert (result.returncode, "line 00000\n" in prompt, "line 01999\n" in prompt) == (0, begins, ends)
    assert prompt.startswith("<stdin>\n")
    assert prompt.endswith("\n</stdin>\n\nwhat?")
    kept = [line for line in prompt.splitlines() if line.startswith("line")]
    assert {len(line) for line in kept} == {10}
    assert prompt.count("tokens are left out here …]\n") == 1
    assert 3000 < estimate_tokens(prompt) <= 3500
    assert told.startswith("aiml: sends 3,4")
    assert told.endswith(f" of about 7,334 tokens of standard input ({words})\n")


def test_input_that_fits_is_sent_whole_without_a_notice(known: Loopback, aiml: Aiml) -> None:
    result = aiml("chat", *ASK, "--fit", "head", stdin=LINES[:9000].encode())
    assert (sent(known), result.stderr) == (LINES[:9000], b"")


def test_a_short_prompt_needs_no_catalog(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", *ASK, "--fit", "head", stdin=b"short").returncode == 0
    assert len(server.requests) == 1


def test_files_are_shortened_together_and_each_is_marked(known: Loopback, aiml: Aiml, clean: Any) -> None:
    (clean / "a").write_text(LINES[:6600])
    (clean / "b").write_text(LINES)
    (clean / "c").write_text("the last")
    result = aiml("chat", *ASK, "--fit", "head", "-f", "a", "-f", "b", "-f", "c", "what?")
    prompt = sent(known)
    assert f'<file name="a">\n{LINES[:6600]}</file>' in prompt
    assert '<file name="c">\n[… about 3 tokens are left out here …]\n</file>\n\nwhat?' in prompt
    assert (prompt.count("left out here"), b"tokens of 3 inputs (its head)" in result.stderr) == (2, True)


def test_words_and_system_text_are_never_shortened(known: Loopback, aiml: Aiml) -> None:
    words, system = "w" * 3000, "s" * 3000
    aiml("chat", *ASK, "--fit", "tail", "-s", system, f"{words}{{stdin}}!", stdin=LINES.encode())
    prompt = sent(known)
    assert (prompt.startswith(words), prompt.endswith("!")) == (True, True)
    assert known.requests[-1].json["messages"][0]["content"] == system
    assert 1000 < estimate_tokens(prompt) - 1000 <= 1500


@pytest.mark.parametrize("catalog", [listed(contextLength=0), json_response({"data": []}), json_response({}, "500 x")])
def test_an_unknown_context_is_an_error_before_anything_is_sent(catalog: bytes, server: Loopback, aiml: Aiml) -> None:
    server.answer_with(catalog)
    result = aiml("chat", *ASK, "--fit", "head", stdin=LINES.encode())
    assert (result.returncode, [request.request_line[:3] for request in server.requests]) == (2, ["GET"])
    assert b"hint: without --fit all of it is sent" in result.stderr


def test_a_token_limit_that_leaves_no_room_for_input_is_an_error(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(listed())
    result = aiml("chat", "-m", "m", "--max-tokens", "4000", "--fit", "head", "what?", stdin=LINES.encode())
    assert (result.returncode, len(server.requests)) == (2, 1)
    assert b"aiml: --fit: the token limit leaves no room for input: the context of m is 4,000 tokens\n" in result.stderr


@pytest.mark.parametrize(("info", "room"), [({}, 3500), ({"contextLength": 4000, "outputMax": 100}, 3900)])
def test_without_a_token_limit_part_of_the_context_is_reserved_for_the_answer(
    info: dict[str, int], room: int, server: Loopback, aiml: Aiml
) -> None:
    server.answer_with(listed(**info))
    server.answer_with(HELLO)
    assert aiml("chat", "-m", "m", "--fit", "head", "what?", stdin=LINES.encode()).returncode == 0
    assert room - 100 < estimate_tokens(sent(server)) <= room


def test_images_take_up_space_too(known: Loopback, aiml: Aiml, clean: Any) -> None:
    (clean / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    aiml("chat", *ASK, "--fit", "head", "-f", "p.png", "what?", stdin=LINES.encode())
    (prompt,) = [part["text"] for part in known.requests[-1].json["messages"][-1]["content"] if part["type"] == "text"]
    assert 1500 < estimate_tokens(prompt) <= 2000


def test_words_beyond_the_context_are_refused(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(listed())
    result = aiml("chat", *ASK, "--fit", "head", "w" * 12_000, stdin=b"x")
    assert (result.returncode, len(server.requests)) == (2, 1)


def test_a_hint_suggests_fit_if_the_stored_catalog_shows_that_input_is_too_long(server: Loopback, aiml: Aiml) -> None:
    body = json.dumps({"data": [ENTRY]}).encode()
    save_models(CachedModels(server.url, "", time.time(), body, []))
    server.answer_with(HELLO)
    result = aiml("chat", *ASK, stdin=LINES.encode() * 5)
    assert (result.returncode, sent(server)) == (0, LINES * 5)
    assert b"aiml: about 36,667 tokens of input, and the context of m is 4,000; --fit head" in result.stderr
    assert aiml("chat", *ASK, "-q", stdin=LINES.encode() * 5).stderr == b""


texts = st.text(st.sampled_from("ab \n.ä語😀\u0301"), max_size=200)


@given(texts, st.integers(-1, 80))
def test_shortened_text_is_the_beginning_or_end_and_fits(text: str, tokens: int) -> None:
    start, end = take_head(text, tokens), take_tail(text, tokens)
    assert text.startswith(start)
    assert text.endswith(end)
    assert max(estimate_tokens(start), estimate_tokens(end)) <= max(0, tokens)
    assert estimate_tokens(text) > tokens or (start, end) == (text, text)


@given(texts, st.integers(1, 80))
def test_text_is_cut_at_a_line_end_if_one_is_in_its_last_half(text: str, tokens: int) -> None:
    start = take_head(text, tokens)
    if start != text and "\n" in start:
        assert start.endswith("\n") or "\n" not in start[len(start) // 2 + 1 :]
