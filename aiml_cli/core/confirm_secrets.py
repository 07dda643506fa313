"""Ask before text that seems secret is sent from files or standard input."""

from contextlib import suppress
from typing import TYPE_CHECKING

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.settings.resolve import Settings
from aiml_cli.store import api_keys
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal

if TYPE_CHECKING:
    from aiml_cli.prompt.find_secrets import SecretFinding

MAX_FINDINGS = 10


class SecretGuard:
    """Checks the texts of a request, except the typed words, which are the user's own business."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._findings: list[SecretFinding] = []
        self._known_keys: list[str] | None = None

    def check(self, name: str, text: str) -> None:
        """Search a text for secrets; `name` is its source."""
        from aiml_cli.prompt.find_secrets import find_secrets  # most prompts are typed words only

        if self._known_keys is None:
            self._known_keys = self._load_keys()
        self._findings += find_secrets(name, text, self._known_keys)

    def confirm(self) -> None:
        """Raise UsageError if a secret was found and the user does not agree to send it."""
        options = self._settings.options
        if not self._findings:
            return
        if options.dry_run or options.as_ or options.allow_secrets:
            if not options.quiet:
                verb = "sends" if options.allow_secrets and not (options.dry_run or options.as_) else "there is"
                print_err(f"aiml: {verb} what seems secret: {self._list_findings()}")
            return
        if not is_terminal(2):
            raise self._build_error()
        for finding in self._findings[:MAX_FINDINGS]:
            print_err(f"aiml: this seems secret: {finding}")
        if len(self._findings) > MAX_FINDINGS:
            print_err(f"aiml: … and {len(self._findings) - MAX_FINDINGS} more")
        if not options.yes and not confirm("send it all the same?"):
            raise self._build_error()

    def _build_error(self) -> UsageError:
        message = f"nothing was sent: it seems to hold what is secret: {self._list_findings()}"
        return UsageError(message, "--allow-secrets sends it")

    def _list_findings(self) -> str:
        more = len(self._findings) - MAX_FINDINGS
        return "; ".join(map(str, self._findings[:MAX_FINDINGS])) + (f"; and {more} more" if more > 0 else "")

    def _load_keys(self) -> list[str]:
        """Return the user's key for the server; an error in it is reported when the key is used."""
        with suppress(AimlError):
            from aiml_cli.transport.key_masking import MIN_KEY_LENGTH

            key = api_keys.find_stored_key(self._settings, self._settings.options.base_url or "")
            return [key.value] if key and len(key.value) >= MIN_KEY_LENGTH else []
        return []
