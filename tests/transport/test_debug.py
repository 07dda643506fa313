"""--debug shows the exchange, with the key masked wherever a server repeats it."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loopback import END, HELLO, STREAM, Loopback, chunk, delta, event, http_response, json_response, stream
from support.run_cli import Aiml

from aiml_cli.transport.key_masking import mask_chunks

KEY = "k-canary-0123456789"


def split_lines(done: bytes) -> list[str]:
    return done.decode().splitlines()


@pytest.mark.promise("key-masked")
def test_the_exchange_is_shown_with_the_key_masked(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    done = aiml("chat", "hi", "there", "--debug", AIMLAPI_API_KEY=KEY)
    shown = split_lines(done.stderr)
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert server.requests[0].get_header("authorization") == f"Bearer {KEY}"
    assert shown[0] == "> POST /v1/chat/completions HTTP/1.1"
    assert "> Authorization: Bearer ***" in shown
    assert [line for line in shown if line.startswith('> {"model"') and '"hi there"' in line]
    assert "< 200" in shown
    assert "< content-type: text/event-stream" in shown
    assert "< data: [DONE]" in shown
    assert KEY.encode() not in done.stderr


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize(
    "flags", [[], ["--debug"], ["-v"], ["--json"], ["--format", "jsonl"], ["--format", "raw"], ["-u"]]
)
def test_a_key_that_the_server_repeats_is_shown_nowhere(flags: list[str], server: Loopback, aiml: Aiml) -> None:
    echo = b"Content-Type: text/event-stream\r\nX-Request-Id: " + KEY.encode() + b"\r\nSet-Cookie: s=" + KEY.encode()
    report = event({"error": {"message": f"bad {KEY}"}})
    pieces = b"".join(chunk(report[place : place + 5]) for place in range(0, len(report), 5))
    server.answer_with(STREAM.replace(b"Content-Type: text/event-stream", echo) + pieces + END)
    server.answer_with(
        json_response({"error": {"message": f"{KEY} is wrong", "code": KEY}}, "400 Bad", f"X-Echo: {KEY}")
    )
    for code in (6, 4):
        done = aiml("chat", "hi", *flags, AIMLAPI_API_KEY=KEY)
        assert done.returncode == code
        assert KEY.encode() not in done.stdout + done.stderr
        assert b"***" in done.stderr + done.stdout


def test_cookies_and_proxy_passwords_are_masked_and_long_lines_cut(server: Loopback, aiml: Aiml) -> None:
    coded = "QUJD" * 400
    server.answer_with(
        http_response(b'{"x": "' + coded.encode() + b'"}', "500 x", "text/plain", "Set-Cookie: sid=abcdefgh; Path=/")
    )
    shown = split_lines(aiml("chat", "word " * 2000, "--debug").stderr)
    assert "< set-cookie: sid=***" in shown
    assert any("…(1,600 characters)" in line for line in shown)
    assert any("more characters)" in line for line in shown if line.startswith("> {"))
    assert max(map(len, shown)) < 5000


@pytest.mark.promise("terminal-control")
def test_the_output_cannot_control_the_terminal(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"\x1b[2J\xc2\x9b1m", "500 x", "text/plain", "X-Odd: a\x9b"))
    shown = aiml("chat", "hi", "--debug").stderr
    assert b"\x1b" not in shown
    assert rb"< \x1b[2J\x9b1m" in shown


def test_each_attempt_and_each_get_request_is_shown(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(http_response(b"busy", "503 Busy", "text/plain", "Retry-After: 0"))
    server.answer_with(HELLO)
    assert (
        split_lines(aiml("chat", "hi", "--debug", AIML_RETRIES="1").stderr).count(
            "> POST /v1/chat/completions HTTP/1.1"
        )
        == 2
    )
    server.answer_with(json_response({"data": []}))
    for command in (["models"], ["usage"], ["config", "check"]):
        assert "< 200" in split_lines(aiml(*command, "--debug").stderr)


def test_nothing_is_shown_without_debug(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert not [line for line in split_lines(aiml("chat", "hi").stderr) if line[:2] in ("> ", "< ")]


def cut_at(text: bytes, places: list[int]) -> Iterator[bytes]:
    borders = sorted(min(place, len(text)) for place in places)
    return (text[start:end] for start, end in zip([0, *borders], [*borders, len(text)], strict=True))


@pytest.mark.promise("key-masked")
@settings(deadline=None)
@given(st.lists(st.sampled_from(["kak-kakz", "k", "ka", "kak", "z", "kak-kak"])), st.lists(st.integers(0, 60)))
def test_the_key_is_masked_however_the_bytes_are_cut(words: list[str], places: list[int]) -> None:
    text = "".join(words).encode()
    assert b"".join(mask_chunks("kak-kakz", cut_at(text, places))) == text.replace(b"kak-kakz", b"***")


def test_a_stream_is_shown_as_it_arrives(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(stream(delta("Hi", None), event({"choices": []}), delta(finish="stop"), end=b""))
    shown = split_lines(aiml("chat", "hi", "--debug").stderr)
    assert len([line for line in shown if line.startswith("< data: ")]) == 3
