"""Measure what Markdown on a terminal costs: CPU, bytes and lag, on a pty that is read here.

    python scripts/bench/terminal.py --python .venv-bench/bin/python

The CPU is set against the raw socket printing the same text plain, and the naive loop draws all of it anew each time.
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

from measure import HERE, environment
from server import HEAD, chunk, event, read

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
START, FLAT_OUT, PACED = 200, (2_000, 20_000, 60_000), 600  # after 200 tokens all that draws is loaded
EVERY_S = 1 / 200
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


def tokens(count: int) -> list[str]:
    """Give so many tokens of Markdown, of about four characters each."""
    return list(islice(_pieces(), count))


def _pieces() -> Iterator[str]:
    part = 0
    while True:
        part += 1
        yield from re.findall(r"\s?\S{1,5}|\s", SAMPLE.replace("{n}", str(part)))


@contextmanager
def served(said: Sequence[str], sent: dict[int, float], every_s: float = 0.0) -> Iterator[str]:
    """Serve one text; note when each token was sent."""
    frames = [event("m", {"content": token}, None) for token in said]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_serve, args=(listener, frames, sent, every_s), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def _serve(listener: socket.socket, frames: Sequence[bytes], sent: dict[int, float], every_s: float) -> None:
    with suppress(OSError):
        while True:
            connection = listener.accept()[0]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read(connection, connection.recv(65536))
            connection.sendall(HEAD)
            for number, frame in enumerate(frames):
                sent[number] = monotonic()
                connection.sendall(frame)
                if every_s:
                    sleep(every_s)
            connection.sendall(event("m", {}, "stop") + chunk(b"data: [DONE]\n\n") + chunk(b""))
            connection.close()


def run(command: Sequence[str], stdin: str = "/dev/null") -> tuple[float, list[tuple[float, bytes]]]:
    """Run a command on a pty of 80 columns; give its CPU seconds, and what it wrote with the times."""
    with tempfile.TemporaryDirectory() as home:
        child, screen = pty.fork()
        if not child:
            os.dup2(os.open(stdin, os.O_RDONLY), 0)
            os.execve(command[0], command, {**environment(Path(home)), "TERM": "xterm-256color"})  # noqa: S606 - on purpose
        wrote = []
        with suppress(OSError):  # how a pty says that the other side is gone
            while piece := os.read(screen, 65536):
                wrote.append((monotonic(), piece))
        _, status, used = os.wait4(child, 0)
        os.close(screen)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}\n{b''.join(piece for _, piece in wrote).decode()}")
    return used.ru_utime + used.ru_stime, wrote


def size(wrote: Sequence[tuple[float, bytes]]) -> int:
    """Count the bytes as the program wrote them, before the tty made two of each line's end."""
    return sum(len(piece.replace(b"\r\n", b"\n")) for _, piece in wrote)


def lags(said: Sequence[str], sent: dict[int, float], wrote: Sequence[tuple[float, bytes]]) -> list[float]:
    """Give the seconds from each token's sending to its first appearance."""
    seen, places = b"", dict(enumerate(said))
    found: list[float] = []
    for when, piece in wrote:
        seen += piece
        for number in [number for number, token in places.items() if token.strip().encode() in seen]:
            found.append(when - sent[number])
            del places[number]
    return found


def main() -> None:
    """Print a line a measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    python = str(parser.parse_args().python.absolute())
    costs = {count: flat_out(python, count) for count in (START, *FLAT_OUT)}
    least, *_, most = FLAT_OUT
    ours, raw = ({count: cost[each] - costs[START][each] for count, cost in costs.items()} for each in (0, 1))
    ratio, growth = ours[most] / raw[most], log(ours[most] / ours[least]) / log((most - START) / (least - START))
    print(f"CPU a token on a terminal: {ours[most] / (most - START) * 1e6:.1f} µs, {ratio:.1f} of the raw socket (≤ 8)")
    print(f"exponent from {least:,} to {most:,}: {growth:.2f} (≤ 1.1)")
    print(f"bytes flat out, of those of the answer: {costs[most][2]:.2f} (≤ 1.6)")
    paced(python)
    naive(python, ours[least])


def flat_out(python: str, count: int) -> tuple[float, float, float]:
    """Give the CPU seconds of aiml and of the raw socket, and the bytes written for each of the answer."""
    said = tokens(count)
    aiml = [str(Path(python).with_name("aiml")), "chat", "-m", "m", "--no-log", "hi", "--base-url"]
    ours, raw, ratio = [], [], 0.0
    for _ in range(3 if count > FLAT_OUT[0] else 9):  # the shorter, the more its noise counts
        with served(said, {}) as url:
            cpu, wrote = run([*aiml, url])
            ours.append(cpu)
            ratio = size(wrote) / len("".join(said).encode())
            raw.append(run([python, str(HERE / "raw_socket.py"), url, "m", "hi"])[0])
    return median(ours), median(raw), ratio


def paced(python: str) -> None:
    """Measure bytes at the pace of a fast model, and how late each word is seen."""
    aiml = [str(Path(python).with_name("aiml")), "chat", "-m", "m", "--no-log", "hi", "--base-url"]
    said = tokens(PACED)
    with served(said, {}, EVERY_S) as url:
        _, wrote = run([*aiml, url])
    print(f"bytes at 200 tokens/s: {size(wrote) / len(''.join(said).encode()):.2f} (≤ 4)")
    ends = cycle([" "] * 30 + ["\n\n"])
    sent: dict[int, float] = {}
    said = [f"w{number:04}{end}" for number, end in zip(range(PACED), ends, strict=False)]
    with served(said, sent, EVERY_S) as url:
        _, wrote = run([*aiml, url])
    late = lags(said, sent, wrote)
    print(f"lag at 200 tokens/s: median {median(late) * 1e3:.1f} ms (≤ 20), most {max(late) * 1e3:.1f} ms (≤ 60)")


def naive(python: str, ours: float) -> None:
    """Compare with a loop that draws the whole text for each token."""
    with tempfile.NamedTemporaryFile("w") as said:
        said.write("\0".join(tokens(FLAT_OUT[0])))
        said.flush()
        cpu, _ = run([python, "-c", NAIVE], said.name)
    print(f"a naive rich.Live loop at {FLAT_OUT[0]:,} tokens: {cpu:.1f} s, {cpu / ours:.0f} of ours without its start")


if __name__ == "__main__":
    main()
