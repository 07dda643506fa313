"""Measure the cost of Markdown on a terminal: CPU, bytes and lag, on a pty that this script reads.

    python scripts/bench/terminal.py --python .venv-bench/bin/python

The CPU is set against the raw socket printing the same text plain, and the naive loop redraws all of it for each token.
"""

import argparse
import os
import pty
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from math import log
from pathlib import Path
from statistics import median
from threading import Thread
from time import monotonic, sleep

from measure import HERE, make_environment
from server import HEAD, make_chunk, make_event, read_request
from table import Row, format_ms, format_number, format_table, format_us

SAMPLE = """## A heading of part {n}

A paragraph with **bold** words, `code` and a [link](https://example.org/{n}) that goes on for longer than a line of
the terminal is, as most paragraphs of most answers do, and then comes to its end.

- the first of some items, with *emphasis*
- the second one
  - one within it
1. a number

```python
def part_{n}(x: int) -> str:
    \"\"\"Say what it is.\"\"\"
    return f"{x}" * {n}  # a comment
```

| name | value | note |
|------|------:|------|
| a{n} | {n} | short |
| b{n} | 2 | **bold** |

"""
START, FLAT_OUT, PACED = 200, (2_000, 20_000, 60_000), 600  # after 200 tokens all renderers are loaded
EVERY_S = 1 / 200
NAIVE_TOKENS = 500  # its time grows with the square of their number
NAIVE = """
import sys
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
text = ""
with Live(console=Console(force_terminal=True), vertical_overflow="visible", refresh_per_second=20) as live:
    for token in sys.stdin.read().split("\\0"):
        text += token
        live.update(Markdown(text), refresh=True)
"""


def make_tokens(count: int) -> list[str]:
    """Return `count` tokens of Markdown, of about four characters each."""
    return list(islice(_split_sample(), count))


def _split_sample() -> Iterator[str]:
    part = 0
    while True:
        part += 1
        yield from re.findall(r"\s?\S{1,5}|\s", SAMPLE.replace("{n}", str(part)))


@contextmanager
def serve_text(tokens: Sequence[str], sent: dict[int, float], every_s: float = 0.0) -> Iterator[str]:
    """Serve one text; store in `sent` when each token was sent."""
    frames = [make_event("m", {"content": token}, None) for token in tokens]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_serve, args=(listener, frames, sent, every_s), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def _serve(listener: socket.socket, frames: Sequence[bytes], sent: dict[int, float], every_s: float) -> None:
    with suppress(OSError):
        while True:
            connection = listener.accept()[0]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read_request(connection, connection.recv(65536))
            connection.sendall(HEAD)
            for number, frame in enumerate(frames):
                sent[number] = monotonic()
                connection.sendall(frame)
                if every_s:
                    sleep(every_s)
            connection.sendall(make_event("m", {}, "stop") + make_chunk(b"data: [DONE]\n\n") + make_chunk(b""))
            connection.close()


def run_on_pty(command: Sequence[str], stdin: str = "/dev/null") -> tuple[float, list[tuple[float, bytes]]]:
    """Run a command on a pty of 80 columns; return its CPU seconds, and its output with the times."""
    with tempfile.TemporaryDirectory() as home:
        child, screen = pty.fork()
        if not child:
            os.dup2(os.open(stdin, os.O_RDONLY), 0)
            os.execve(command[0], command, {**make_environment(Path(home)), "TERM": "xterm-256color"})  # noqa: S606 - on purpose
        output = []
        with suppress(OSError):  # a pty whose other side is closed raises it
            while piece := os.read(screen, 65536):
                output.append((monotonic(), piece))
        _, status, used = os.wait4(child, 0)
        os.close(screen)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}\n{b''.join(piece for _, piece in output).decode()}")
    return used.ru_utime + used.ru_stime, output


def count_bytes(output: Sequence[tuple[float, bytes]]) -> int:
    """Return the number of bytes that the program wrote, before the tty converted each line end to two bytes."""
    return sum(len(piece.replace(b"\r\n", b"\n")) for _, piece in output)


def measure_lags(tokens: Sequence[str], sent: dict[int, float], output: Sequence[tuple[float, bytes]]) -> list[float]:
    """Return the seconds from the sending of each token to its first appearance."""
    seen, waiting = b"", dict(enumerate(tokens))
    lags: list[float] = []
    for when, piece in output:
        seen += piece
        for number in [number for number, token in waiting.items() if token.strip().encode() in seen]:
            lags.append(when - sent[number])
            del waiting[number]
    return lags


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    print(format_table(make_terminal_rows(str(parser.parse_args().python.absolute()))))


def make_terminal_rows(python: str) -> Iterator[Row]:
    """Yield the rows of Markdown on a terminal."""
    costs = {count: measure_flat_out(python, count) for count in (START, *FLAT_OUT)}
    low, *_, high = FLAT_OUT
    ours, raw = ({count: cost[i] - costs[START][i] for count, cost in costs.items()} for i in (0, 1))
    token, base = (cpu[high] / (high - START) for cpu in (ours, raw))
    yield Row("Markdown on a terminal, CPU a token, against plain text", format_us, token, base, base=base, limit=5)
    growth = log(ours[high] / ours[low]) / log((high - START) / (low - START))
    yield Row(f"Markdown, growth from {low:,} to {high:,} tokens, exponent", format_number, growth, limit=1.1)
    yield Row("bytes to the terminal per byte of the answer", format_number, costs[high][2], limit=1.4)
    yield from measure_paced(python)
    naive = measure_naive(python)
    name = f"a naive `rich.Live` loop at {NAIVE_TOKENS:,} tokens, CPU, against Markdown here"
    yield Row(name, format_ms, naive, base=token * NAIVE_TOKENS)


def measure_flat_out(python: str, count: int) -> tuple[float, float, float]:
    """Return the CPU seconds of aiml and of the raw socket, and the bytes written per byte of the answer."""
    tokens = make_tokens(count)
    aiml = [str(Path(python).with_name("aiml")), "chat", "-m", "m", "--no-log", "hi", "--base-url"]
    ours, raw, ratio = [], [], 0.0
    for _ in range(3 if count > FLAT_OUT[0] else 9):  # short runs are noisier
        with serve_text(tokens, {}) as url:
            cpu, output = run_on_pty([*aiml, url])
            ours.append(cpu)
            ratio = count_bytes(output) / len("".join(tokens).encode())
            raw.append(run_on_pty([python, str(HERE / "raw_socket.py"), url, "m", "hi"])[0])
    return median(ours), median(raw), ratio


def measure_paced(python: str) -> Iterator[Row]:
    """Yield the bytes at the speed of a fast model, and the lag of each word."""
    aiml = [str(Path(python).with_name("aiml")), "chat", "-m", "m", "--no-log", "hi", "--base-url"]
    tokens = make_tokens(PACED)
    with serve_text(tokens, {}, EVERY_S) as url:
        _, output = run_on_pty([*aiml, url])
    ratio = count_bytes(output) / len("".join(tokens).encode())
    yield Row("the same at 200 tokens a second", format_number, ratio, limit=4)
    ends = cycle([" "] * 30 + ["\n\n"])
    sent: dict[int, float] = {}
    tokens = [f"w{number:04}{end}" for number, end in zip(range(PACED), ends, strict=False)]
    with serve_text(tokens, sent, EVERY_S) as url:
        _, output = run_on_pty([*aiml, url])
    late = measure_lags(tokens, sent, output)
    yield Row("lag of a word at 200 tokens a second, median", format_ms, median(late), limit=0.02)
    yield Row("lag of a word, most", format_ms, max(late), limit=0.06)


def measure_naive(python: str) -> float:
    """Return the CPU seconds of a loop that redraws the complete text for each token."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\0".join(make_tokens(NAIVE_TOKENS)))
        file.flush()
        return run_on_pty([python, "-c", NAIVE], file.name)[0]


if __name__ == "__main__":
    main()
