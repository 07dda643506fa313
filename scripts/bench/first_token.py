"""Measure how long the first token takes over TLS at a round trip of 40 ms, against curl in the same run.

    python scripts/bench/first_token.py --python .venv-bench/bin/python

The server is on loopback, behind a relay that delays each direction by 20 ms. Needs the programs curl and openssl.
"""

import argparse
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread

from measure import HERE, make_environment
from server import make_stream, read_request
from table import Row, format_ms, format_table

DELAY_S = 0.02
ROUNDS = 15
MODEL = "tokens-20"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    python = parser.parse_args().python.absolute()  # not resolved: a venv's python is a link
    print(format_table(make_first_token_rows(str(python), str(python.with_name("aiml")))))


def make_first_token_rows(python: str, aiml: str) -> Iterator[Row]:
    """Yield the row of the first token: the seconds more than curl; nothing without curl or openssl."""
    if not (shutil.which("curl") and shutil.which("openssl")):
        return
    with TemporaryDirectory() as home, serve_far_away(Path(home)) as (url, bundle):
        commands = {
            "aiml": [aiml, "chat", "--base-url", url, "-m", MODEL, "hi"],
            "httpx": [python, str(HERE / "httpx_minimal.py"), url, MODEL, "hi"],
            "curl": make_curl_command(url, bundle),
        }
        walls = measure(commands, {**make_environment(Path(home)), "SSL_CERT_FILE": bundle})
    base = walls["curl"]
    measured = f"first token over TLS with a round trip of 40 ms, time after the {format_ms(base)} of curl"
    yield Row(measured, format_ms, aiml=walls["aiml"] - base, httpx=walls["httpx"] - base, limit=0.06)


def make_curl_command(url: str, bundle: str) -> list[str]:
    """Return the command that sends the same request with curl."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True})
    headers = ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer bench"]
    return ["curl", "-sSN", "--cacert", bundle, *headers, "-d", body, f"{url}/chat/completions"]


def measure(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> dict[str, float]:
    """Run the commands in turn; return the median of each time to the first byte. A first round is not counted."""
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS + 1):
        for name, command in commands.items():
            walls[name].append(time_first_byte(command, environment))
    return {name: median(times[1:]) for name, times in walls.items()}


def time_first_byte(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the seconds from the start of a program to its first byte of output."""
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as process:
        first = os.read(process.stdout.fileno(), 1)
        seconds = time.monotonic() - started
        process.stdout.read()
    if not first or process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return seconds


@contextmanager
def serve_far_away(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a server with TLS behind a relay; yield its base URL, and the file with its certificate."""
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    make_stream(MODEL)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as relay:
        accept(server, lambda connection: answer(context, connection))
        accept(relay, lambda connection: delay_both_ways(connection, server.getsockname()))
        yield f"https://127.0.0.1:{relay.getsockname()[1]}/v1", certificate


def make_certificate(folder: Path) -> tuple[str, str]:
    """Create a self-signed certificate for 127.0.0.1; return its file and that of its key."""
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def accept(listener: socket.socket, handle: object) -> None:
    """Handle each connection in its own thread, until the listener is closed."""

    def run() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Thread(target=handle, args=(connection,), daemon=True).start()

    Thread(target=run, daemon=True).start()


def answer(context: ssl.SSLContext, connection: socket.socket) -> None:
    """Answer the requests of one connection."""
    with suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
        while first := encrypted.recv(65536):
            read_request(encrypted, first)
            for piece in make_stream(MODEL):
                encrypted.sendall(piece)


def delay_both_ways(client: socket.socket, address: tuple[str, int]) -> None:
    """Forward the bytes of a connection with a delay of 20 ms in each direction."""
    server = socket.create_connection(address)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for source, target in ((client, server), (server, client)):
        late = SimpleQueue()
        Thread(target=receive, args=(source, late), daemon=True).start()
        Thread(target=send_late, args=(late, target), daemon=True).start()


def receive(source: socket.socket, late: SimpleQueue) -> None:
    """Put each piece in the queue with the time at which to send it; the last one is empty."""
    piece = b"."
    while piece:
        try:
            piece = source.recv(65536)
        except OSError:
            piece = b""
        late.put((time.monotonic() + DELAY_S, piece))


def send_late(late: SimpleQueue, target: socket.socket) -> None:
    """Send each piece at its time."""
    with suppress(OSError):
        while True:
            due, piece = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(piece)


if __name__ == "__main__":
    main()
