"""The program that a shell starts as `aiml`: the fork server runs it, and this process ends with its exit code.

Ctrl-C and the usual signals are passed on; the program is in another process group, so it cannot be stopped.
"""

import json
import os
import signal
import socket
import sys


def main(address: str, arguments: list[str]) -> None:
    """Run the program with the arguments, environment, folder and standard streams of this process."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    os.umask(umask := os.umask(0o077))
    request = json.dumps([arguments, dict(os.environ), os.getcwd(), umask, False]).encode()  # noqa: PTH109 - no slow import
    socket.send_fds(connection, [request], [0, 1, 2])
    pid = int(connection.recv(64))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(pid, number))
    end_with(int(connection.recv(64)))


def end_with(code: int) -> None:
    """Exit with a code, or be killed by a signal if it is negative."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
