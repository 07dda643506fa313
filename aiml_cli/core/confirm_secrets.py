"""Hold back what seems secret in files and standard input until the user says that it may be sent."""

from contextlib import suppress
from typing import TYPE_CHECKING

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.resolve import Settings
from aiml_cli.store import api_keys
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal

if TYPE_CHECKING:
    from aiml_cli.prompt.secrets import SecretFinding

MOST_SHOWN = 10


class SecretGuard:
    """Look at what goes out beside the typed words, which are the user's own business."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: list[SecretFinding] = []
        self._known: list[str] | None = None

    def check(self, name: str, text: str) -> None:
        """Look at a text that is to be sent."""
        from aiml_cli.prompt.secrets import find_secrets  # most questions are typed words only

        if self._known is None:
            self._known = self._own_keys()
        self._found += find_secrets(name, text, self._known)

    def confirm(self) -> None:
        """Let it go when nothing was found, or when the user agrees; raise UsageError when it stays here."""
        options = self._settings.options
        if not self._found:
            return
        if options.dry_run or options.as_ or options.allow_secrets:
            if not options.quiet:
                verb = "sends" if options.allow_secrets and not (options.dry_run or options.as_) else "there is"
                print_err(f"aiml: {verb} what seems secret: {self._listed()}")
            return
        if not is_terminal(2):
            raise self._refusal()
        self._ask(yes=bool(options.yes))

    def _ask(self, *, yes: bool) -> None:
        """Show each finding, and ask on the terminal: standard input may be what is sent."""
        for finding in self._found[:MOST_SHOWN]:
            print_err(f"aiml: this seems secret: {finding}")
        if len(self._found) > MOST_SHOWN:
            print_err(f"aiml: … and {len(self._found) - MOST_SHOWN} more")
        if not yes and not confirm("send it all the same?"):
            raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError(
            f"nothing was sent: it seems to hold what is secret: {self._listed()}", "--allow-secrets sends it"
        )

    def _listed(self) -> str:
        more = len(self._found) - MOST_SHOWN
        return "; ".join(map(str, self._found[:MOST_SHOWN])) + (f"; and {more} more" if more > 0 else "")

    def _own_keys(self) -> list[str]:
        """Give the user's key for the server; a fault with it is told where it is needed."""
        with suppress(AimlError):
            from aiml_cli.transport.key_masking import SHORTEST

            key = api_keys.find_stored_key(self._settings, self._settings.options.base_url or "")
            return [key.value] if key and len(key.value) >= SHORTEST else []
        return []
