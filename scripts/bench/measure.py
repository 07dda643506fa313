"""Run programs in alternation against the server, and take the medians of what each run cost."""

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

from server import answer

HERE = Path(__file__).parent
MODELS = {count: f"tokens-{count}" for count in (20, 2_000, 20_000, 100_000)}


@dataclass(frozen=True)
class Cost:
    """Hold what a run cost; seconds and bytes. `request` is from the start to the request's arrival."""

    wall: float
    cpu: float
    memory: float
    request: float = 0.0


class Bench:
    """Hold what all runs share: the server, a home of their own, the environment."""

    def __init__(self, home: Path, server: IO[str]) -> None:
        self.url = server.readline().strip()
        self._server = server
        self._report = home / "report"
        self._env = environment(home)

    def race(self, rounds: int, commands: Mapping[str, Sequence[str]], expected: str | None = None) -> dict[str, Cost]:
        """Run each command in each round; give the medians. The round before the first is not counted.

        With `expected`, each run must make one request and print that answer.
        """
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                costs[name].append(self._run(command, expected))
        return {name: middle(each[1:]) for name, each in costs.items()}

    def _run(self, command: Sequence[str], expected: str | None) -> Cost:
        launch = [sys.executable, "-I", "-S", HERE / "spawn.py", self._report, *command]
        ended = subprocess.run(launch, stdin=subprocess.DEVNULL, capture_output=True, env=self._env, check=False)
        if ended.returncode:
            raise SystemExit(f"failed: {' '.join(command)}\n{ended.stderr.decode()}")
        if expected is not None and ended.stdout.decode().strip() != expected.strip():
            raise SystemExit(f"a wrong answer: {' '.join(command)}\n{ended.stdout[:300]!r}")
        started, stopped, cpu, memory = map(float, self._report.read_text().split())
        request = (self._arrival() - started) / 1e9 if expected is not None else 0.0
        return Cost((stopped - started) / 1e9, cpu, memory, request)

    def _arrival(self) -> float:
        """Read when the last question arrived; what else was asked is passed over."""
        while True:
            method, _, arrived = self._server.readline().split()
            if method == "POST":
                return float(arrived)


@contextmanager
def bench() -> Iterator[Bench]:
    """Start the server; stop it in the end."""
    command = [sys.executable, HERE / "server.py", *MODELS.values()]
    with TemporaryDirectory() as home, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield Bench(Path(home), server.stdout)
        finally:
            server.terminate()


def environment(home: Path) -> dict[str, str]:
    """Give an environment without this user's settings, history and proxies."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    shared = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "AIMLAPI_API_KEY": "bench"}
    return {"HOME": str(home), **folders, **shared}


def middle(costs: Sequence[Cost]) -> Cost:
    """Give the median of each field."""
    return Cost(**{field.name: median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)})


@cache
def text(count: int) -> str:
    """Give the answer that so many tokens make."""
    return answer(count)
