"""Answer `aiml config check`: is everything in order, from the config file to the server's word on the key."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiml_cli import __version__
from aiml_cli.errors import AimlError, AuthError, RequestRejected, UsageError
from aiml_cli.settings.conflicts import check_conflicts
from aiml_cli.settings.resolve import Flags, Settings, resolve
from aiml_cli.settings.urls import host_of, is_local, origin_of
from aiml_cli.store import api_keys, config_file, key_storage
from aiml_cli.system import stdio
from aiml_cli.system.sanitize import sanitize
from aiml_cli.transport.choose_transport import make_send, open_client, validate_paths

NONE: Flags = {}
MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Hold a line of `check`: what was found, and the exit code that it means (0: in order)."""

    words: str
    code: int = 0


def check(flags: Flags = NONE) -> int:
    """Look at config file, file modes, key and server, a line each; give the worst exit code."""
    worst = 0
    for finding in _findings(flags):
        stdio.print_out(f"{'not ok' if finding.code else 'ok':<8}{sanitize(' '.join(finding.words.split()))}\n")
        worst = max(worst, finding.code)
    return worst


def _findings(flags: Flags) -> Iterator[CheckResult]:
    yield from (
        CheckResult(words, 0 if fine else UsageError.exit_code) for words, fine in key_storage.check_permissions()
    )
    try:
        settings = resolve(config_file.read_sources(flags, os.environ))
        url = origin_of(settings.options.base_url or "") + "/v2/billing"
    except AimlError as fault:
        yield _bad(fault)
        return
    yield CheckResult("the settings are in order")
    if settings.options.replay:
        yield _of_recording(settings)
        return
    try:
        key = api_keys.find_key(settings, url)
        api_keys.refuse_plain_http(url, key)
    except AimlError as fault:
        yield _bad(fault)
        key = None
    else:
        yield _of_key(settings, url, key)
    yield from _of_server(settings, url, key)


def _of_recording(settings: Settings) -> CheckResult:
    """Look at the recording: who replays needs neither key nor server."""
    try:
        check_conflicts(settings)
        validate_paths(settings.options)
    except AimlError as fault:
        return _bad(fault)
    return CheckResult(f"{settings.options.replay} answers in the place of a server; no key is looked for")


def _of_key(settings: Settings, url: str, key: key_storage.ApiKey | None) -> CheckResult:
    if key:
        return CheckResult(f"the key comes from: {key.source}")
    if is_local(url):
        return CheckResult("there is no key, and a server on this machine needs none")
    return CheckResult(
        f"{api_keys.explain_missing_key(settings, url)} (store one with: aiml config key)", AuthError.exit_code
    )


def _of_server(settings: Settings, url: str, key: key_storage.ApiKey | None) -> Iterator[CheckResult]:
    """Ask the server for the balance: it costs nothing, and needs the key."""
    from aiml_cli.api.error_response import error_from_status

    try:
        status, headers, body = _asked(settings, url, key)
    except AimlError as fault:
        yield _bad(fault)
        return
    yield CheckResult(f"{host_of(url)} answers")
    told = error_from_status(status, headers, body)
    if status < 300 and key and (balance := _balance(body)):  # noqa: PLR2004
        yield CheckResult(f"the key is accepted; the balance is {balance}")
    elif status < 300 or isinstance(told, RequestRejected):  # noqa: PLR2004
        yield CheckResult(f"whether it takes the key, it does not say (status {status})")
    elif key or not isinstance(told, AuthError):
        yield _bad(told)


def _asked(settings: Settings, url: str, key: key_storage.ApiKey | None) -> tuple[int, Mapping[str, str], bytes]:
    from aiml_cli.transport.http_types import HttpRequest

    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    body = b""
    with (
        open_client(settings.options, url) as client,
        make_send(settings.options)(client, HttpRequest("GET", url, headers)) as reply,
    ):
        for chunk in reply.chunks:
            body += chunk
            if len(body) > MOST_BYTES:
                break
        return reply.status, reply.headers, body


def _balance(body: bytes) -> str:
    """Read the balance, with its currency; "" when the answer has none."""
    try:
        found = json.loads(body)
        return f"{float(found['current_balance']):.2f} {found.get('currency') or 'USD'}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def _bad(fault: AimlError) -> CheckResult:
    return CheckResult(f"{fault.message} ({fault.hint})" if fault.hint else fault.message, fault.exit_code)
