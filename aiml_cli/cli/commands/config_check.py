"""Run `aiml config check`: check the settings, the key and the server."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aiml_cli import __version__
from aiml_cli.api.error_response import error_from_status
from aiml_cli.api.json_values import as_amount, as_dict, as_number, as_str, decode_json
from aiml_cli.errors import AimlError, AuthError, RequestRejected, UsageError
from aiml_cli.settings.resolve import Flags, Settings, check_conflicts, resolve
from aiml_cli.settings.urls import host_of, is_local, join_url, root_of
from aiml_cli.store import api_keys, config_file, paths
from aiml_cli.system import stdio
from aiml_cli.system.sanitize import sanitize
from aiml_cli.transport.choose_transport import make_send, open_client, validate_paths
from aiml_cli.transport.http_types import HttpRequest

NO_FLAGS: Flags = {}
MAX_BODY_BYTES = 1 << 16
REDIRECTION = 300


class CheckResult(NamedTuple):
    """A line of the report, and its exit code (0 if the check passed)."""

    text: str
    exit_code: int = 0


def check(flags: Flags = NO_FLAGS) -> int:
    """Check the config file, file modes, key and server, and print a line for each; return the highest exit code."""
    highest = 0
    for text, exit_code in _run_checks(flags):
        stdio.print_out(f"{'not ok' if exit_code else 'ok':<8}{sanitize(' '.join(text.split()))}\n")
        highest = max(highest, exit_code)
    return highest


def _run_checks(flags: Flags) -> Iterator[CheckResult]:
    for text, is_fine in paths.check_permissions():
        yield CheckResult(text, 0 if is_fine else UsageError.exit_code)
    try:
        settings = resolve(config_file.read_sources(flags, os.environ))
        url = join_url(root_of(settings.options.base_url or ""), "/v2/billing")
    except AimlError as error:
        yield _describe_error(error)
        return
    yield CheckResult("the settings are valid")
    if settings.options.template_path:
        yield from _check_template_folders(settings.options.template_path)
    if settings.options.replay:
        yield _check_recording(settings)
        return
    try:
        key = api_keys.find_key(settings, url)
        api_keys.refuse_plain_http(url, key)
    except AimlError as error:
        yield _describe_error(error)
        key = None
    else:
        yield _check_key(settings, url, key)
    yield from _check_server(settings, url, key)


def _check_template_folders(names: Sequence[str]) -> Iterator[CheckResult]:
    """Yield a result for each folder in template_path; a missing folder is not an error."""
    from aiml_cli.store import template_files  # few users have such folders

    try:
        for folder in template_files.expand_folders(names):
            yield _check_template_folder(folder)
    except UsageError as error:
        yield _describe_error(error)


def _check_template_folder(folder: Path) -> CheckResult:
    try:
        if not folder.is_dir():
            return CheckResult(f"template_path: {folder} is not a folder and is skipped")
        files = [path for path in folder.iterdir() if path.suffix == ".toml" and path.stem[0] != "."]
        for path in files:
            paths.require_trusted(path)
    except AimlError as error:
        return _describe_error(error)
    except OSError as error:
        return CheckResult(f"template_path: {folder}: {error.strerror}; it is skipped", UsageError.exit_code)
    return CheckResult(f"template_path: {folder}: {len(files)} templates")


def _check_recording(settings: Settings) -> CheckResult:
    try:
        check_conflicts(settings)
        validate_paths(settings.options)
    except AimlError as error:
        return _describe_error(error)
    return CheckResult(f"{settings.options.replay} is replayed instead of contacting a server; no key is needed")


def _check_key(settings: Settings, url: str, key: api_keys.ApiKey | None) -> CheckResult:
    if key:
        return CheckResult(f"the key comes from: {key.source}")
    if is_local(url):
        return CheckResult("there is no key; a local server does not need one")
    missing = api_keys.explain_missing_key(settings, url)
    return CheckResult(f"{missing} (store one with: aiml config key)", AuthError.exit_code)


def _check_server(settings: Settings, url: str, key: api_keys.ApiKey | None) -> Iterator[CheckResult]:
    """Request the balance, which is free and requires the key."""
    try:
        status, headers, body = _fetch(settings, url, key)
    except AimlError as error:
        yield _describe_error(error)
        return
    yield CheckResult(f"{host_of(url)} answers")
    status_error = error_from_status(status, headers, body)
    if status < REDIRECTION and key and (balance := _parse_balance(body)):
        yield CheckResult(f"the server accepts the key; the balance is {balance}")
    elif status < REDIRECTION or isinstance(status_error, RequestRejected):
        yield CheckResult(f"the server does not say whether it accepts the key (status {status})")
    elif key or not isinstance(status_error, AuthError):
        yield _describe_error(status_error)


def _fetch(settings: Settings, url: str, key: api_keys.ApiKey | None) -> tuple[int, Mapping[str, str], bytes]:
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key.value}"
    request, send, body = HttpRequest("GET", url, headers), make_send(settings.options), b""
    with open_client(settings.options, url) as client, send(client, request) as response:
        for chunk in response.chunks:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                break
        return response.status, response.headers, body


def _parse_balance(body: bytes) -> str:
    """Return the balance with its currency, or ""."""
    try:
        facts = as_dict(decode_json(body.decode("utf-8-sig")))
    except ValueError:
        return ""
    amount = facts.get("current_balance")
    amount = as_amount(amount) if isinstance(amount, str) else as_number(amount)
    return "" if amount is None else f"{amount:.2f} {as_str(facts.get('currency')) or 'USD'}"


def _describe_error(error: AimlError) -> CheckResult:
    return CheckResult(f"{error.message} ({error.hint})" if error.hint else error.message, error.exit_code)
