"""Measure an installed aiml with a history of 100,000 conversations and 500 MB, while another process writes to it.

    python scripts/bench/history.py --python .venv-bench/bin/python

It takes some minutes and 3 GB of the temporary directory.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from build_history import build_history
from measure import HERE, Bench, make_text, start_bench
from table import Row, format_mb, format_ms, format_table

ROUNDS = 5
SHORT = 20
MODEL = f"tokens-{SHORT}"
SEARCHES = {"ASCII": "giraffe", "two Chinese characters": "评审", "a symbol": "C++", "a frequent word": "question"}


def main() -> None:
    """Build the history, run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--text-size", type=int, default=2_500)
    parsed = parser.parse_args()
    aiml = str(parsed.python.absolute().with_name("aiml"))
    with start_bench() as running:
        print(format_table(list(measure(running, aiml, parsed.conversations, parsed.text_size))))


def measure(running: Bench, aiml: str, conversations: int, text_size: int) -> Iterator[Row]:
    """Yield a row for each command."""
    ask = {"ask": [aiml, "chat", "--base-url", running.url, "-m", MODEL, "hi"]}
    empty = running.measure(ROUNDS, ask, make_text(SHORT))["ask"]
    path = Path(running.env["XDG_DATA_HOME"]) / "aiml" / "history.db"
    for part in path.parent.iterdir():
        part.unlink()
    build_history(path, conversations, text_size)
    yield from measure_with_writer(running, "first search", [aiml, "history", "search", "giraffe"])
    full = running.measure(ROUNDS, ask, make_text(SHORT))["ask"]
    yield Row("ask, against an empty history", format_ms, full.wall, base=empty.wall, limit=1.1)
    commands = {f"search: {name}": [aiml, "history", "search", words] for name, words in SEARCHES.items()}
    commands["list"] = [aiml, "history", "list"]
    commands["list: two Chinese characters"] = [aiml, "history", "list", "评审"]
    commands["usage of all time"] = [aiml, "usage", "--by", "model", "--period", "all"]
    for name, cost in running.measure(ROUNDS, commands).items():
        yield Row(name, format_ms, cost.wall, limit=0.5)
    export = [aiml, "history", "export", "-o", str(path.with_name("export.md"))]
    yield from measure_with_writer(running, "export", export)
    names = subprocess.run([aiml, "history", "list", "--json"], env=running.env, capture_output=True, check=True)
    name = json.loads(names.stdout)[-1]["id"]
    yield from measure_with_writer(running, "delete one", [aiml, "history", "rm", name])
    yield from measure_with_writer(running, "delete all", [aiml, "history", "rm", "--all", "-y"])


def measure_with_writer(running: Bench, name: str, command: list[str]) -> Iterator[Row]:
    """Yield the cost of a command, and the longest wait of another process that writes at the same time."""
    with write_meanwhile(running.env) as waits:
        cost = running.run(command)
    yield Row(name, format_ms, cost.wall)
    yield Row(f"{name}, memory", format_mb, cost.memory, limit=60e6)
    yield Row(f"{name}, longest wait of a writer", format_ms, max(waits), limit=0.5)


@contextmanager
def write_meanwhile(env: dict[str, str]) -> Iterator[list[float]]:
    """Write answers in another process during the block; then fill the list with the seconds of each."""
    waits: list[float] = []
    command = [sys.executable, str(HERE / "write_history.py"), "0.1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, **env}, text=True, **pipes) as writer:
        writer.stdout.readline()
        try:
            yield waits
        finally:
            waits += map(float, writer.communicate()[0].split())


if __name__ == "__main__":
    main()
