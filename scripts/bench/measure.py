"""Run programs in turn against the server, and compute the medians of their costs."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import IO

from server import make_answer

HERE = Path(__file__).parent
MODELS = {count: f"tokens-{count}" for count in (20, 2_000, 20_000, 100_000)}


@dataclass(frozen=True)
class Cost:
    """The cost of a run in seconds and bytes; `request` is the time until the request arrives."""

    wall: float
    cpu: float
    memory: float
    request: float = 0.0


class Bench:
    """The server, the home and the environment that all runs share."""

    def __init__(self, home: Path, server: IO[str]) -> None:
        self.url = server.readline().strip()
        self._server = server
        self._report = home / "report"
        self.env = make_environment(home)

    def measure(
        self,
        rounds: int,
        commands: Mapping[str, Sequence[str]],
        expected: str | None = None,
        stdin: Path = Path(os.devnull),
    ) -> dict[str, Cost]:
        """Run each command once per round and return the medians. A first round is not counted.

        With `expected`, each run must make one request and print that answer.
        """
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                costs[name].append(self.run(command, expected, stdin))
        return {name: compute_medians(runs[1:]) for name, runs in costs.items()}

    def run(self, command: Sequence[str], expected: str | None = None, stdin: Path = Path(os.devnull)) -> Cost:
        """Run a command once and return its cost."""
        launch = [sys.executable, "-I", "-S", HERE / "spawn.py", self._report, *command]
        with stdin.open("rb") as source:
            ended = subprocess.run(launch, stdin=source, capture_output=True, env=self.env, check=False)
        if ended.returncode:
            raise SystemExit(f"failed: {' '.join(command)}\n{ended.stderr.decode()}")
        if expected is not None and ended.stdout.decode().strip() != expected.strip():
            raise SystemExit(f"a wrong answer: {' '.join(command)}\n{ended.stdout[:300]!r}")
        started, stopped, cpu, memory = map(float, self._report.read_text().split())
        request = (self._read_arrival() - started) / 1e9 if expected is not None else 0.0
        return Cost((stopped - started) / 1e9, cpu, memory, request)

    def _read_arrival(self) -> float:
        """Return when the last POST arrived, in nanoseconds; other requests are skipped."""
        while True:
            method, _, arrived = self._server.readline().split()
            if method == "POST":
                return float(arrived)


@contextmanager
def start_bench() -> Iterator[Bench]:
    """Start the server; stop it at the end of the block."""
    command = [sys.executable, HERE / "server.py", *MODELS.values()]
    with TemporaryDirectory() as home, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield Bench(Path(home), server.stdout)
        finally:
            server.terminate()


def make_environment(home: Path) -> dict[str, str]:
    """Return an environment without the settings, history and proxies of the user."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    shared = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "AIMLAPI_API_KEY": "bench"}
    return {"HOME": str(home), **folders, **shared}


def compute_medians(costs: Sequence[Cost]) -> Cost:
    """Return the median of each field."""
    return Cost(**{field.name: median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)})


@cache
def make_text(count: int) -> str:
    """Return the text of an answer of `count` tokens."""
    return make_answer(count)
