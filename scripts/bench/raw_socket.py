"""Stream one chat answer with only a socket and the JSON module: the limit for Python."""

import json
import os
import socket
import sys
from collections.abc import Iterator


def main(base: str, model: str, prompt: str) -> None:
    """Print the text while it arrives, with one write per network read."""
    prompt = sys.stdin.read() if prompt == "-" else prompt
    host, port = base.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(build_request(host, model, prompt))
        for payload in parse_events(read_chunks(connection)):
            if text := "".join(map(get_text, payload)):
                os.write(1, text.encode())
    os.write(1, b"\n")


def build_request(host: str, model: str, prompt: str) -> bytes:
    """Return the bytes of the request."""
    message = {"role": "user", "content": prompt}
    body = json.dumps({"model": model, "messages": [message], "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {os.environ['AIMLAPI_API_KEY']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def read_chunks(connection: socket.socket) -> Iterator[bytes]:
    """Yield the body without its framing, one piece per read."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        buffer += receive(connection)
    head, _, buffer = buffer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode())
    while True:
        pieces, at, ended = unframe(buffer)
        yield b"".join(pieces)
        if ended:
            return
        buffer = buffer[at:] + receive(connection)


def unframe(buffer: bytes) -> tuple[list[bytes], int, bool]:
    """Return the complete chunks of a buffer, the position of the rest, and whether the last chunk has arrived."""
    pieces, at = [], 0
    while (line_end := buffer.find(b"\r\n", at)) >= 0:
        start = line_end + 2
        end = start + int(buffer[at:line_end], 16)
        if len(buffer) < end + 2:
            break
        if start == end:
            return pieces, end + 2, True
        pieces.append(buffer[start:end])
        at = end + 2
    return pieces, at, False


def receive(connection: socket.socket) -> bytes:
    """Read once; exit if the stream ends before its last chunk."""
    received = connection.recv(65536)
    if not received:
        raise SystemExit("the stream was cut")
    return received


def parse_events(bodies: Iterator[bytes]) -> Iterator[list[dict]]:
    """Yield the server-sent events that each piece of the body completes."""
    rest = b""
    for body in bodies:
        *whole, rest = (rest + body).split(b"\n\n")
        yield [json.loads(event[6:]) for event in whole if event != b"data: [DONE]"]


def get_text(event: dict) -> str:
    """Return the text of one event."""
    return event["choices"][0]["delta"].get("content", "")


if __name__ == "__main__":
    main(*sys.argv[1:])
