"""A file system without locks: a library, loaded before libc, in which every file lock fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int fd, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW) {
        int log = open(getenv("LOCK_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        write(log, ".", 1);
        close(log);
        errno = atoi(getenv("LOCK_ERRNO"));
        return -1;
    }
    return syscall(SYS_fcntl, fd, command, argument);
}

#define FORWARD(name) int name(int fd, int command, ...) { \
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \
    return call(fd, command, argument); }
FORWARD(fcntl)
FORWARD(fcntl64)
"""


def build_environment(folder: Path, error: int) -> dict[str, str]:
    """Compile the library and return the variables that load it; skip the test where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    source, library = folder / "lockless.c", folder / "lockless.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "LOCK_ERRNO": str(error), "LOCK_LOG": str(folder / "locks")}


def count_attempts(folder: Path) -> int:
    """Return how often the program tried to lock a file."""
    log = folder / "locks"
    return log.stat().st_size if log.exists() else 0
