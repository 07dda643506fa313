"""The key is masked in texts, chunks and errors."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loopback import HELLO, Loopback, http_response, json_response
from support.run_cli import Aiml

from aiml_cli.api.stream_events import Event, Finished, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from aiml_cli.errors import IncompleteAnswer, RequestRejected
from aiml_cli.transport.key_masking import (
    extract_key,
    list_credentials,
    make_masker,
    mask_chunks,
    mask_credentials,
    mask_errors,
    mask_events,
    mask_text,
)

KEY = "k-0123456789abcdef"


@pytest.mark.promise("key-masked")
def test_the_key_in_a_text_is_masked() -> None:
    assert mask_text(f"bad key {KEY}, {KEY}!", KEY) == "bad key ***, ***!"
    assert mask_text(KEY, "") == KEY


@pytest.mark.promise("key-masked")
def test_the_key_is_masked_in_every_part_of_an_error() -> None:
    with pytest.raises(RequestRejected) as caught, mask_errors(KEY):
        raise RequestRejected(f"no {KEY}", f"is {KEY} right?", status=400, code=f"bad {KEY}")
    assert (caught.value.message, caught.value.hint) == ("no ***", "is *** right?")
    assert caught.value.details == {"status": 400, "code": "bad ***"}


@pytest.mark.parametrize("size", range(1, len(KEY) + 3))
def test_the_key_is_masked_in_chunks_of_any_size(size: int) -> None:
    data = f"a {KEY} b {KEY[:-1]} c {KEY}".encode()
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert b"".join(mask_chunks(KEY, chunks)) == f"a *** b {KEY[:-1]} c ***".encode()


PIECES = st.lists(st.sampled_from([KEY, KEY[:4], KEY[:5], KEY[:9], KEY[4:], KEY[9:], KEY[5:9], "k", "k-0", " ", "ab"]))


def join_masked(events: list[Event]) -> str:
    batches = mask_events(KEY, [[event] for event in events])
    found = [event for batch in batches for event in batch if not isinstance(event, Finished)]
    return "".join(getattr(event, "arguments", "") or getattr(event, "text", "") for event in found)


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize(
    "build_event", [TextDelta, ReasoningDelta, RefusalDelta, lambda text: ToolCallDelta(0, arguments=text)]
)
@given(pieces=PIECES)
def test_a_key_in_several_pieces_of_a_text_is_masked(build_event: Callable[[str], Event], pieces: list[str]) -> None:
    text, masked = "".join(pieces), join_masked([*map(build_event, pieces), Finished()])
    assert KEY not in masked
    assert re.fullmatch(r"(?:k-01)?\*\*\*".join(map(re.escape, text.split(KEY))), masked)


def test_the_texts_of_an_answer_do_not_mix() -> None:
    events: list[Event] = [TextDelta(KEY[:9]), ReasoningDelta("so"), TextDelta(KEY[:9], 1), TextDelta(KEY[9:])]
    batches = [event for batch in mask_events(KEY, [[event] for event in events]) for event in batch]
    assert [event for event in batches if isinstance(event, TextDelta) and event.choice == 0] == [
        TextDelta("k-01"),
        TextDelta("***"),
    ]
    assert ReasoningDelta("so") in batches
    assert batches[-1] == TextDelta(KEY[4:9], 1)


def test_held_back_text_is_returned_before_an_error() -> None:
    def raise_after_event() -> Iterator[list[Event]]:
        yield [TextDelta(KEY[:9])]
        raise IncompleteAnswer("cut")

    found: list[Event] = []
    with pytest.raises(IncompleteAnswer):
        found.extend(event for batch in mask_events(KEY, raise_after_event()) for event in batch)
    assert found == [TextDelta(KEY[:4]), TextDelta(KEY[4:9])]


def test_a_key_of_a_few_letters_is_not_masked() -> None:
    assert extract_key({"Authorization": "Bearer the"}) == ""
    assert extract_key({"Authorization": f"Bearer {KEY}"}) == KEY


KEY_WITH_ALL_KINDS_OF_CHARACTERS = 'k/0"1\\2+3=4%5-_~abc'  # every printable character may be in a key
ESCAPE_CHARACTER = {
    "plain": lambda char: char,
    "lower": lambda char: f"\\u{ord(char):04x}",
    "upper": lambda char: f"\\u{ord(char):04X}",
    "percent": lambda char: f"%{ord(char):02X}",
    "percent-lower": lambda char: f"%{ord(char):02x}",
    "percent-twice": lambda char: f"%25{ord(char):02X}",
    "json": lambda char: f"\\{char}" if char in '/"\\' else char,
    "json-in-json": lambda char: f"\\\\u{ord(char):04x}",
    "odd": lambda char: f"\\u{ord(char):04X}" if char in "+=/" else char,
    "mixed": lambda char: (char, f"\\u{ord(char):04x}", f"%{ord(char):02x}")[ord(char) % 3],
}
KEYS = [KEY, KEY_WITH_ALL_KINDS_OF_CHARACTERS, "sk-abc/def+ghi==", "k" * 40, "eyJhbGciOi.J9-_x/y+z"]


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize("escape_form", ESCAPE_CHARACTER)
@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_masked_however_its_characters_are_escaped(key: str, escape_form: str) -> None:
    escaped = "".join(map(ESCAPE_CHARACTER[escape_form], key))
    if escape_form == "json" and "\\" in key:
        assert json.loads(f'"{escaped}"') == key
    text = f'{{"a": "x{escaped}y", "b": "\\u00e9\\n%20{escaped}"}}'
    assert mask_text(text, key) == '{"a": "x***y", "b": "\\u00e9\\n%20***"}'


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize("escape_form", ESCAPE_CHARACTER)
@pytest.mark.parametrize("key", KEYS[:3])
def test_a_key_is_masked_wherever_chunks_are_cut(key: str, escape_form: str) -> None:
    escaped = "".join(map(ESCAPE_CHARACTER[escape_form], key))
    data, wanted = f"a \\n{escaped}\\u00e9{escaped[:-1]} %{escaped}".encode(), None
    for size in range(1, len(escaped) + 3, 1 + len(escaped) // 30):
        masked = b"".join(mask_chunks(key, (data[at : at + size] for at in range(0, len(data), size))))
        wanted = wanted or mask_text(data.decode(), key).encode()
        assert masked == wanted
        assert escaped.encode() not in masked


@given(
    st.lists(st.sampled_from([*"abk\\u0%26/+ \n", "\\u00", "\\u006", "k/+", "%2", "é"]), max_size=60).map("".join),
    st.integers(1, 9),
)
def test_other_text_is_unchanged(text: str, size: int) -> None:
    data = text.encode()
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert b"".join(mask_chunks("k/+-0123456789", chunks)) == data


def test_a_chunk_waits_only_for_what_may_be_the_key() -> None:
    chunks = [b"data: {}\n\n", b"abc k", b"x", b"\\", b"n", b"%", b"2", b"0 ", b"\\u00", b"e9"]
    passed = list(mask_chunks("k-0123456789", iter(chunks)))
    assert b"".join(passed) == b"".join(chunks)
    assert passed[:2] == [b"data: {}\n\n", b"abc "]


REQUEST = {
    "model": "m",
    "messages": [{"role": "user", "content": "my token is authorization: Bearer 12345678"}],
    "max_tokens": 5,
    "tools": [
        {
            "type": "mcp",
            "server_label": "a",
            "server_url": "https://user:hunter2hunter2@h/mcp?api_key=SECRET-query&page=2&X-Amz-Signature=SECRET-sig",
            "authorization": "Bearer SECRET-token",
            "headers": {"X-Api-Key": "SECRET-header", "Cookie": ["SECRET-cookie"], "n": 1},
        },
        {"type": "MCP", "Authorization": "SECRET-upper", "apiKey": "SECRET-camel"},
        {"type": "mcp", "mcp": {"access_token": "SECRET-nested", "Http-Headers": [{"value": "SECRET-list"}]}},
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "token": {"type": "string", "description": "a token"},
                        "headers": {"type": "object", "properties": {"authorization": {"const": "kept"}}},
                    },
                },
            },
        },
    ],
    "extra_headers": {"Authorization": "Basic SECRET-basic"},
}


@pytest.mark.promise("key-masked")
def test_the_credentials_of_a_request_are_masked_and_nothing_else() -> None:
    masked = mask_credentials(REQUEST)
    text = json.dumps(masked)
    assert ("SECRET" in text, "hunter2" in text) == (False, False)
    assert masked["tools"][0] == {
        "type": "mcp",
        "server_label": "a",
        "server_url": "https://***@h/mcp?api_key=***&page=2&X-Amz-Signature=***",
        "authorization": "***",
        "headers": {"X-Api-Key": "***", "Cookie": ["***"], "n": 1},
    }
    assert (masked["tools"][3], masked["messages"], masked["max_tokens"]) == (
        REQUEST["tools"][3],  # type: ignore[index]
        REQUEST["messages"],
        5,
    )
    assert mask_credentials(masked) == masked


def test_media_types_and_short_values_are_not_masked() -> None:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Accept": "text/event-stream",
        "A": "b",
        "X": "12345678",
    }
    assert list_credentials(json.dumps({"headers": headers}).encode()) == ["12345678"]


def test_all_credentials_of_a_request_are_listed_to_be_masked() -> None:
    found = list_credentials(json.dumps(REQUEST).encode())
    secrets = {"SECRET-query", "SECRET-sig", "SECRET-token", "SECRET-header", "SECRET-cookie", "SECRET-upper"}
    assert {*secrets, "SECRET-camel", "SECRET-nested", "SECRET-list", "SECRET-basic"} <= set(found)
    assert list_credentials(None) == list_credentials(b"no json") == list_credentials(b"[" * 100_000) == []
    mask = make_masker([*found, ""])
    assert mask("short SECRET-token, Bearer SECRET-token, SECRET\\u002dquery") == "short ***, ***, ***"


@pytest.mark.promise("key-masked")
@pytest.mark.parametrize("command", ["chat", "respond"])
def test_credentials_are_in_no_recording_debug_line_history_or_output(
    command: str, aiml: Aiml, server: Loopback
) -> None:
    tools = json.dumps(REQUEST["tools"])
    echo = f"event: x\ndata: SECRET-token SECRET\\u002dheader\n\n: {tools}\n\n".encode()
    call = [command, "hi", "-O", f"tools={tools}", "-O", f"extra_headers={json.dumps(REQUEST['extra_headers'])}"]
    server.answer_with(HELLO if command == "chat" else json_response({"id": "r", "status": "completed", "output": []}))
    first = aiml(*call, "--record", "tape", "--debug", "-v", AIMLAPI_API_KEY=KEY)
    server.answer_with(http_response(echo, "400 Bad Request"))
    second = aiml(*call, "--record", "tape", "--debug", AIMLAPI_API_KEY=KEY)
    assert "SECRET-token" in server.requests[0].body.decode()
    shown = [first.stdout, first.stderr, second.stderr, Path("tape").read_bytes()]
    for extra in (["--dry-run"], ["--as", "json"], ["--as", "curl"], ["--as", "python"]):
        done = aiml(*call, *extra, AIMLAPI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    shown += [path.read_bytes() for path in Path("xdg_data_home").rglob("*") if path.is_file()]
    shown.append(aiml("history", "show", "--json").stdout)
    assert len(shown) > 8
    assert not [text for text in shown if b"SECRET" in text or b"hunter2" in text or KEY.encode() in text]
