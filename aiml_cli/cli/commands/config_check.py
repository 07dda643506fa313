"""Answer `aiml config check`: is everything in order, from the config file to the server's word on the key."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiml_cli import __version__
from aiml_cli.errors import AimlError, Misuse, NotAllowed, RequestRefused
from aiml_cli.settings.resolve import Flags, Settings, resolve
from aiml_cli.settings.urls import host_of, is_local, origin_of
from aiml_cli.store import api_keys, config_file, key_storage
from aiml_cli.system import stdio
from aiml_cli.system.sanitize import visible
from aiml_cli.transport.choose_transport import opened, ready, sender

NONE: Flags = {}
MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold a line of `check`: what was found, and the exit code that it means (0: in order)."""

    words: str
    code: int = 0


def check(flags: Flags = NONE) -> int:
    """Look at config file, file modes, key and server, a line each; give the worst exit code."""
    worst = 0
    for finding in _findings(flags):
        stdio.print_out(f"{'not ok' if finding.code else 'ok':<8}{visible(' '.join(finding.words.split()))}\n")
        worst = max(worst, finding.code)
    return worst


def _findings(flags: Flags) -> Iterator[Finding]:
    yield from (Finding(words, 0 if fine else Misuse.exit_code) for words, fine in key_storage.check_modes())
    try:
        settings = resolve(config_file.layers(flags, os.environ))
        url = origin_of(settings.options.base_url or "") + "/v2/billing"
    except AimlError as fault:
        yield _bad(fault)
        return
    yield Finding("the settings are in order")
    if settings.options.replay:
        yield _of_recording(settings)
        return
    try:
        key = api_keys.find(settings, url)
        api_keys.guard(url, key)
    except AimlError as fault:
        yield _bad(fault)
        key = None
    else:
        yield _of_key(settings, url, key)
    yield from _of_server(settings, url, key)


def _of_recording(settings: Settings) -> Finding:
    """Look at the recording: who replays needs neither key nor server."""
    try:
        ready(settings.options)
    except AimlError as fault:
        return _bad(fault)
    return Finding(f"{settings.options.replay} answers in the place of a server; no key is looked for")


def _of_key(settings: Settings, url: str, key: key_storage.Key | None) -> Finding:
    if key:
        return Finding(f"the key comes from: {key.source}")
    if is_local(url):
        return Finding("there is no key, and a server on this machine needs none")
    return Finding(f"{api_keys.why_none(settings, url)} (store one with: aiml config key)", NotAllowed.exit_code)


def _of_server(settings: Settings, url: str, key: key_storage.Key | None) -> Iterator[Finding]:
    """Ask the server for the balance: it costs nothing, and needs the key."""
    from aiml_cli.api.error_response import refused

    try:
        status, headers, body = _asked(settings, url, key)
    except AimlError as fault:
        yield _bad(fault, key)
        return
    yield Finding(f"{host_of(url)} answers")
    told = refused(status, headers, body)
    if status < 300 and key and (balance := _balance(body)):  # noqa: PLR2004
        yield Finding(f"the key is accepted; the balance is {balance}")
    elif status < 300 or isinstance(told, RequestRefused):  # noqa: PLR2004
        yield Finding(f"whether it takes the key, it does not say (status {status})")
    elif key or not isinstance(told, NotAllowed):
        yield _bad(told, key)


def _asked(settings: Settings, url: str, key: key_storage.Key | None) -> tuple[int, Mapping[str, str], bytes]:
    from aiml_cli.transport.http_types import Request

    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    body = b""
    with (
        opened(settings.options, url) as client,
        sender(settings.options)(client, Request("GET", url, headers)) as reply,
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


def _bad(fault: AimlError, key: key_storage.Key | None = None) -> Finding:
    words = f"{fault.message} ({fault.hint})" if fault.hint else fault.message
    return Finding(api_keys.masked(words, key), fault.exit_code)
