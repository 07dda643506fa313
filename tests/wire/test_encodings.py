"""Compressed answers are read or refused with a clear error, in bounded memory."""

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
from support.endings import Ask, measure_peak_memory
from support.loopback import Loopback, delta, event, json_response, response_object, text_events

from aiml_cli.errors import AimlError
from aiml_cli.transport.http_connection import MAX_PIECE_BYTES, decompress

STREAMS = {
    "chat": delta("Hel") + delta("lo") + delta(finish="stop") + event("[DONE]"),
    "respond": b"".join(text_events("Hel", "lo"))
    + event({"type": "response.completed", "response": response_object()}),
}
both_commands = pytest.mark.parametrize("command", ["chat", "respond"])


def compress_with_raw_deflate(data: bytes) -> bytes:
    """Compress with deflate, without the frame of zlib."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def build_encoded_reply(
    body: bytes, name: str, *, has_length: bool = True, content_type: str = "text/event-stream"
) -> bytes:
    """Make a reply with an encoded body."""
    length = f"Content-Length: {len(body)}\r\n" if has_length else ""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Encoding: {name}\r\n{length}\r\n".encode() + body
    )


HALF_LENGTH = len(STREAMS["chat"]) // 2
Compress = Callable[[bytes], bytes]
COMPRESSORS: list[tuple[str, Compress]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", compress_with_raw_deflate),
    ("gzip, deflate", lambda data: zlib.compress(gzip.compress(data))),
    ("identity", bytes),
    ("", bytes),
    ("identity, gzip", gzip.compress),
    ("gzip", lambda data: gzip.compress(data[:HALF_LENGTH]) + gzip.compress(data[HALF_LENGTH:])),
    ("gzip", lambda data: gzip.compress(data) + b"\0" * 100),
    ("gzip", bytes),  # a proxy decompressed it and left the header
    ("gzip", lambda data: b"\n\n" + data),
]


@pytest.mark.promise("legal-streams")
@both_commands
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize(("name", "compress"), COMPRESSORS)
def test_a_compressed_stream_is_read(
    name: str, compress: Compress, *, has_length: bool, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_encoded_reply(compress(STREAMS[command]), name, has_length=has_length))
    assert ask(command, "hi") == (0, "Hello\n", "")


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, compress_with_raw_deflate])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_the_borders_of_reads_do_not_matter(compress: Compress, size: int) -> None:
    data = bytes(range(256)) * 2000
    raw = compress(data)
    pieces = list(decompress("gzip" if compress is gzip.compress else "deflate", cut_into_pieces(raw, size)))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= MAX_PIECE_BYTES


def cut_into_pieces(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


BROKEN_BODIES = [
    ("br", b"\x0b\x02\x80abc", "compressed with br, which was not requested", 6),
    ("zstd", b"\x28\xb5\x2f\xfd", "compressed with zstd, which was not requested", 6),
    ("gzip, br", b"\x0b", "compressed with br", 6),
    ("rot13", b"qngn", "compressed with rot13", 6),
    ("gzip", b"this is not compressed at all", "could not be decompressed", 6),
    ("deflate", b"\xff\xff\xff\xff", "could not be decompressed", 6),
    ("gzip", gzip.compress(b"data: x", mtime=0)[:-6], "cut before", 8),
    ("gzip", b"\x1f", "cut before", 8),
    ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-8] + b"\0" * 8, "could not be decompressed", 6),
    ("gzip", b"", "", 6),
]


@pytest.mark.promise("malformed-events")
@both_commands
@pytest.mark.parametrize(("name", "body", "words", "code"), BROKEN_BODIES)
def test_an_answer_that_cannot_be_decompressed_is_an_error(
    name: str, body: bytes, words: str, code: int, command: str, server: Loopback, ask: Ask
) -> None:
    server.answer_with(build_encoded_reply(body, name))
    ending = ask(command, "hi")
    assert (ending.code in (code, 8), ending.stdout) == (True, "")
    assert words in ending.stderr


@pytest.mark.promise("incomplete-answers")
def test_a_compressed_stream_that_is_cut_keeps_its_text(server: Loopback, ask: Ask) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    begun = packer.compress(delta("Hel") + delta("lo")) + packer.flush(zlib.Z_SYNC_FLUSH)
    server.answer_with(build_encoded_reply(begun, "gzip", has_length=False))
    assert ask("chat", "hi")[:2] == (8, "Hello\n")


@pytest.mark.promise("server-messages")
@pytest.mark.parametrize("name", ["gzip", "br"])
def test_the_message_of_a_compressed_error_is_shown_if_it_can_be_read(name: str, server: Loopback, ask: Ask) -> None:
    server.answer_with(build_encoded_reply(gzip.compress(b'{"error": "No."}'), name).replace(b"200 OK", b"400 Bad"))
    ending = ask("chat", "hi")
    assert (ending.code, ending.stdout) == (4, "")
    assert ("No." in ending.stderr) == (name == "gzip")


def build_bomb(start: bytes) -> bytes:
    """Compress a gigabyte of one letter to a megabyte: after a full flush, compressed data can be repeated."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    begun = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return begun + (packer.compress(b"x" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 1024


@pytest.mark.promise("memory")
@pytest.mark.parametrize("start", [b"data: ", b'{"x": "'])
@pytest.mark.parametrize("command", [["chat", "hi"], ["models"]])
def test_a_decompression_bomb_is_an_error_before_it_takes_the_memory(
    command: list[str], start: bytes, server: Loopback
) -> None:
    server.answer_with(build_encoded_reply(build_bomb(start), "gzip"))
    code, size, _ = measure_peak_memory(server, *command)
    assert code == 6
    assert size < 400 << 10


@pytest.mark.promise("memory")
def test_a_decompression_bomb_of_many_small_events_is_an_error_too(server: Loopback, ask: Ask) -> None:
    raw = gzip.compress((b": " + b"x" * 1000 + b"\n\n") * (80 << 10))
    server.answer_with(build_encoded_reply(raw, "gzip"))
    ending = ask("chat", "hi")
    assert (ending.code, "expands" in ending.stderr) == (6, True)


def test_nothing_but_gzip_and_deflate_is_asked_for(server: Loopback, ask: Ask) -> None:
    server.answer_with(json_response({"data": []}))
    ask("models")
    ask("chat", "hi")
    assert [each.get_header("accept-encoding") for each in server.requests] == ["gzip, deflate", "identity"]


def test_every_decompression_failure_is_an_error_of_the_program() -> None:
    for name in ("br", "gzip", "deflate"):
        with pytest.raises(AimlError):
            list(decompress(name, iter([b"\x00\x01\x02\x03" * 9])))
