"""Exceptions and their exit codes."""

import sys

DISTRIBUTION = "aiml-cli"


class AimlError(Exception):
    """An error that is reported to the user.

    `message` says what happened, `hint` what to do about it ("" if nothing is known).
    The docstring of each subclass is its row in docs/exit-codes.md.
    """

    exit_code = 1
    # Scripts and recordings read this name; it stays when a class is renamed.
    name = "AimlError"

    def __init__(self, message: str, hint: str = "", **details: str | int | None) -> None:
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details


class OutputFailed(AimlError):
    """Standard output or the output file could not be written: full, closed, or gone."""

    name, exit_code = "OutputFailed", 1


class UsageError(AimlError):
    """Wrong usage: an unknown flag, a value out of range, a file that cannot be read, an empty prompt."""

    name, exit_code = "Misuse", 2


class AuthError(AimlError):
    """No key, a refused key, or no credit (401, 402, 403, or an error in the answer that means the same)."""

    name, exit_code = "NotAllowed", 3


class RequestRejected(AimlError):
    """The server refused the request (400, 404, 413, 422 and the like)."""

    name, exit_code = "RequestRefused", 4


class RateLimited(AimlError):
    """The rate limit still held after the retries (429, or an error in the answer that means the same)."""

    name, exit_code = "RateLimited", 5


class ServerError(AimlError):
    """The server failed, after the retries: 5xx, or an error in the answer of this or of no known kind."""

    name, exit_code = "ServerFailed", 6


class ConnectionFailed(AimlError):
    """No connection: name lookup, refused, TLS, proxy or time-out."""

    name, exit_code = "Unreachable", 7


class IncompleteAnswer(AimlError):
    """The answer is incomplete: a cut stream, the length cap, a content filter, a refusal, status incomplete."""

    name, exit_code = "CutShort", 8


class AnswerMismatch(AimlError):
    """The answer is complete but does not hold what was asked for."""

    name, exit_code = "NotAsAsked", 9


class PartialFailure(AimlError):
    """With --each or --test: some rows or cases failed, or were not asked any more; each failed one says why."""

    name, exit_code = "SomeFailed", 10


class HungUp(AimlError):
    """The terminal went away (SIGHUP); the text so far was kept."""

    name, exit_code = "HungUp", 129


class Interrupted(AimlError):
    """Ctrl-C (SIGINT); the text so far was kept."""

    name, exit_code = "Interrupted", 130


class ReaderClosed(AimlError):
    """The reader of standard output went away (`| head -1`); nothing is said."""

    name, exit_code = "ReaderGone", 141


class Terminated(AimlError):
    """The program was asked to end (SIGTERM); the text so far was kept."""

    name, exit_code = "Terminated", 143


# The errors that mean that the user, the terminal or the reader of the output stopped the program.
STOP_ERRORS = (Interrupted, Terminated, HungUp, ReaderClosed, OutputFailed)


def build_install_command(extra: str, package: str) -> str:
    """Return the command that installs an extra; `package` is what the extra contains."""
    parts = sys.prefix.replace("\\", "/").split("/")
    if "pipx" in parts:
        return f"pipx inject {DISTRIBUTION} {package}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install '{DISTRIBUTION}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"
