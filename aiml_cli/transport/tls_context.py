"""The TLS context of all connections: which certificates are trusted, read once and shared by all threads."""

import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from aiml_cli.errors import UsageError
from aiml_cli.system.atomic_write import read_bounded

PROTOCOLS = ["http/1.1"]
_lock = Lock()
_contexts: dict[tuple[str | None, ...], "SharedContext"] = {}


class SharedContext(ssl.SSLContext):
    """A TLS context that connections of several threads use at once."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Change nothing: httpcore sets the same protocols for each connection, while other threads read them."""


def make_ssl_context(ca_bundle: str | None) -> SharedContext:
    """Return a TLS context that verifies servers by the given file or by the system's certificates.

    All calls with the same certificates return the same context. Raises UsageError if the file cannot be read.
    """
    places = ca_bundle, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    with _lock:
        if places not in _contexts:
            _contexts[places] = _load_certificates(ca_bundle)
        return _contexts[places]


def _load_certificates(ca_bundle: str | None) -> SharedContext:
    """Return a new context.

    From a directory of hashed certificates OpenSSL reads only the one that it needs (0.5 ms; 15 ms for all of certifi).
    """
    context = SharedContext(ssl.PROTOCOL_TLS_CLIENT)
    ssl.SSLContext.set_alpn_protocols(context, PROTOCOLS)
    if ca_bundle:
        try:
            context.load_verify_locations(cadata=read_bounded(ca_bundle).decode("ascii", "replace"))
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{ca_bundle}: no certificates could be read: {reason}") from None
        return context
    context.set_default_verify_paths()
    if not _has_system_certificates():
        import certifi  # few systems have no certificates of their own

        context.load_verify_locations(certifi.where())
    return context


def _has_system_certificates() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).glob("*.0")))
