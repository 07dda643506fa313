"""Start the program, and turn its errors into exit codes."""

from __future__ import annotations

import os
import sys

from aiml_cli import __version__

# Type checkers treat this as true; importing typing would double the time of --version.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from aiml_cli.errors import AimlError


def run() -> NoReturn:
    """Run as a program: handle signals, and exit without shutting the interpreter down."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        os._exit(_print_version())
    _end_on_sigint()
    import gc

    from aiml_cli.system.signals import Stopped, install_handlers

    # Imports leave no garbage, and looking for it would take a tenth of the start-up time.
    gc.disable()
    _open_standard_streams()
    try:
        install_handlers()
        code = main()
    except Stopped as stop:
        code = stop.error.exit_code
    # Python's normal shutdown takes a quarter of a short run, and all output is written by now.
    os._exit(code)


def _end_on_sigint() -> None:
    """Let Ctrl-C end the program without a traceback while it starts; an ignored SIGINT stays ignored."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, print the error that ends it, and return the exit code."""
    from aiml_cli.errors import AimlError, ReaderClosed
    from aiml_cli.system.signals import Stopped

    try:
        from aiml_cli.cli.app import parse_arguments  # takes most of the start-up time; a signal is handled below

        return parse_arguments(sys.argv[1:] if arguments is None else list(arguments))()
    except ReaderClosed as error:
        return error.exit_code
    except Stopped as stop:
        return _report_error(stop.error)
    except AimlError as error:
        return _report_error(error)
    except Exception as bug:  # noqa: BLE001 - the last place where an internal error can be reported
        # Until Python 3.12 an exception raised while a class is created becomes the cause of a RuntimeError.
        return _report_error(bug.__cause__.error) if isinstance(bug.__cause__, Stopped) else _report_bug(bug)


def _report_error(error: AimlError) -> int:
    from aiml_cli.system.stdio import print_err

    print_err(f"aiml: {error.message}")
    if error.hint:
        print_err(f"hint: {error.hint}")
    return error.exit_code


def _report_bug(bug: Exception) -> int:
    """Print an internal error and its location, without values: they may be the user's text, or the key."""
    import traceback

    from aiml_cli.system.stdio import print_err

    print_err(f"aiml: internal error: {type(bug).__name__}")
    for frame in traceback.extract_tb(bug.__traceback__)[-4:]:
        print_err(f"  {os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}")  # noqa: PTH119
    print_err(f"hint: please report these lines and the version, {__version__}")
    return 1


def _open_standard_streams() -> None:
    """Prevent a socket from becoming standard input, output or error if the caller closed them.

    Writing to a closed standard output still fails and is reported.
    """
    for fd, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)


def _print_version() -> int:
    try:
        os.write(1, f"aiml {__version__}\n".encode())
    except OSError as error:
        os.write(2, f"aiml: standard output: {error.strerror}\n".encode())
        return 1
    return 0


def _current_directory() -> str:
    """Return the current directory, or "" if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not imported yet
    except OSError:
        return ""


if __name__ == "__main__":
    # `python -m` looks for modules in the current directory, which may belong to another user.
    sys.path[:] = [path for path in sys.path if path not in ("", _current_directory())]
    run()
