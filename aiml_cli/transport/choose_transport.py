"""Choose how requests are sent, replayed, recorded and debugged; fetch the URLs of inputs."""

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import current_thread, main_thread
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aiml_cli.errors import ConnectionFailed, IncompleteAnswer, UsageError
from aiml_cli.settings.options import ROWS, Options, value_of
from aiml_cli.settings.urls import is_local, is_unencrypted
from aiml_cli.system.stdio import make_notifier
from aiml_cli.transport.http_types import HttpRequest, HttpResponse, OnSent, Send

if TYPE_CHECKING:
    from types import ModuleType

    from aiml_cli.transport.client import Client as Client  # noqa: PLC0414 - exported to other layers
    from aiml_cli.transport.early_connection import EarlyConnection


# The early connections that no client uses yet, by scheme and server.
_early_connections: dict[str, "EarlyConnection"] = {}
MAX_BYTES = 20 * 1024 * 1024
OK = 200


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
    """Raise UsageError if another option would overwrite the recording, or if it would go to standard output."""
    recording = options.record or options.replay
    if options.record == "-":
        raise UsageError("--record - would mix the recording with the answer on standard output", "name a file")
    for name in ("output", "meta", "audio_out", "resume_from") if recording else ():
        other = value_of(options, ROWS[name])
        if other and os.path.realpath(other) == os.path.realpath(recording or ""):
            raise UsageError(f"{other}: the recording and {ROWS[name].flag} cannot be the same file")


def open_client(options: Options, url: str, client: "Client | None" = None) -> "AbstractContextManager[Client]":
    """Open a client for a server, or reuse `client`; with --replay it is a client without a network."""
    validate_paths(options)
    if client:
        return nullcontext(client)
    if options.replay:
        from aiml_cli.transport.replay import NullClient

        return nullcontext(cast("Client", NullClient()))
    early = _early_connections.pop(_get_origin(url), None)
    is_first = "httpx" not in sys.modules and current_thread() is main_thread()
    if early is None and is_first and not options.headers:  # headers are checked when they are sent
        early = _start_connection(options, url)
    # httpx would import its command line with rich and pygments, half of its import time; None prevents that.
    sys.modules.setdefault("httpx._main", cast("ModuleType", None))
    from aiml_cli.transport.client import open_http_client  # httpx takes 30 ms to import

    by_proxy = not is_local(url) and _has_proxy()
    notify = make_notifier(options.quiet)
    return open_http_client(url, options.timeout or 0, options.ca_bundle, notify, early, by_proxy=by_proxy)


@contextmanager
def connect_early(options: Options, url: str, words: Sequence[str] = ()) -> Iterator[None]:
    """Connect to the server of a URL in a thread during the block; its first client gets the connection.

    No connection is opened where it saves no time: to this machine without TLS, through a proxy, and for --replay. If
    standard input is a pipe, or `words` or a file is "-", no server is contacted before input arrives. An unused
    connection is closed without sending HTTP.
    """
    early = _start_connection(options, url, after_input=_has_slow_input(options, words))
    if early:
        _early_connections[_get_origin(url)] = early
    try:
        yield
    finally:
        if early:
            _early_connections.pop(_get_origin(url), None)
            early.close()


def _start_connection(options: Options, url: str, *, after_input: bool = False) -> "EarlyConnection | None":
    is_near = is_unencrypted(url) and is_local(url)
    if is_near or options.replay or not url.isascii() or (_has_proxy() and not is_local(url)):
        return None
    from aiml_cli.transport.early_connection import CONNECT_SECONDS, EarlyConnection  # some calls have no network

    seconds = min(CONNECT_SECONDS, options.timeout or CONNECT_SECONDS)
    early = EarlyConnection(url, seconds, options.ca_bundle, after_input=after_input)
    early.start()
    return early


def _get_origin(url: str) -> str:
    """Return scheme and server of a URL as they are written: two names of one server do not share a connection."""
    return "/".join(url.split("/", 3)[:3])


def _has_slow_input(options: Options, words: Sequence[str]) -> bool:
    """True if standard input will be read, and may have to be waited for."""
    if "-" in (*words, options.messages, *(options.file or ())):
        return True
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return not options.no_stdin and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _has_proxy() -> bool:
    """True if the environment may name a proxy for a server on another machine."""
    if sys.platform == "darwin":
        from urllib.request import getproxies  # macOS also has proxies in the system's settings

        return any(getproxies().keys() - {"no"})
    names = (name.lower() for name, value in os.environ.items() if value)
    return any(name.endswith("_proxy") and name != "no_proxy" for name in names)


def make_send(options: Options, *, external: bool = False) -> Send:
    """Return a function that sends a request as the options say.

    With `external` the URL is one that the user named: no --header is sent to it, recordings match the complete URL,
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


def fetch_url(
    url: str, user_agent: str, client: AbstractContextManager[Any], send: Send, *, seconds: float
) -> tuple[bytes, str]:
    """Return the bytes at a URL and their content type; `client` is opened for this one request.

    Raises UsageError if it cannot be fetched or is larger than 20 MiB, and ConnectionFailed if it is incomplete after
    `seconds`, even if bytes still arrive.
    """
    end = monotonic() + seconds
    request = HttpRequest("GET", url, {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    with client as open_client, send(open_client, request) as response:
        if response.status != OK:
            target = response.headers.get("location", "")
            hint = f"it redirects to {target}: use that URL" if target else "check the URL"
            raise UsageError(f"{url}: HTTP {response.status}", hint)
        data = bytearray()
        try:
            for chunk in response.chunks:
                data += chunk
                if len(data) > MAX_BYTES:
                    hint = "download it yourself, and send a part of it"
                    raise UsageError(f"{url}: more than {MAX_BYTES >> 20} MiB", hint)
                if monotonic() > end:
                    what = f"{url}: incomplete after {seconds:g} seconds"
                    raise ConnectionFailed(what, "wait longer with --timeout, or download it yourself")
        except IncompleteAnswer:
            raise ConnectionFailed(f"{url}: the connection was cut", "try again; nothing was sent") from None
        return bytes(data), response.headers.get("content-type", "")
