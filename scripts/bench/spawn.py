"""Run a command; write the times of its start and end, its CPU time and its peak memory to a file.

This is a small process of its own because Linux counts the memory of the parent at the start of a
child into the peak of the child, so a driver of 20 MB would hide whatever needs less.
"""

import os
import sys
from time import monotonic_ns

path, *command = sys.argv[1:]
started = monotonic_ns()
pid = os.posix_spawn(command[0], command, os.environ)
_, status, used = os.wait4(pid, 0)
ended = monotonic_ns()
with open(path, "w") as file:  # noqa: PTH123  # a small process avoids importing pathlib
    print(started, ended, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, file=file)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
