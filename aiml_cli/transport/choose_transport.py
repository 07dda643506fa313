"""Choose how a request is sent: over the network or from a recording, with --debug and --record applied."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Options, value_of
from aiml_cli.system.stdio import make_notifier
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent, Send

if TYPE_CHECKING:
    from aiml_cli.transport.client import Client as Client  # noqa: PLC0414 - other layers name the type by this module


def validate_paths(options: Options) -> None:
    """Raise UsageError if the file of --record or --replay cannot be used; called before anything is sent."""
    _check_separate_files(options)
    if options.record:
        from aiml_cli.transport import recorder  # few calls are recorded, as with the late imports below

        recorder.check_recording_path(options.record)
    if options.replay:
        from aiml_cli.transport import replay

        replay.load_recording(options.replay, make_notifier(options.quiet))


def _check_separate_files(options: Options) -> None:
    """Raise UsageError if another option would overwrite the recording, or it would be mixed with the answer."""
    recording = options.record or options.replay
    if options.record == "-":
        raise UsageError("--record - would mix the recording with the answer on standard output", "name a file")
    for name in ("output", "meta", "audio_out", "resume_from") if recording else ():
        other = value_of(options, ROWS[name])
        if other and os.path.realpath(other) == os.path.realpath(recording or ""):
            raise UsageError(f"{other}: the recording and {ROWS[name].flag} cannot be one file")


def open_client(options: Options, url: str, client: "Client | None" = None) -> "AbstractContextManager[Client]":
    """Open a client for a server, or reuse `client`; with --replay it is a client without a network."""
    validate_paths(options)
    if client:
        return nullcontext(client)
    if options.replay:
        from aiml_cli.transport.replay import NullClient

        return nullcontext(cast("Client", NullClient()))
    from aiml_cli.transport.client import open_http_client  # httpx costs a fifth of a second

    return open_http_client(url, options.timeout or 0, options.ca_bundle, make_notifier(options.quiet))


def make_send(options: Options, *, external: bool = False) -> Send:
    """Return a function that sends a request as the options say.

    With `external` the address is the user's own: it gets no header of --header, recordings match the whole address,
    and --debug does not show it.
    """
    base_url, headers = ("", {}) if external else (options.base_url or "", options.headers or {})
    send = _choose_send(options, base_url)
    if options.debug and not external:
        from aiml_cli.transport import debug

        send = debug.show_exchanges(send)
    if options.record:
        from aiml_cli.transport import recorder

        send = recorder.record_exchanges(send, options.record, base_url, tuple(headers))
    return _add_headers(send, headers, options.api_key or "") if headers else send


def _add_headers(send: Send, headers: Mapping[str, str], known_key: str) -> Send:
    """Return a function that sends as `send` does, with headers that are added to its own or replace them."""
    from aiml_cli.transport.key_masking import extract_key, refuse_key_in_headers  # few calls have headers

    names = {name.lower() for name in headers}

    @contextmanager
    def send_with_headers(client: Any, request: HttpRequest, on_sent: OnSent = None) -> Iterator[HttpResponse]:
        for key in (known_key, extract_key(request.headers)):
            refuse_key_in_headers(headers, key)
        kept = {name: value for name, value in request.headers.items() if name.lower() not in names}
        with send(client, request._replace(headers={**kept, **headers}), on_sent) as response:
            yield response

    return send_with_headers


def _choose_send(options: Options, base_url: str) -> Send:
    if options.replay:
        from aiml_cli.transport import replay

        return replay.replay_exchanges(options.replay, base_url, options.api_key or "")
    from aiml_cli.transport.client import send_request

    return send_request
