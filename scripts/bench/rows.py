"""Measure the cost of --each per row: compared to a shell loop over aiml chat, and in memory for more rows.

    python scripts/bench/rows.py --python .venv-bench/bin/python

The demo server answers both, in a process of its own.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from measure import make_environment
from table import Row, format_mb, format_ms, format_number, format_table

LOOP, FEW, MANY = 20, 1_000, 10_000


@contextmanager
def start_demo(aiml: str, env: dict[str, str]) -> Iterator[str]:
    """Start the demo server as a process; yield its URL."""
    with subprocess.Popen([aiml, "demo", "--port", "0"], env=env, stdout=-1, stderr=subprocess.DEVNULL) as server:
        try:
            yield server.stdout.readline().decode().strip()
        finally:
            server.terminate()


def measure_each(aiml: str, env: dict[str, str], url: str, count: int) -> tuple[float, float, int]:
    """Run --each over `count` rows; return the seconds, those of CPU, and the peak memory in bytes."""
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as out:
        rows.write(b"".join(b"review number %d\n" % number for number in range(count)))
        rows.seek(0)
        started = monotonic()
        flags = ["--each", "line", "-j", "8", "-q", "--base-url", url, "-m", "demo/echo"]
        command = [aiml, "chat", *flags, "Judge: {row}"]
        process = subprocess.Popen(command, env=env, stdin=rows, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        if status or sum(1 for _ in out) != count:
            raise SystemExit(f"failed: {' '.join(command)}")
    return monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def measure_loop(aiml: str, env: dict[str, str], url: str) -> float:
    """Run one command per row in a shell loop; return the seconds per row."""
    ask = f'"{aiml}" chat --no-stdin --no-log --base-url {url} -m demo/echo "Judge: review number $n" >/dev/null'
    started = monotonic()
    subprocess.run(["sh", "-ec", f"for n in $(seq {LOOP}); do {ask}; done"], env=env, check=True)
    return (monotonic() - started) / LOOP


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    aiml = str(parser.parse_args().python.absolute().with_name("aiml"))
    print(format_table(make_row_rows(aiml)))


def make_row_rows(aiml: str) -> Iterator[Row]:
    """Yield the rows of --each."""
    with tempfile.TemporaryDirectory() as home:
        env = make_environment(Path(home))
        with start_demo(aiml, env) as url:
            few_s, few_cpu, few = measure_each(aiml, env, url, FEW)
            _, many_cpu, many = measure_each(aiml, env, url, MANY)
            alone = measure_loop(aiml, env, url)
    rate, loop = FEW / few_s, 1 / alone
    yield Row("`--each -j 8`, rows a second, against a shell loop", format_number, rate, base=loop, least=50)
    yield Row("`--each -j 8`, CPU a row", format_ms, (many_cpu - few_cpu) / (MANY - FEW), limit=1.3e-3)
    yield Row(f"memory at {MANY:,} rows, against {FEW:,}", format_mb, many, base=few, limit=1.1)


if __name__ == "__main__":
    main()
