"""What processes and threads do."""

import threading
from pathlib import Path


def is_running(pid: int) -> bool:
    """True if a process is running; an ended one may still exist as a zombie."""
    return _read_state(pid) not in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    """True if a process is stopped, as by Ctrl-Z."""
    return _read_state(pid) == "T"


def count_runs(pid: int) -> int:
    """Return how often a process has run until it waited or was stopped."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def find_child(pid: int) -> int:
    """Return the only child of the main thread of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(child)


def list_new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Return the threads of this process that were not running before."""
    return [thread for thread in threading.enumerate() if thread not in before]


def _read_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""
