"""Choose the way of a request: over the network, shown, recorded, or to a recording."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Options, value_of
from aiml_cli.system.stdio import make_notifier

if TYPE_CHECKING:
    from aiml_cli.transport.client import Client as Client  # noqa: PLC0414 - other layers name the type by this module
    from aiml_cli.transport.http_types import HttpResponse

Send = Callable[..., AbstractContextManager["HttpResponse"]]


def validate_paths(options: Options) -> None:
    """See that the files of --record and --replay can be used, before anything is sent; raise UsageError."""
    _see_that_it_is_no_other_file(options)
    if options.record:
        from aiml_cli.transport import recorder  # as all of it for few calls only

        recorder.check_recording_path(options.record)
    if options.replay:
        from aiml_cli.transport import replay

        replay.load_recording(options.replay, make_notifier(options.quiet))


def _see_that_it_is_no_other_file(options: Options) -> None:
    """Raise UsageError where a recording would be written over."""
    recording = options.record or options.replay
    for name in ("output", "meta", "audio_out", "resume_from") if recording else ():
        other = value_of(options, ROWS[name])
        if other and os.path.realpath(other) == os.path.realpath(recording or ""):
            raise UsageError(f"{other}: the recording and {ROWS[name].flag} cannot be one file", "nothing was sent")


def open_client(options: Options, url: str, client: "Client | None" = None) -> "AbstractContextManager[Client]":
    """Open a client for a server, or take one that is open; where a recording answers, it is none with a network."""
    validate_paths(options)
    if client:
        return nullcontext(client)
    if options.replay:
        from aiml_cli.transport.replay import NullClient

        return nullcontext(cast("Client", NullClient()))
    from aiml_cli.transport.client import open_http_client  # httpx costs a fifth of a second

    return open_http_client(url, options.timeout or 0, options.ca_bundle, make_notifier(options.quiet))


def make_send(options: Options, *, elsewhere: bool = False) -> Send:
    """Give what sends a request; with --debug it shows the exchange too.

    `elsewhere` is for addresses of the user's own, which are known by the whole address and are not shown.
    """
    send = _end(options, elsewhere=elsewhere)
    if options.debug and not elsewhere:
        from aiml_cli.transport import debug  # few want to see it

        send = debug.show_exchanges(send)
    if not options.record:
        return send
    from aiml_cli.transport import recorder

    return recorder.record_exchanges(send, options.record, "" if elsewhere else options.base_url or "")


def _end(options: Options, *, elsewhere: bool) -> Send:
    """Give what the request comes to in the end."""
    if options.replay:
        from aiml_cli.transport import replay

        return replay.replay_exchanges(
            options.replay, "" if elsewhere else options.base_url or "", options.api_key or ""
        )
    from aiml_cli.transport.client import send_request

    return send_request
