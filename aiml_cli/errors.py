"""Exceptions and their exit codes."""

import sys

DISTRIBUTION = "aiml-cli"


class AimlError(Exception):
    """An error that is reported to the user.

    `message` says what happened, and `hint` what to do about it ("" if there is no hint).
    The docstring of each subclass is its row in docs/exit-codes.md.
    """

    exit_code = 1
    # Scripts and recordings read this name; it stays when a class is renamed.
    name = "AimlError"

    def __init__(self, message: str, hint: str = "", **details: str | int | None) -> None:
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details


class OutputFailed(AimlError):
    """Standard output or the output file could not be written, for example because the disk is full."""

    name, exit_code = "OutputFailed", 1


class UsageError(AimlError):
    """Invalid usage: an unknown flag, a value out of range, a file that cannot be read, an empty prompt."""

    name, exit_code = "Misuse", 2


class AuthError(AimlError):
    """No API key, a rejected key, or no credit (401, 402, 403, or an equivalent error in the response)."""

    name, exit_code = "NotAllowed", 3


class RequestRejected(AimlError):
    """The server rejected the request (400, 404, 413, 422 and similar)."""

    name, exit_code = "RequestRefused", 4


class RateLimited(AimlError):
    """The rate limit still applied after the retries (429, or an equivalent error in the response)."""

    name, exit_code = "RateLimited", 5


class ServerError(AimlError):
    """The server still failed after the retries (5xx, or an equivalent or unknown error in the response)."""

    name, exit_code = "ServerFailed", 6


class ConnectionFailed(AimlError):
    """The connection failed: DNS lookup, connection refused, TLS, proxy or timeout."""

    name, exit_code = "Unreachable", 7


class IncompleteAnswer(AimlError):
    """The answer is incomplete: an early end of the stream, the token limit, a content filter, or a refusal."""

    name, exit_code = "CutShort", 8


class AnswerMismatch(AimlError):
    """The answer is complete but does not contain what was requested, such as JSON that matches the schema."""

    name, exit_code = "NotAsAsked", 9


class PartialFailure(AimlError):
    """With --each or --test: some rows or cases failed or were not sent; the result of each says why."""

    name, exit_code = "SomeFailed", 10


class HungUp(AimlError):
    """The terminal was closed (SIGHUP); the text received so far is kept."""

    name, exit_code = "HungUp", 129


class Interrupted(AimlError):
    """The user pressed Ctrl-C (SIGINT); the text received so far is kept."""

    name, exit_code = "Interrupted", 130


class ReaderClosed(AimlError):
    """The program that reads standard output closed the pipe (`| head -1`); no message is printed."""

    name, exit_code = "ReaderGone", 141


class Terminated(AimlError):
    """The program was terminated (SIGTERM); the text received so far is kept."""

    name, exit_code = "Terminated", 143


# The user, the terminal or the reader of the output stopped the program.
STOP_ERRORS = (Interrupted, Terminated, HungUp, ReaderClosed, OutputFailed)


def build_install_command(extra: str, package: str) -> str:
    """Return the command that installs an extra; `package` is what the extra contains."""
    parts = sys.prefix.replace("\\", "/").split("/")
    if "pipx" in parts:
        return f"pipx inject {DISTRIBUTION} {package}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install '{DISTRIBUTION}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"
