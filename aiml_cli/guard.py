"""Hold back what seems secret in files and standard input until the user says that it may be sent."""

from contextlib import suppress
from typing import TYPE_CHECKING

from aiml_cli.errors import AimlError, Misuse
from aiml_cli.screen.output import is_terminal, say, tell
from aiml_cli.settings.resolve import Settings
from aiml_cli.signals import Stopped
from aiml_cli.store import key as keys

if TYPE_CHECKING:
    from aiml_cli.prompt.secrets import Finding

TERMINAL = "/dev/tty"
MOST_SHOWN = 10


class Guard:
    """Look at what goes out beside the typed words, which are the user's own business."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: list[Finding] = []
        self._known: list[str] | None = None

    def see(self, name: str, text: str) -> None:
        """Look at a text that is to be sent."""
        from aiml_cli.prompt.secrets import secrets  # most questions are typed words only

        if self._known is None:
            self._known = self._own_keys()
        self._found += secrets(name, text, self._known)

    def settle(self) -> None:
        """Let it go when nothing was found, or when the user agrees; raise Misuse when it stays here."""
        options = self._settings.options
        if not self._found:
            return
        if options.dry_run or options.as_ or options.allow_secrets:
            if not options.quiet:
                verb = "sends" if options.allow_secrets and not (options.dry_run or options.as_) else "there is"
                say(f"aiml: {verb} what seems secret: {self._listed()}")
            return
        if not is_terminal(2):
            raise self._refusal()
        self._ask(yes=bool(options.yes))

    def _ask(self, *, yes: bool) -> None:
        """Show each finding, and ask on the terminal: standard input may be what is sent."""
        for finding in self._found[:MOST_SHOWN]:
            say(f"aiml: this seems secret: {finding}")
        if len(self._found) > MOST_SHOWN:
            say(f"aiml: … and {len(self._found) - MOST_SHOWN} more")
        if not yes and not agrees("send it all the same?"):
            raise self._refusal()

    def _refusal(self) -> Misuse:
        return Misuse(
            f"nothing was sent: it seems to hold what is secret: {self._listed()}", "--allow-secrets sends it"
        )

    def _listed(self) -> str:
        more = len(self._found) - MOST_SHOWN
        return "; ".join(map(str, self._found[:MOST_SHOWN])) + (f"; and {more} more" if more > 0 else "")

    def _own_keys(self) -> list[str]:
        """Give the user's key for the server; a fault with it is told where it is needed."""
        with suppress(AimlError):
            key = keys.held(self._settings, self._settings.options.base_url or "")
            return [key.value] if key and len(key.value) >= keys.SHORTEST_MASKED else []
        return []


def agrees(question: str) -> bool:
    """Ask on the terminal, for standard input may be what is sent; what cannot be answered is no."""
    try:
        with open(TERMINAL, encoding="utf-8", errors="replace") as terminal:  # noqa: PTH123 - a device
            tell(f"{question} [y/N] ")
            try:
                answer = terminal.readline()
            except Stopped:
                tell("\n")
                raise
    except OSError:
        return False
    if not answer.endswith("\n"):
        tell("\n")
    return answer.strip().lower() in ("y", "yes")
