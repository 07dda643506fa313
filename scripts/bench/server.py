"""Stream as many tokens as the name of the model says, and print when each request arrives.

Prints its base URL first; then a line per request: method, path, and time.monotonic_ns() at its first
byte, a clock that all processes of this machine share.
"""

import json
import re
import socket
import sys
import time
from functools import cache
from threading import Thread

WORDS = [" the", " sky", " is", " blue", " because", " air", " scatters", " short", " waves", " most", "\n"]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def make_answer(count: int) -> str:
    """Return the text of `count` tokens."""
    return "".join(make_token(index) for index in range(count))


def make_token(index: int) -> str:
    """Return one token."""
    return WORDS[index % len(WORDS)]


@cache
def make_stream(model: str) -> list[bytes]:
    """Return a complete response, prepared in advance so that the work of the server is not measured."""
    count = int(model.rpartition("-")[2])
    deltas = [{"role": "assistant", "content": ""}, *({"content": make_token(index)} for index in range(count))]
    events = [make_event(model, delta, None) for delta in deltas]
    return [HEAD, *events, make_event(model, {}, "stop"), make_chunk(b"data: [DONE]\n\n"), make_chunk(b"")]


def make_event(model: str, delta: dict[str, str], finish_reason: str | None) -> bytes:
    """Return one event as one HTTP chunk, as gateways send it."""
    payload = {
        "id": "chatcmpl-BvK2hJ7cQmZ0pTn4rXwYdE9sLgAf1",
        "object": "chat.completion.chunk",
        "created": 1763800000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return make_chunk(b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n")


def make_chunk(content: bytes) -> bytes:
    """Return bytes as one HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def serve_connection(connection: socket.socket) -> None:
    """Answer the requests of one connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while first := connection.recv(65536):
            arrived = time.monotonic_ns()
            head, body = read_request(connection, first)
            method, path = head.split(" ", 2)[:2]
            print(method, path, arrived, flush=True)
            model = re.search(rb'"model": ?"([\w-]+)"', body)  # the body may be 50 MB, so it is not parsed
            for piece in make_stream(model[1].decode()) if model and method == "POST" else [NOT_FOUND]:
                connection.sendall(piece)  # one by one, as a gateway flushes each token


def read_request(connection: socket.socket, received: bytes) -> tuple[str, bytes]:
    """Read the rest of a request; return its head and its body."""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, rest = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body = bytearray(rest)
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 20)
    return head.decode(), bytes(body)


def main() -> None:
    """Listen on a free port; `python server.py tokens-2000 …` prepares these responses in advance."""
    for model in sys.argv[1:]:
        make_stream(model)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        while True:
            Thread(target=serve_connection, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
