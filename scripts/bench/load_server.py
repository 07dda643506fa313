"""Answer many connections at once for load.py; the name of the model says how.

Prints its base URL. `wait-2` answers one word after two seconds, `endless` never ends, and `text-80000` or `tool-80000`
send as many pieces, of the text or of the arguments of a tool call. With two file names, a certificate and its key, the
server uses TLS.
"""

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
PIECE = '"a word", '
USAGE = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
END = b"data: [DONE]\n\n"
ENDLESS_BYTES = 64 * 1024


def make_chunk(events: Iterable[bytes]) -> bytes:
    """Return events as one HTTP/1.1 chunk."""
    content = b"".join(events)
    return b"%x\r\n%b\r\n" % (len(content), content)


def make_event(delta: dict, finish_reason: str | None = None, **fields: object) -> bytes:
    """Return one event."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice], **fields}).encode() + b"\n\n"


def make_deltas(kind: str, count: int) -> Iterator[dict]:
    """Yield the pieces of an answer: its text, or the arguments of a tool call."""
    if kind == "text":
        yield from ({"content": PIECE} for _ in range(count))
        return
    yield {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "["}}]}
    for _ in range(count):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": PIECE}}]}
    yield {"tool_calls": [{"index": 0, "function": {"arguments": "1]"}}]}


@cache
def make_pieces(kind: str, count: int) -> list[bytes]:
    """Return a complete answer, one HTTP chunk for each piece."""
    events = [make_event(delta) for delta in make_deltas(kind, count)]
    end = make_event({}, "tool_calls" if kind == "tool" else "stop", usage=USAGE)
    return [HEAD, *(make_chunk([event]) for event in events), make_chunk([end, END]), make_chunk([])]


async def send_answer(writer: asyncio.StreamWriter, model: str) -> None:
    """Send the answer that the name of the model describes."""
    kind, _, number = model.partition("-")
    if kind == "wait":
        await asyncio.sleep(float(number))
        writer.write(HEAD + make_chunk([make_event({"content": "ok"}), make_event({}, "stop", usage=USAGE), END]))
        writer.write(make_chunk([]))
    elif kind == "endless":
        writer.write(HEAD)
        chunk = make_chunk([make_event({"content": "word " * (ENDLESS_BYTES // 5)})])
        while True:
            writer.write(chunk)
            await writer.drain()
    else:
        for piece in make_pieces(kind, int(number)):
            writer.write(piece)
            await writer.drain()
    await writer.drain()


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if model := re.search(rb'"model": ?"([\w.-]+)"', body):
                await send_answer(writer, model[1].decode())
            else:
                writer.write(NOT_FOUND)
    writer.close()


async def main(files: list[str]) -> None:
    """Listen on a free port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if files else None
    if context:
        context.load_cert_chain(*files)
    server = await asyncio.start_server(serve_connection, "127.0.0.1", 0, ssl=context, backlog=1024)
    scheme, port = "https" if context else "http", server.sockets[0].getsockname()[1]
    print(f"{scheme}://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
