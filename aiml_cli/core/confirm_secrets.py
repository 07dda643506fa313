"""Ask before secrets in files or standard input are sent; in a script, refuse them."""

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
    """Raise UsageError if a text contains a secret and the user does not agree to send it.

    `texts` are pairs of name and text. On a terminal the user is asked, also about guesses. In a script, text that is
    certainly a secret is refused, and a guess only causes a warning of one line.
    """
    options, keys = settings.options, _load_keys(settings)
    findings = [finding for name, text in texts for finding in find_secrets(name, text, keys)]
    if not findings:
        return
    if options.dry_run or options.as_:
        _notify("found what looks like a secret", findings, settings)
    elif options.allow_secrets:
        _notify("sends what looks like a secret", findings, settings)
    elif is_terminal(2):
        _ask(findings, settings)
    elif certain := [finding for finding in findings if finding.is_certain]:
        raise _build_error(certain)
    else:
        _notify("sends what may be a secret", findings, settings)


def _notify(what: str, findings: Sequence[SecretFinding], settings: Settings) -> None:
    if not settings.options.quiet:
        print_err(f"aiml: {what}: {_list_findings(findings)}")


def _ask(findings: Sequence[SecretFinding], settings: Settings) -> None:
    """Show the findings, and raise UsageError unless the user agrees to send them."""
    for finding in findings[:MAX_FINDINGS]:
        print_err(f"aiml: this {'looks like' if finding.is_certain else 'may be'} a secret: {finding}")
    if len(findings) > MAX_FINDINGS:
        print_err(f"aiml: … and {len(findings) - MAX_FINDINGS} more")
    if not settings.options.yes and not confirm("send it anyway?"):
        raise _build_error(findings)


def _build_error(findings: Sequence[SecretFinding]) -> UsageError:
    message = f"nothing was sent: the input seems to contain a secret: {_list_findings(findings)}"
    return UsageError(message, "--allow-secrets sends it anyway")


def _list_findings(findings: Sequence[SecretFinding]) -> str:
    more = len(findings) - MAX_FINDINGS
    return "; ".join(map(str, findings[:MAX_FINDINGS])) + (f"; and {more} more" if more > 0 else "")


def _load_keys(settings: Settings) -> list[str]:
    """Return the user's key for the server; an error in it is reported when the key is used."""
    with suppress(AimlError):
        key = api_keys.find_stored_key(settings, settings.options.base_url or "")
        return [key.value] if key and len(key.value) >= MIN_KEY_LENGTH else []
    return []
