"""Run the examples of docs/many-machines.md in an isolated place, with kills, and count the results.

The place is a scratch folder, and namespaces in which there are no other processes and no network but 127.0.0.1: what
an engine starts ends with the script, and nobody else can reach it.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/many-machines.md"
ENGINES = Path(os.environ.get("AIML_ENGINES", ROOT / "build/engines"))
ROWS, SKIPPED = 2_000, 77
KEY = "sk-of-a-trial-0123456789abcdef"
_INSIDE, _DEADLINE_SECONDS, _POLL_SECONDS = "AIML_TRIAL_FOLDER", 900, 0.02
_NAMESPACES = ("--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_AS_USER = ("--user", "--map-current-user", "--keep-caps")


def skip(reason: str) -> NoReturn:
    """End the script as skipped, because a requirement is missing."""
    print(f"{Path(sys.argv[0]).stem}: skipped: {reason}")
    sys.exit(SKIPPED)


def find_blocks(language: str) -> list[str]:
    """Return the examples of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def find_block(language: str, words: str) -> str:
    """Return the example of the page with these words."""
    [block] = [block for block in find_blocks(language) if words in block]
    return block


def run_apart(run: Callable[["Trial"], None], *programs: str, engine: str = "") -> None:
    """Run a function in an isolated place and exit; skip if a program is missing. An engine is a folder of ENGINES."""
    path = os.pathsep.join((str(ENGINES / engine / "bin"), os.environ["PATH"], "/usr/sbin", "/sbin"))
    if missing := [name for name in ("unshare", "ip", "flock", *programs) if not shutil.which(name, path=path)]:
        skip(f"{', '.join(missing)} not installed")
    if folder := os.environ.get(_INSIDE):
        socket.sethostname("localhost")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        run(Trial(Path(folder), path))
        return
    unshare = ["unshare", *(() if os.geteuid() == 0 else _AS_USER), *_NAMESPACES]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        skip("namespaces are not allowed here")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="aiml-scale-") as scratch:
        command = [*unshare, sys.executable, *sys.argv]
        done = subprocess.run(command, env={**os.environ, _INSIDE: scratch}, stdin=subprocess.DEVNULL, check=False)
    sys.exit(done.returncode)


class Trial:
    """A folder with rows, a server, and the processes that work on them."""

    def __init__(self, scratch: Path, path: str) -> None:
        self.scratch, self.folder, self.kills, self._began = scratch, scratch, 0, 0.0
        (scratch / "bin").mkdir()
        (scratch / "bin/aiml").symlink_to(Path(sys.executable).with_name("aiml"))
        for name in ("home", "tmp"):
            (scratch / name).mkdir(mode=0o700)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIML", "XDG_"))}
        paths = {"PATH": f"{scratch}/bin{os.pathsep}{path}", "HOME": f"{scratch}/home", "TMPDIR": f"{scratch}/tmp"}  # noqa: S108
        self.env = {**kept, **paths, "AIML_MODEL": "demo/echo", "AIMLAPI_API_KEY": KEY}

    def serve(self, *command: str) -> None:
        """Start a server that prints its URL: the embedded one, unless a command is given."""
        server = self.start(command or ("aiml", "demo", "--port", "0"), stdout=subprocess.PIPE)
        self.env["AIML_BASE_URL"] = server.stdout.readline().decode().strip()

    def begin(self, name: str) -> None:
        """Start in a new folder with the rows and classify.sh."""
        self.folder, self.kills, self._began = self.scratch / name, 0, time.monotonic()
        self.folder.mkdir()
        (self.folder / "reviews.txt").write_text("".join(f"review number {n}\n" for n in range(1, ROWS + 1)))
        (self.folder / "classify.sh").write_text(find_block("sh", "# classify.sh"))

    def start(self, command: str | Sequence[str], **options: int) -> "subprocess.Popen[bytes]":
        """Start a command, or a line of bash, in the folder."""
        words = ["bash", "-ec", command] if isinstance(command, str) else [*command]
        words[0] = shutil.which(words[0], path=self.env["PATH"]) or words[0]
        return subprocess.Popen(words, cwd=self.folder, env=self.env, **options)

    def run(self, command: str | Sequence[str]) -> int:
        """Run a command to its end; return its exit code."""
        return self.start(command).wait(_DEADLINE_SECONDS)

    def read(self, command: str | Sequence[str]) -> str:
        """Return what a command prints."""
        with self.start(command, stdout=subprocess.PIPE) as process:
            return process.stdout.read().decode()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; raise TimeoutError after some minutes."""
        end = time.monotonic() + _DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(_POLL_SECONDS)

    def wait_for_rows(self, count: int) -> None:
        """Wait until there are this many results."""
        self.wait_until(
            lambda: sum(path.read_bytes().count(b"\n") for path in self.folder.glob("out.*.jsonl")) >= count
        )

    def kill(self, pids: Sequence[int]) -> None:
        """Kill processes, as kill -9 does."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.kills += len(pids)

    def kill_tasks(self, count: int) -> None:
        """Kill some of the processes that ask for rows."""
        self.wait_until(lambda: len(find_tasks()) >= count)
        self.kill(find_tasks()[:count])

    def check(self, more: str = "") -> None:
        """Print what became of the rows; exit with 1 unless each has exactly one good result."""
        good: Counter[int] = Counter()
        for result in read_results(self.folder):
            if result["error"] is None and result["input"] == f"review number {result['row']}":
                good[result["row"]] += 1
        missing = ROWS - sum(1 for row in good if row <= ROWS)
        twice = sum(1 for count in good.values() if count > 1)
        seconds = time.monotonic() - self._began
        print(
            f"{self.folder.name}: {ROWS:,} rows, {self.kills} kills, {missing} missing, {twice} twice, {seconds:.0f} s",
            *([more] if more else []), sep=", ", flush=True,
        )  # fmt: skip
        if missing or twice:
            sys.exit(1)


def read_results(folder: Path) -> Iterator[dict[str, object]]:
    """Yield all lines of all tasks."""
    for path in sorted(folder.glob("out.*.jsonl")):
        yield from map(json.loads, path.read_text("utf-8").splitlines())


def read_commands() -> dict[int, list[str]]:
    """Return the words of all processes."""
    commands = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # the process has ended
        commands[int(path.parent.name)] = words
    return commands


def find_tasks() -> list[int]:
    """Return the processes of aiml that ask for rows, not their shells."""
    return [pid for pid, words in read_commands().items() if "--resume-from" in words and "flock" not in words]


def find_parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
