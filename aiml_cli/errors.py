"""Every way the program can fail, and the exit code each one means."""


class AimlError(Exception):
    """Stop with a sentence for the user, and one of advice.

    `message` says what happened, `hint` what to do about it ("" when nothing is known).
    The docstring of each subclass is its row in docs/exit-codes.md.
    """

    exit_code = 1
    # Scripts and recordings read this name; it stays when a class is renamed.
    name = "AimlError"

    def __init__(self, message: str, hint: str = "", **details: str | int | None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class OutputFailed(AimlError):
    """Standard output or the output file could not be written: full, closed, or gone."""

    name = "OutputFailed"
    exit_code = 1


class UsageError(AimlError):
    """Wrong usage: an unknown flag, a value out of range, a file that cannot be read, an empty prompt."""

    name = "Misuse"
    exit_code = 2


class AuthError(AimlError):
    """No key, a refused key, or no credit (401, 402, 403)."""

    name = "NotAllowed"
    exit_code = 3


class RequestRejected(AimlError):
    """The server refused the request (400, 404, 413, 422 and the like)."""

    name = "RequestRefused"
    exit_code = 4


class RateLimited(AimlError):
    """The rate limit still held after the retries (429)."""

    name = "RateLimited"
    exit_code = 5


class ServerError(AimlError):
    """The server failed, after the retries: 5xx, an error under 200, an error event in the stream."""

    name = "ServerFailed"
    exit_code = 6


class ConnectionFailed(AimlError):
    """No connection: name lookup, refused, TLS, proxy or time-out."""

    name = "Unreachable"
    exit_code = 7


class IncompleteAnswer(AimlError):
    """The answer is incomplete: a cut stream, the length cap, a content filter, a refusal, status incomplete."""

    name = "CutShort"
    exit_code = 8


class AnswerMismatch(AimlError):
    """The answer is complete but does not hold what was asked for."""

    name = "NotAsAsked"
    exit_code = 9


class PartialFailure(AimlError):
    """With --each: some rows failed, or were not asked any more; each failed row says why in its result."""

    name = "SomeFailed"
    exit_code = 10


class HungUp(AimlError):
    """The terminal went away (SIGHUP); the text so far was kept."""

    name = "HungUp"
    exit_code = 129


class Interrupted(AimlError):
    """Ctrl-C (SIGINT); the text so far was kept."""

    name = "Interrupted"
    exit_code = 130


class ReaderClosed(AimlError):
    """The reader of standard output went away (`| head -1`); nothing is said."""

    name = "ReaderGone"
    exit_code = 141


class Terminated(AimlError):
    """The program was asked to end (SIGTERM); the text so far was kept."""

    name = "Terminated"
    exit_code = 143


STOPS = (Interrupted, Terminated, HungUp, ReaderClosed, OutputFailed)
