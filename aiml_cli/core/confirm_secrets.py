"""Ask before text that seems secret is sent from files or standard input."""

from collections.abc import Sequence
from contextlib import suppress

from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.find_secrets import SecretFinding, find_secrets
from aiml_cli.settings.resolve import Settings
from aiml_cli.store import api_keys
from aiml_cli.system.questions import confirm
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.key_masking import MIN_KEY_LENGTH

MAX_FINDINGS = 10


def confirm_secrets(texts: Sequence[tuple[str, str]], settings: Settings) -> None:
    """Raise UsageError if a text seems secret and the user does not agree to send it; `texts` are names and texts."""
    options, keys = settings.options, _load_keys(settings)
    findings = [finding for name, text in texts for finding in find_secrets(name, text, keys)]
    if not findings:
        return
    if options.dry_run or options.as_ or options.allow_secrets:
        if not options.quiet:
            verb = "sends" if options.allow_secrets and not (options.dry_run or options.as_) else "there is"
            print_err(f"aiml: {verb} what seems secret: {_list_findings(findings)}")
        return
    if not is_terminal(2):
        raise _build_error(findings)
    for finding in findings[:MAX_FINDINGS]:
        print_err(f"aiml: this seems secret: {finding}")
    if len(findings) > MAX_FINDINGS:
        print_err(f"aiml: … and {len(findings) - MAX_FINDINGS} more")
    if not options.yes and not confirm("send it all the same?"):
        raise _build_error(findings)


def _build_error(findings: Sequence[SecretFinding]) -> UsageError:
    message = f"nothing was sent: it seems to hold what is secret: {_list_findings(findings)}"
    return UsageError(message, "--allow-secrets sends it")


def _list_findings(findings: Sequence[SecretFinding]) -> str:
    more = len(findings) - MAX_FINDINGS
    return "; ".join(map(str, findings[:MAX_FINDINGS])) + (f"; and {more} more" if more > 0 else "")


def _load_keys(settings: Settings) -> list[str]:
    """Return the user's key for the server; an error in it is reported when the key is used."""
    with suppress(AimlError):
        key = api_keys.find_stored_key(settings, settings.options.base_url or "")
        return [key.value] if key and len(key.value) >= MIN_KEY_LENGTH else []
    return []
