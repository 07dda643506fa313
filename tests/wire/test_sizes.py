"""Large answers are read, endless ones end with an error, and memory is bounded."""

from collections.abc import Iterator
from itertools import product

import pytest
from support.endings import Ask, measure_peak_memory
from support.loopback import HELLO, Flood, Loopback, delta, event, http_response, response_object, text_events

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
both_commands = pytest.mark.parametrize("command", ["chat", "respond"])
MIB = 1 << 20


def build_stream(command: str, *texts: str) -> Iterator[bytes]:
    """Yield a complete stream without HTTP framing, piece by piece."""
    yield HEAD
    if command == "chat":
        yield from map(delta, texts)
        yield delta(finish="stop") + event("[DONE]")
    else:
        yield from text_events(*texts)
        yield event({"type": "response.completed", "response": response_object("", output=[])})


@pytest.mark.promise("memory")
@both_commands
def test_ten_megabytes_in_one_event_are_an_answer(command: str, server: Loopback, ask: Ask) -> None:
    text = "0123456789" * MIB
    server.answer_with(build_stream(command, text))
    ending = ask(command, "hi")
    assert (ending.code, ending.stdout == text + "\n", ending.stderr) == (0, True, "")


ENDLESS_ANSWERS = {
    "a line": (HEAD + b"data: ", Flood(b"x" * 65536, 80 * MIB)),
    "an event": (HEAD, Flood(b"data: x\n" * 8192, 80 * MIB)),
    "a comment": (HEAD + b":", Flood(b"x" * 65536, 80 * MIB)),
    "an unknown field": (HEAD + b"x", Flood(b"x" * 65536, 80 * MIB)),
    "an object": (JSON_HEAD + b'{"x": "', Flood(b"x" * 65536, 80 * MIB)),
    "a page": (JSON_HEAD + b"<html>", Flood(b"x" * 65536, 80 * MIB)),
    "nothing but blanks": (JSON_HEAD, Flood(b" " * 65536, 80 * MIB)),
    "one chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\ndata: ", Flood(b"x" * 65536, 80 * MIB)),
    "a failure": (b"HTTP/1.1 500 Oops\r\n\r\n", Flood(b"x" * 65536, 80 * MIB)),
}  # fmt: skip


@pytest.mark.promise("memory")
@pytest.mark.parametrize("case", ENDLESS_ANSWERS)
def test_an_endless_answer_is_an_error(case: str, server: Loopback) -> None:
    server.answer_with(*ENDLESS_ANSWERS[case])
    code, size, stdout = measure_peak_memory(server, "chat", "hi", "--retries", "0")
    assert (code, stdout) == (6, b"")
    assert size < 400 << 10


@pytest.mark.promise("memory")
@pytest.mark.parametrize("command", [["models"], ["usage"], ["config", "check"], ["respond", "--show", "resp_1"]])
def test_no_command_reads_an_endless_response(command: list[str], server: Loopback) -> None:
    server.answer_with(JSON_HEAD + b'{"x": "', Flood(b"x" * 65536, 200 * MIB))
    code, size, stdout = measure_peak_memory(server, *command)
    assert (code in (0, 4, 6, 8), size < 400 << 10) == (True, True)
    assert b"xxxx" not in stdout


@pytest.fixture(scope="module")
def short_answer_memory() -> int:
    """Return the memory, in KiB, that a short answer takes."""
    with Loopback() as server:
        server.answer_with(HELLO)
        return measure_peak_memory(server, "chat", "hi", "--no-log")[1]


@pytest.mark.promise("memory")
@both_commands
def test_100_000_events_take_no_more_memory_than_their_text(
    command: str, short_answer_memory: int, server: Loopback
) -> None:
    count, text = 100_000, "twenty letters each. "
    expected = (text * count + "\n").encode()

    def measure_memory() -> int:
        server.answer_with(build_stream(command, *[text] * count))
        code, size, stdout = measure_peak_memory(server, command, "hi", "--no-log")
        assert (code, stdout) == (0, expected)
        return size

    # Besides the text, once as bytes and once as words, there may be what one read holds: on a busy machine more.
    assert any(measure_memory() - short_answer_memory < 3 * len(expected) // 1024 + (6 << 10) for _ in range(3))


PIECE, PIECES = "word " * 1600, 3_000  # 24 MB
LONG_EVENTS = {
    "chat text": delta(PIECE),
    "chat reasoning": delta(reasoning_content=PIECE),
    "chat tool": delta(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": PIECE}}]),
    "respond text": text_events(PIECE)[1],
    "respond reasoning": event(
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": PIECE}
    ),
    "respond tool": event({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": PIECE}),
}
# How often the text is in memory: as bytes and as a string; as a string and, in SQLite, as a parameter and a row.
COPIES_IN_MEMORY = {"--no-log": 2, "--json --no-log": 2, "-o out.txt": 3, "--json": 3}


@pytest.mark.promise("memory")
@pytest.mark.parametrize(
    ("kind", "flags"),
    [("chat text", "--json --no-log"), ("chat text", "-o out.txt"), *product(LONG_EVENTS, ["--no-log", "--json"])],
)
def test_a_long_answer_is_copied_no_more_than_needed(
    kind: str, flags: str, short_answer_memory: int, server: Loopback
) -> None:
    head = event({"type": "response.created", "response": response_object("", "in_progress", output=[])})
    server.answer_with(
        HEAD, *([head] if kind.startswith("respond") else []), Flood(LONG_EVENTS[kind], len(LONG_EVENTS[kind]) * PIECES)
    )
    code, size, _ = measure_peak_memory(server, kind.split(maxsplit=1)[0], "hi", "--retries", "0", *flags.split())
    assert code == 8
    copies = COPIES_IN_MEMORY[flags] + (kind == "respond tool")  # the parser needs the arguments to the end
    assert size - short_answer_memory < (copies + 0.6) * len(PIECE) * PIECES // 1024 + (10 << 10)


def test_a_large_json_answer_is_read(server: Loopback, ask: Ask) -> None:
    text = "x" * (10 * MIB)
    server.answer_with(
        http_response(b'{"choices": [{"message": {"content": "' + text.encode() + b'"}, "finish_reason": "stop"}]}')
    )
    ending = ask("chat", "hi")
    assert (ending.code, ending.stdout == text + "\n") == (0, True)
