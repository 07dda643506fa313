"""What processes and threads do."""

import threading
from pathlib import Path


def is_running(pid: int) -> bool:
    """True if a process is running; an ended one may still exist as a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def list_new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Return the threads of this process that were not running before."""
    return [thread for thread in threading.enumerate() if thread not in before]
