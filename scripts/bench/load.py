"""Measure an installed aiml at its limits: endless answers, hostile Markdown, a million rows, 256 at the same time.

    python scripts/bench/load.py --python .venv-bench/bin/python

It takes about fifteen minutes. The rows over TLS need the program openssl.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from first_token import make_certificate
from measure import HERE, make_environment
from table import Row, format_mb, format_ms, format_number, format_table
from terminal import run_on_pty, serve_text

PIECES = 80_000
ROWS, MANY_ROWS, RESULTS = 20_000, 200_000, 1_000_000
WIDE_ROWS, WIDE_JOBS, WAIT_S = 5_120, 256, 2
BLOCK_BYTES, BLOCK_PIECE = 1_000_000, 4_000  # a piece is in characters
# One block each, of whatever a model may write: its start, what is repeated, its end.
BLOCKS = {
    "a paragraph of CJK": ("", "日本語の文章", "\n"),
    "a paragraph of Arabic": ("", "مرحبا بالعالم ", "\n"),
    "a paragraph of Hindi": ("", "हिन्दी में ", "\n"),
    "a paragraph of joined emoji": ("", "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ", "\n"),
    "a paragraph of accents": ("", "e\u0301", "\n"),
    "a paragraph of short lines": ("", "a b\n", "\n"),
    "a paragraph of one long word": ("", "x", "\n"),
    "emphasis that is never closed": ("", "*a **b _c ", "\n"),
    "emphasis": ("", "*a* **b** _c_ ", "\n"),
    "brackets that are never closed": ("", "[a](", "\n"),
    "links": ("", "[a](b) ", "\n"),
    "link definitions": ("", "[a]: http://b\n", "\n"),
    "addresses": ("", "https://example.org/a <https://a.b/c> ", "\n"),
    "HTML tags": ("", "<b>a</b> ", "\n"),
    "HTML tags that are never closed": ("", "<a <b ", "\n"),
    "a block of HTML": ("<div>\n", "<p>a\n", "\n"),
    "runs of backticks": ("", "`a``b```c ", "\n"),
    "a heading of spaces": ("# a", " ", "b\n"),
    "quotes in quotes": ("", "> ", "a\n"),
    "a list of one item a line": ("", "- an item\n", "\n"),
    "a list of tasks": ("", "- [ ] a\n", "\n"),
    "lists in lists": ("", "- a\n  - b\n    1. c\n", "\n"),
    "headings with an underline": ("", "a\n===\n", "\n"),
    "a table of words": ("| a | b |\n|---|---|\n", "| 12 | word |\n", "\n"),
    "a table": ("| a | b |\n|---|---|\n", "| 日本 | `x` |\n", "\n"),
    "a code block that is never closed": ("```python\n", "def f(x): return {1: x}\n", ""),
    "a code block of one line": ("```js\n", "var a = 'b", ""),
    "a code block without a language": ("```\n", "some text\n", "```\n"),
    "a code block of Python": ("```python\n", 'x = f"{a}" + """b\n', "```\n"),
    "a code block of HTML": ("```html\n", "<a <b &c; ", "\n```\n"),
    "JSON": ("[", '{"a": [1, "b"]}, ', "1]\n"),
}


class Run(NamedTuple):
    """The cost of a run in seconds and bytes, and its exit code."""

    wall: float
    cpu: float
    memory: float
    code: int


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    parser.add_argument("--only", choices=["answers", "blocks", "rows", "tls"], help="measure only these")
    parsed = parser.parse_args()
    aiml = str(parsed.python.absolute().with_name("aiml"))
    parts = {"answers": make_answer_rows, "blocks": make_block_rows, "rows": make_row_rows, "tls": make_tls_rows}
    chosen = [part for name, part in parts.items() if parsed.only in (None, name)]
    with TemporaryDirectory() as home:
        print(format_table(row for part in chosen for row in part(aiml, Path(home))))


@contextmanager
def start_server(*files: str) -> Iterator[str]:
    """Start the server as a process; yield its base URL."""
    command = [sys.executable, str(HERE / "load_server.py"), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def run(command: Sequence[str], home: Path, stdin: Path = Path(os.devnull), stdout: Path = Path(os.devnull)) -> Run:
    """Run a command to its end, and return its cost."""
    report = home / "report"
    launch = [sys.executable, "-I", "-S", HERE / "spawn.py", report, *command]
    with stdin.open("rb") as source, stdout.open("wb") as target:
        environment = {**make_environment(home), "SSL_CERT_FILE": str(home / "certificate.pem")}
        ended = subprocess.run(
            launch, stdin=source, stdout=target, stderr=subprocess.DEVNULL, env=environment, check=False
        )
    started, stopped, cpu, memory = map(float, report.read_text().split())
    return Run((stopped - started) / 1e9, cpu, memory, ended.returncode)


def make_answer_rows(aiml: str, home: Path) -> Iterator[Row]:
    """Yield the rows of an answer that never ends, and of a tool call of many pieces."""
    with start_server() as url:
        ask = [aiml, "chat", "--base-url", url, "-m"]
        out = home / "endless"
        endless = run([*ask, "endless", "hi"], home, stdout=out)
        yield Row("an endless answer stops at", format_mb, out.stat().st_size, limit=270e6)
        yield Row("an endless answer, memory", format_mb, endless.memory)
        runs = {kind: run([*ask, f"{kind}-{PIECES}", "hi"], home) for kind in ("text", "tool")}
        name = f"a tool call of {PIECES:,} pieces, CPU, against the same text"
        yield Row(name, format_ms, runs["tool"].cpu, base=runs["text"].cpu, limit=1.5)


def make_block_rows(aiml: str, _home: Path) -> Iterator[Row]:
    """Yield the CPU time of each block of a megabyte of Markdown on a terminal."""
    for name, (start, unit, end) in BLOCKS.items():
        text = start + unit * (BLOCK_BYTES // len(unit.encode())) + end
        pieces = [text[at : at + BLOCK_PIECE] for at in range(0, len(text), BLOCK_PIECE)]
        with serve_text(pieces, {}) as url:
            cpu, _ = run_on_pty([aiml, "chat", "--base-url", url, "-m", "m", "--no-log", "hi"])
        yield Row(f"1 MB of Markdown: {name}, CPU", format_ms, cpu, limit=2)


def make_row_rows(aiml: str, home: Path) -> Iterator[Row]:
    """Yield the rows of long runs of --each."""
    out = home / "out.jsonl"
    with start_server() as url:
        each = [aiml, "chat", "--each", "line", "-j", "8", "--base-url", url, "-m", "wait-0", "Judge: {row}"]
        runs = {count: run(each, home, write_rows(home, count), out) for count in (ROWS, MANY_ROWS)}
        cpu = (runs[MANY_ROWS].cpu - runs[ROWS].cpu) / (MANY_ROWS - ROWS)
        yield Row(f"CPU a row at {MANY_ROWS:,} rows", format_ms, cpu, limit=1.3e-3)
        yield Row(f"memory at {MANY_ROWS:,} rows", format_mb, runs[MANY_ROWS].memory, limit=60e6)
        results = write_results(home, out, find_body(each, home))
        resumed = run([*each, "--resume-from", str(results)], home, write_rows(home, RESULTS))
        if resumed.code:
            raise SystemExit("resuming failed")
    yield Row(f"resuming {RESULTS:,} results, wall", format_ms, resumed.wall, limit=15)
    yield Row(f"resuming {RESULTS:,} results, memory", format_mb, resumed.memory, limit=100e6)


def write_rows(home: Path, count: int) -> Path:
    """Write the rows, and return their file."""
    path = home / f"rows-{count}"
    path.write_text("".join(f"review number {number}\n" for number in range(count)))
    return path


def find_body(each: Sequence[str], home: Path) -> bytes:
    """Return the body of the requests, without the text of a row."""
    command = [word for word in each if word not in ("--each", "line", "-j", "8")]
    shown = subprocess.run([*command, "--dry-run"], env=make_environment(home), capture_output=True, check=True)
    return json.dumps(json.loads(shown.stdout)["body"], separators=(",", ":")).encode()


def write_results(home: Path, out: Path, body: bytes) -> Path:
    """Write the results of a million rows, modeled on the first result of a run; return their file."""
    with out.open() as lines:
        first = json.loads(lines.readline())
    if first["hash"] != hash_row(body, first["input"]):
        raise SystemExit("results have another hash than this script knows")
    path = home / "results.jsonl"
    with path.open("w") as file:
        for number in range(RESULTS):
            row = f"review number {number}"
            result = {**first, "row": number + 1, "hash": hash_row(body, row), "input": row}
            file.write(json.dumps(result, ensure_ascii=False) + "\n")
    return path


def hash_row(body: bytes, row: str) -> str:
    """Return the hash in the result of a row."""
    digest = blake2b(body, digest_size=12, person=b"chat")
    digest.update(row.encode())
    return digest.hexdigest()


def make_tls_rows(aiml: str, home: Path) -> Iterator[Row]:
    """Yield the rows of many requests at the same time over TLS; nothing without openssl."""
    if not shutil.which("openssl"):
        return
    with start_server(*make_certificate(home)) as url:
        jobs = ["--each", "line", "-j", str(WIDE_JOBS), "--no-log", "--base-url", url, "-m", f"wait-{WAIT_S}"]
        wide = run([aiml, "chat", *jobs, "Judge: {row}"], home, write_rows(home, WIDE_ROWS), home / "wide.jsonl")
    ideal = WIDE_JOBS / WAIT_S
    name = f"`--each -j {WIDE_JOBS}` over TLS, answers of {WAIT_S} s"
    yield Row(f"{name}, rows a second", format_number, WIDE_ROWS / wide.wall, base=ideal, least=0.95)
    yield Row(f"{name}, memory", format_mb, wide.memory, limit=120e6)


if __name__ == "__main__":
    started = monotonic()
    main()
    print(f"{(monotonic() - started) / 60:.0f} minutes.")
