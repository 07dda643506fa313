"""Decide whether a call may run: a pattern of --allow, or the user's answer."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from threading import Lock
from typing import NamedTuple

from aiml_cli.errors import Interrupted
from aiml_cli.output.plain_text import collapse_whitespace
from aiml_cli.system.questions import ask_choice

ALLOWED_BY_PATTERN = "--allow"
_CHOICES = ("yes", "always", "no", "quit")
_EXPLANATION = "y: run it once. a: always allow this tool until aiml exits. n: no, and tell the model. q: stop here."


class CallRequest(NamedTuple):
    """A call that may need the user's approval.

    `name` is `weather`, `fs.read_file`, or LABEL.TOOL of a server-side MCP tool. `preview` is the complete call as it
    will run, in one or several lines. `hints` come from the tool's author; they are shown but not trusted. "always"
    only applies to the definition with this fingerprint.
    """

    name: str
    preview: str
    hints: tuple[str, ...] = ()
    fingerprint: str = ""


class Approvals:
    """The user's decisions until the program ends; thread-safe: threads ask one after the other.

    `can_ask` is False where no question may be asked, such as in a run over many rows.
    """

    def __init__(self, *, can_ask: bool) -> None:
        self._can_ask = can_ask
        self._always: set[tuple[str, str]] = set()
        self._lock = Lock()

    def decide(self, call: CallRequest, patterns: Sequence[str]) -> str:
        """Return what allows a call: "--allow", "always", "yes", or "" if nothing does.

        Raises Interrupted if the user chose to quit. Without a terminal no question is asked.
        """
        if any(fnmatchcase(call.name, pattern) for pattern in patterns):
            return ALLOWED_BY_PATTERN
        if not self._can_ask:
            return ""
        with self._lock:  # the previous answer may have been "always"
            return "always" if (call.name, call.fingerprint) in self._always else self._ask(call)

    def _ask(self, call: CallRequest) -> str:
        answer = ask_choice("aiml: the model wants to run a tool:", _describe(call), _CHOICES, _EXPLANATION)
        if answer == "quit":
            raise Interrupted(f"stopped while asking whether {call.name} may run")
        if answer == "always":
            self._always.add((call.name, call.fingerprint))
        return answer if answer in ("yes", "always") else ""


def _describe(call: CallRequest) -> str:
    """Return the name, the call, and the author's unverified hints."""
    hints = [f"author's hints (not verified): {'; '.join(call.hints)}"] if call.hints else []
    name = collapse_whitespace(call.name)  # a name with a newline could look like a call
    return "\n".join([name, *(f"  {line}" for line in call.preview.split("\n")), *hints])
